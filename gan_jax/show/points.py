"""Clouds of points [n, d]."""

import numpy as np
from jaxtyping import Num, UInt8

from gan_jax.errors import UserError

SIDE, DOT = 512, 3  # pixels of a picture of points, and of a point
INKS = (0.4, (20, 70, 190)), (0.7, (200, 200, 190))  # how much of it covers, and RGB: of points, and of real ones


def scatter(
    points: Num[np.ndarray, "..."], real: Num[np.ndarray, "..."] | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Points [n, d], darker where there are more, before the real ones, faint, which set the frame.

    The first axis runs to the right and the second, if there is one, up; of more than two, those are the principal
    axes of the real points. Each has its own scale, on which the real points, or without them the points themselves,
    take the middle 7/8. UserError for other shapes, or for values that are not finite.
    """
    sets = [np.asarray(x, np.float64) for x in ([points] if real is None else [points, real])]
    if any(x.ndim != 2 or not x.size for x in sets) or len({x.shape[1] for x in sets}) > 1:
        found = " and ".join(str(list(x.shape)) for x in sets)
        raise UserError(f"A cloud is drawn of points [n, d]; {found} are not.")
    if not all(np.isfinite(x).all() for x in sets):
        raise UserError("Some of the points to draw are not finite: the training has diverged.")
    if sets[0].shape[1] == 1:
        sets = [np.pad(x, ((0, 0), (0, 1))) for x in sets]
    if sets[0].shape[1] > 2:
        centred, axes = sets[-1] - sets[-1].mean(0), np.eye(sets[-1].shape[1], 2)
        for _ in range(20):  # of orthogonal iteration: seconds less than eigh in a thousand dimensions
            axes = np.linalg.qr(centred.T @ (centred @ axes))[0]
        sets = [x @ axes for x in sets]
    low, high = sets[-1].min(0), sets[-1].max(0)
    reach = np.where(high > low, high - low, 1) * 8 / 7
    page = np.full((SIDE, SIDE, 3), 255.0)
    for x, (ink, colour) in list(zip(sets, INKS, strict=False))[::-1]:
        bins = np.floor(((x - (low + high) / 2) / reach + 0.5) * SIDE)
        across, up = bins[(bins >= 0).all(1) & (bins < SIDE).all(1)].astype(int).T
        counts = np.zeros((SIDE + DOT - 1, SIDE + DOT - 1))
        for i, j in np.ndindex(DOT, DOT):
            np.add.at(counts, (SIDE - 1 - up + i, across + j), 1)
        seen = 1 - (1 - ink) ** counts[DOT // 2 :, DOT // 2 :][:SIDE, :SIDE, None]
        page += seen * (colour - page)
    return np.rint(page).astype(np.uint8)
