"""The default Show for data of a given shape."""

import io
from typing import Any

import numpy as np

from gan_jax.show.clouds import points
from gan_jax.show.grids import images
from gan_jax.show.pages import Set, Show


def infer(example: Set) -> Show:
    """The default Show for data of that shape.

    Args:
        example: One example without the axis of the batch, {"x": an array or jax.ShapeDtypeStruct}: [h, w, 1 or 3]
            are images, [d] of floats points; anything else is saved as arrays, in a .npz file.

    >>> infer({"x": np.zeros((8, 8, 3), np.float32)}) is images
    True
    >>> infer({"x": np.zeros(2, np.float32)}) is points
    True
    """
    x: Any = example.get("x", np.zeros(()))
    shape, kind = getattr(x, "shape", ()), np.dtype(getattr(x, "dtype", float)).kind
    if len(shape) == 3 and shape[-1] in (1, 3):
        return images
    return points if len(shape) == 1 and kind not in "biu" else arrays


def _draw(samples, real):
    file = io.BytesIO()
    leaves: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in samples.items()}
    np.savez_compressed(file, **leaves)
    return {"npz": file.getvalue()}


arrays = Show(_draw)
"""Anything: the arrays themselves, in a .npz file."""
