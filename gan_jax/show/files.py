"""Files of pictures, which appear whole or not at all: PNG, and GIF films."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gan_jax.errors import UserError

FRAMES = 60  # of a film


def save_png(path: str | Path, picture: UInt8[np.ndarray, "height width c"]) -> None:
    """A picture, grey (c = 1) or RGB (c = 3). UserError where it cannot be written."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(file, "PNG")
    write(path, file.getvalue())


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
    write(path, file.getvalue())


def write(path, content):
    path = Path(path)
    draft = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place.") from None


def save_figure(figure, path):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    write(path, file.getvalue())
