"""Image files: encoded in memory, then written whole or not at all."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gan_jax.errors import UserError


def png(picture: UInt8[np.ndarray, "height width c"]) -> bytes:
    """A grey (c = 1) or RGB (c = 3) picture as a PNG file.

    >>> png(np.zeros((4, 4, 1), np.uint8))[1:4]
    b'PNG'
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(file, "PNG")
    return file.getvalue()


def save_png(path: str | Path, picture: UInt8[np.ndarray, "height width c"]) -> None:
    """Write a grey (c = 1) or RGB (c = 3) picture as a PNG file. UserError where it cannot be written."""
    write(path, png(picture))


def write(path: str | Path, content: bytes) -> None:
    """Write a file, making its folder; a reader sees the old file or the new one, never part of it.

    Raises:
        UserError: It cannot be written.
    """
    path = Path(path)
    draft = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place.") from None


def figure_png(figure: Any) -> bytes:
    """A Matplotlib figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
