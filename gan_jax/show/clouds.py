"""Points [n, d]: clouds of them."""

import numpy as np
from jaxtyping import Num, UInt8

from gan_jax.errors import UserError
from gan_jax.show.files import png
from gan_jax.show.grids import tiles
from gan_jax.show.pages import MEMBERS, Show, finite

SIDE, DOT = 512, 3  # pixels of a picture of points, and of a point
INKS = (0.4, (20, 70, 190)), (0.7, (200, 200, 190))  # opacity and RGB of a point, and of a real one


def scatter(
    points: Num[np.ndarray, "..."], real: Num[np.ndarray, "..."] | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """A cloud of points, darker where there are more, with the real points, faint, behind it.

    Columns 0 and 1 run to the right and up. With more than two, the axes are the first two principal axes of the real
    points. Each axis has its own scale, on which the real points (or, without them, the points) fill the middle 7/8.

    Args:
        points: [n, d].
        real: [m, d]; sets the frame.

    Raises:
        UserError: Other shapes, or values that are not finite.

    >>> scatter(np.random.default_rng(0).normal(size=(100, 2))).shape
    (512, 512, 3)
    """
    sets = [np.asarray(x, np.float64) for x in ([points] if real is None else [points, real])]
    if any(x.ndim != 2 or not x.size for x in sets) or len({x.shape[1] for x in sets}) > 1:
        found = " and ".join(str(list(x.shape)) for x in sets)
        raise UserError(f"A cloud needs points [n, d]; these have shape {found}.")
    if not all(np.isfinite(x).all() for x in sets):
        raise UserError("Some of the points to draw are not finite: the training has diverged.")
    if sets[0].shape[1] == 1:
        sets = [np.pad(x, ((0, 0), (0, 1))) for x in sets]
    if sets[0].shape[1] > 2:
        centred, axes = sets[-1] - sets[-1].mean(0), np.eye(sets[-1].shape[1], 2)
        for _ in range(20):  # orthogonal iteration: seconds faster than eigh in a thousand dimensions
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


def _cloud(samples, real):
    return scatter(samples["x"], None if real is None else real["x"])


def _draw(samples, real):
    return {"png": png(_cloud(samples, real))}


def _members(samples, real):
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    return {"png": png(tiles([_cloud(one, real) if finite(one) else blank for one in samples[:MEMBERS]]))}


points = Show(_draw, n=2500, members=_members, n_members=2500)
"""Points [n, d]: a cloud in front of the real points; for a population a cloud per member, of the first MEMBERS."""
