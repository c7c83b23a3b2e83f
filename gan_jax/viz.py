"""Pictures: grids of images, clouds of points, a run as a film, its metrics as curves.

Files appear whole or not at all.
"""

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num, UInt8

from gan_jax.errors import UserError

WIDE = 256  # pixels: a narrower grid is enlarged
GAP, GREY = 2, 128  # pixels between images, and their shade
FRAMES = 60  # of a film
SIDE, DOT = 512, 3  # pixels of a picture of points, and of a point
INKS = (0.4, (20, 70, 190)), (0.7, (200, 200, 190))  # how much of it covers, and RGB: of points, and of real ones

AXES = {"step", "seconds", "epoch", "images_per_second"}  # of a row: not drawn
TITLES = {"loss": "losses", "D": "mean probability", "grad": "gradient norms", "lr": "learning rates"}
LOGARITHMIC = {"grad", "lr"}


def picture(
    samples: Num[np.ndarray, "..."], real: Num[np.ndarray, "..."] | None = None
) -> UInt8[np.ndarray, "height width c"]:
    """Images [n, h, w, 1 or 3] as a grid, points [n, d] as a cloud. UserError for what can be drawn as neither."""
    return scatter(samples, real) if np.ndim(samples) == 2 else grid(samples)


def scatter(
    points: Num[np.ndarray, "..."], real: Num[np.ndarray, "..."] | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Points [n, d], darker where there are more, before the real ones, faint, which set the frame.

    The first axis runs to the right and the second up; of more than two, those are the principal axes of the real
    points. Each has its own scale, on which the real points, or without them the points themselves, take the middle
    7/8. UserError for other shapes, or for values that are not finite.
    """
    sets = [np.asarray(x, np.float64) for x in ([points] if real is None else [points, real])]
    if any(x.ndim != 2 or x.shape[1] < 2 or not x.size for x in sets) or len({x.shape[1] for x in sets}) > 1:
        found = " and ".join(str(list(x.shape)) for x in sets)
        raise UserError(f"A cloud is drawn of points [n, 2 or more]; {found} are not.")
    if not all(np.isfinite(x).all() for x in sets):
        raise UserError("Some of the points to draw are not finite: the training has diverged.")
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


def grid(images: Num[np.ndarray, "..."], columns: int | None = None) -> UInt8[np.ndarray, "height width c"]:
    """Images [n, h, w, 1 or 3], floats in [-1, 1] or bytes, side by side, small ones enlarged by a whole factor.

    UserError for another shape, or for values that are not finite.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise UserError(f"A grid is made of images [n, h, w, 1 or 3]; {list(images.shape)} are not.")
    n, h, w, c = images.shape
    columns = min(n, columns or int(np.ceil(np.sqrt(n))))
    rows, zoom = -(-n // columns), -(-WIDE // (columns * w))
    page = np.full((rows, columns, h * zoom + GAP, w * zoom + GAP, c), GREY, np.uint8)
    page.reshape(-1, *page.shape[2:])[:n, GAP:, GAP:] = _bytes(images).repeat(zoom, 1).repeat(zoom, 2)
    page = page.swapaxes(1, 2).reshape(rows * page.shape[2], columns * page.shape[3], c)
    return np.pad(page, ((0, GAP), (0, GAP), (0, 0)), constant_values=GREY)


def _bytes(images):
    if images.dtype == np.uint8:
        return images
    if not np.isfinite(images).all():
        raise UserError("Some of the images to draw are not finite: the training has diverged.")
    return np.clip(np.rint(127.5 * (images.astype(np.float32) + 1)), 0, 255).astype(np.uint8)


def save_png(path: str | Path, picture: UInt8[np.ndarray, "height width c"]) -> None:
    """A picture, grey (c = 1) or RGB (c = 3). UserError where it cannot be written."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(file, "PNG")
    _write(path, file.getvalue())


def gif(pictures: Sequence[str | Path], path: str | Path, ms: int = 100) -> None:
    """PNG files as a film, `ms` a frame, at the last one's size; of many, as many as FRAMES, evenly spaced.

    UserError if there are none.
    """
    from PIL import Image

    if not pictures:
        raise UserError(f"There are no pictures to make {path} of.")
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), FRAMES)).round().astype(int)
    frames = [Image.open(io.BytesIO(Path(pictures[i]).read_bytes())) for i in chosen]
    frames = [frame.resize(frames[-1].size, Image.Resampling.NEAREST) for frame in frames]
    file, pause = io.BytesIO(), [ms] * (len(frames) - 1) + [10 * ms]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=pause, loop=0)
    _write(path, file.getvalue())


def curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """The metrics of metrics.jsonl over the rounds, a panel a group. UserError if there are none."""
    from matplotlib.figure import Figure

    groups = _groups({name for row in rows for name in row} - AXES)
    if not groups:
        raise UserError(f"There are no metrics to make {path} of.")
    figure = Figure(figsize=(8, 2.6 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), sharex=True, squeeze=False)[:, 0]
    for panel, (group, members) in zip(panels, groups.items(), strict=True):
        for name in members:
            points = [(row["step"], row[name]) for row in rows if name in row]
            panel.plot(
                *zip(*points, strict=True), ".-", markersize=3, linewidth=1, label=name.removeprefix(f"{group}/")
            )
        panel.set_title(TITLES.get(group, group), loc="left", fontsize=10)
        positive = any(row.get(name, 0) > 0 for row in rows for name in members)
        panel.set_yscale("log" if group in LOGARITHMIC and positive else "linear")
        panel.grid(alpha=0.3)
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    panels[-1].set_xlabel("rounds")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    _write(path, file.getvalue())


def _groups(names):
    """{"loss": ["loss/D", "loss/G"], "D": ["D(x)", …], …}, those with a title first."""
    group = lambda name: re.split(r"[/(]", name)[0]
    order = lambda name: ([*TITLES, group(name)].index(group(name)), group(name), name)
    return {g: list(members) for g, members in itertools.groupby(sorted(names, key=order), group)}


def _write(path, content):
    path = Path(path)
    draft = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place.") from None
