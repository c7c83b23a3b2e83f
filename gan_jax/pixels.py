"""Bytes and floats: the only conversions between uint8 pixels in 0 … 255 and float32 pixels in [-1, 1].

Both give the same bits for NumPy and for JAX, inside `jit` and outside, and every byte comes back as itself.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num, Shaped, UInt8

from gan_jax.errors import UserError


def to_float(x: Shaped[np.ndarray | Array, "*shape"]) -> Shaped[np.ndarray | Array, "*shape"]:
    """(x − 127.5) / 127.5 in float32 for uint8, exactly ±1 at the ends; any other dtype is returned as it is.

    >>> to_float(np.array([0, 128, 255], np.uint8))
    array([-1.        ,  0.00392157,  1.        ], dtype=float32)
    """
    # A product and no quotient: XLA multiplies by the reciprocal of a constant divisor, NumPy divides.
    return (x.astype(np.float32) - np.float32(127.5)) * np.float32(1 / 127.5) if x.dtype == np.uint8 else x


def to_bytes(x: Num[np.ndarray | Array, "*shape"]) -> UInt8[np.ndarray | Array, "*shape"]:
    """127.5 (x + 1) of floats in [-1, 1], rounded to the nearest integer (half-way: to even) and cut to 0 … 255.

    uint8 is returned as it is. The arithmetic is float32 whatever the dtype, so that half-way values of equal inputs
    round alike.

    >>> to_bytes(np.array([-1.0, 0.0, 0.5, 3.0]))
    array([  0, 128, 191, 255], dtype=uint8)

    Raises:
        UserError: for integers other than uint8, and for values that are not finite. Traced values are not checked.
    """
    if x.dtype == np.uint8:
        return x
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise UserError(f"These images are {x.dtype}: give uint8 in 0 … 255, or floats in [-1, 1].")
    xp: Any = jnp if isinstance(x, jax.Array) else np
    if not isinstance(x, jax.core.Tracer) and not xp.isfinite(x).all():
        raise UserError("Some of these images are not finite (NaN or infinity): the training has diverged.")
    # The sum first: x * 127.5 + 127.5 is one fused operation or two roundings, as the compiler likes.
    return xp.clip(xp.rint((x.astype(np.float32) + 1) * np.float32(127.5)), 0, 255).astype(np.uint8)
