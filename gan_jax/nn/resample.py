"""Twice and half the size, by the low-pass filter [1, 3, 3, 1] that is bilinear interpolation."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Each pixel becomes 2x2, at ¾ and ¼ between its neighbours; black outside. StyleGAN2's, as in R3GAN."""
    for axis in (1, 2):
        before, after = _neighbours(x, axis)
        x = jnp.stack([3 * x + before, 3 * x + after], axis + 1) / 4
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return x


def downsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """The adjoint of `upsample`, over 4: each pixel is a weighted mean of 4x4; h and w are even."""
    for axis in (1, 2):
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        even, odd = pairs.take(0, axis + 1), pairs.take(1, axis + 1)
        x = (_neighbours(odd, axis)[0] + 3 * even + 3 * odd + _neighbours(even, axis)[1]) / 8
    return x


def _neighbours(x, axis):
    """What lies before and what after each place along an axis, 0 at the ends."""
    n = x.shape[axis]
    moved = lambda low: jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]).take(
        jnp.arange(n) + low, axis
    )
    return moved(0), moved(2)
