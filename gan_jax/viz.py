"""Pictures: grids of images, clouds of points, a run as a film, metrics as curves, spectra.

Files appear whole or not at all.
"""

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Inexact, Num, UInt8

from gan_jax.errors import UserError

WIDE = 256  # pixels: a narrower grid is enlarged
GAP, GREY = 2, 128  # pixels between images, and their shade
FRAMES = 60  # of a film
SIDE, DOT = 512, 3  # pixels of a picture of points, and of a point
INKS = (0.4, (20, 70, 190)), (0.7, (200, 200, 190))  # how much of it covers, and RGB: of points, and of real ones

AXES = {"step", "seconds", "epoch", "images_per_second", "members"}  # of a row: not drawn
TITLES = {"loss": "losses", "D": "mean probability", "grad": "gradient norms", "lr": "learning rates"}
LOGARITHMIC = {"grad", "lr", "noise_scale"}


def picture(
    samples: Num[np.ndarray, "..."], real: Num[np.ndarray, "..."] | None = None
) -> UInt8[np.ndarray, "height width c"]:
    """Images [n, h, w, 1 or 3] as a grid, points [n, d] as a cloud. UserError for what can be drawn as neither."""
    return scatter(samples, real) if np.ndim(samples) == 2 else grid(samples)


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
    frames = [Image.open(io.BytesIO(Path(pictures[i]).read_bytes()), formats=["PNG"]) for i in chosen]
    frames = [frame.resize(frames[-1].size, Image.Resampling.NEAREST) for frame in frames]
    file, pause = io.BytesIO(), [ms] * (len(frames) - 1) + [10 * ms]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=pause, loop=0)
    _write(path, file.getvalue())


def curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """The metrics of metrics.jsonl over the rounds, a panel a group; of a population the means, ± a standard error.

    UserError if there are none.
    """
    groups = _groups(_metrics(rows))
    figure, panels = _stacked(groups, path)
    for panel, (group, members) in zip(panels, groups.items(), strict=True):
        for name in members:
            _curve(panel, rows, name, name.removeprefix(f"{group}/"))
        panel.set_title(TITLES.get(group, group), loc="left", fontsize=10)
        panel.set_yscale(_scale(group, members, rows))
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    _save(figure, path)


def compare(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path) -> None:
    """{label: rows of metrics.jsonl}: the metrics that all of them have, a panel each. UserError if there are none."""
    shared = sorted(set.intersection(*(_metrics(rows) for rows in runs.values()))) if runs else []
    figure, panels = _stacked(shared, path)
    for panel, name in zip(panels, shared, strict=True):
        for label, rows in runs.items():
            _curve(panel, rows, name, label)
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_yscale(_scale(name.split("/")[0], [name], itertools.chain(*runs.values())))
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    _save(figure, path)


def tiles(pictures: Sequence[UInt8[np.ndarray, "..."]], columns: int | None = None) -> UInt8[np.ndarray, "h w c"]:
    """Pictures [h, w, c] of one size, side by side."""
    pictures = [np.pad(picture, ((0, GAP), (0, GAP), (0, 0)), constant_values=GREY) for picture in pictures]
    columns = min(len(pictures), columns or int(np.ceil(np.sqrt(len(pictures)))))
    blank = np.full_like(pictures[0], GREY)
    pictures = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)]
    return np.concatenate(rows)


def _metrics(rows):
    """The names of what can be drawn."""
    return {name for row in rows if "member" not in row for name in row if not name.endswith(" se")} - AXES


def _stacked(titles, path):
    """A figure with a panel a title, one below the other, all over the rounds."""
    from matplotlib.figure import Figure

    if not titles:
        raise UserError(f"There are no metrics to make {path} of.")
    figure = Figure(figsize=(8, 2.6 * len(titles)), layout="constrained")
    panels = figure.subplots(len(titles), sharex=True, squeeze=False)[:, 0]
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("rounds")
    return figure, panels


def _curve(panel, rows, name, label):
    rows = [row for row in rows if name in row and "member" not in row]
    steps, values = [row["step"] for row in rows], np.array([row[name] for row in rows])
    (line,) = panel.plot(steps, values, ".-", markersize=3, linewidth=1, label=label)
    error = np.array([row.get(f"{name} se", 0.0) for row in rows])
    if error.any():
        panel.fill_between(steps, values - error, values + error, color=line.get_color(), alpha=0.25, linewidth=0)


def _scale(group, names, rows):
    positive = any(row.get(name, 0) > 0 for row in rows for name in names)
    return "log" if group in LOGARITHMIC and positive else "linear"


def spectrum(eigenvalues: Mapping[int, Inexact[np.ndarray, "..."]], path: str | Path) -> None:
    """{step: eigenvalues [k]} in the complex plane, coloured by step; descent is stable right of the imaginary axis.

    UserError if there are none.
    """
    figure, panels = _by_step(eigenvalues, ["eigenvalues of ∂v/∂θ"], path)
    panel = panels[0]
    panel.axvline(0, color="black", linewidth=1)
    panel.axhline(0, color="black", linewidth=0.5, alpha=0.3)
    for (_, found), colour in _coloured(eigenvalues):
        panel.scatter(found.real, found.imag, s=16, color=colour, linewidths=0, alpha=0.8)
    panel.set_xlabel("real part")
    panel.set_ylabel("imaginary part")
    _save(figure, path)


def singular_values(values: Mapping[int, Mapping[str, Num[np.ndarray, "..."]]], path: str | Path) -> None:
    """{step: {layer: singular values [k], largest first}}, a panel a layer, coloured by step.

    UserError if there are none.
    """
    layers = list(dict.fromkeys(name for found in values.values() for name in found))
    figure, panels = _by_step(values, layers, path)
    for (_, found), colour in _coloured(values):
        for panel, name in zip(panels, layers, strict=True):
            if name in found:
                panel.plot(range(1, len(found[name]) + 1), found[name], ".-", color=colour, markersize=4, linewidth=1)
    for panel, name in zip(panels, layers, strict=True):
        drawn = [found[name] for found in values.values() if name in found]
        panel.set_xlim(0.5, max(map(len, drawn)) + 0.5)
        panel.set_ylim(0, 1.08 * max(map(np.max, drawn)) or 1)
        panel.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    figure.supxlabel("index", fontsize=10)
    figure.supylabel("singular value", fontsize=10)
    _save(figure, path)


def _by_step(found, titles, path):
    """A figure with a panel a title, and a bar that tells the steps by colour."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    if not found or not titles:
        raise UserError(f"There is nothing to make {path} of.")
    columns = min(3, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(1 + max(5, 3 * columns), max(4, 2.4 * rows)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, title in itertools.zip_longest(panels, titles):
        panel.set_title(title, loc="left", fontsize=9)
        panel.grid(alpha=0.3)
        panel.set_visible(title is not None)
    if len(found) > 1:
        steps = ScalarMappable(Normalize(min(found), max(found)), "viridis")
        figure.colorbar(steps, ax=panels.tolist(), label="rounds")
    return figure, panels[: len(titles)]


def _coloured(found):
    """Each (step, value) with its colour."""
    from matplotlib import colormaps

    span = max(found) - min(found) or 1
    return [(item, colormaps["viridis"]((item[0] - min(found)) / span)) for item in sorted(found.items())]


def _save(figure, path):
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
