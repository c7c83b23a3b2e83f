"""Video: GIF films of grids, and the film of a training's progress."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gan_jax.errors import UserError
from gan_jax.show.files import png, write
from gan_jax.show.grids import grid, rows
from gan_jax.show.pages import ROW, Show

FRAMES = 60  # of a progress film, at most


def film(frames: Sequence[UInt8[np.ndarray, "height width c"]], ms: int = 100, last: int = 100) -> bytes:
    """Pictures of one size as a GIF film that repeats without end.

    Args:
        frames: Grey (c = 1) or RGB (c = 3).
        ms: Milliseconds of a frame.
        last: Milliseconds of the last frame.

    >>> film([np.full((8, 8, 1), grey, np.uint8) for grey in (0, 255)])[:6]
    b'GIF89a'
    """
    from PIL import Image

    drawn = [Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame) for frame in frames]
    file, pause = io.BytesIO(), [ms] * (len(drawn) - 1) + [last]
    drawn[0].save(file, "GIF", save_all=True, append_images=drawn[1:], duration=pause, loop=0)
    return file.getvalue()


def gif(pictures: Sequence[str | Path], path: str | Path, ms: int = 100) -> None:
    """PNG files as a GIF film at the size of the last, which stays ten times as long.

    Args:
        pictures: PNG files in order. Of more than FRAMES, that many are used, evenly spaced.
        path: Where the film is written.
        ms: Milliseconds of a frame.

    Raises:
        UserError: There are no pictures, or the film cannot be written.
    """
    from PIL import Image

    if not pictures:
        raise UserError(f"There are no pictures to make {path} of.")
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), FRAMES)).round().astype(int)
    frames = [Image.open(io.BytesIO(Path(pictures[i]).read_bytes()), formats=["PNG"]) for i in chosen]
    frames = [frame.resize(frames[-1].size, Image.Resampling.NEAREST) for frame in frames]
    arrays = [np.asarray(frame).reshape(frame.height, frame.width, -1) for frame in frames]
    write(path, film(arrays, ms, 10 * ms))


def video_at(rate: int | float) -> Show:
    """Video [n, t, h, w, 1 or 3], floats in [-1, 1] or bytes, shown at `rate` frames a second.

    A film of the grid, and a picture of the first frames; for a population a row per member, of the first MEMBERS.

    >>> sorted(video_at(10).page([{"x": np.zeros((2, 3, 4, 4, 1))}]))
    ['gif', 'png']
    """
    return Show(
        lambda samples, real: _film(samples["x"], None, rate),
        n=16,
        members=lambda samples, real: _film(rows(samples), min(ROW, len(samples[0]["x"])), rate),
    )


video = video_at(10)
"""`video_at` 10 frames a second."""


def _film(x, columns, rate):
    if np.ndim(x) != 5 or not np.size(x):
        raise UserError(f"A film needs video [n, t, h, w, 1 or 3]; this has shape {list(np.shape(x))}.")
    frames, ms = [grid(frame, columns) for frame in np.swapaxes(x, 0, 1)], round(1000 / rate)
    return {"gif": film(frames, ms, ms), "png": png(frames[0])}
