"""Resampling to twice and half the size with the low-pass filter [1, 3, 3, 1], which is bilinear interpolation."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Twice the size: each new pixel is ¾ of the nearest old one and ¼ of the next, along each axis; 0 outside.

    As in StyleGAN2 (Karras et al. 2020) and R3GAN.

    >>> upsample(jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1))[0, 0, :, 0].tolist()
    [0.0, 0.75, 2.25, 2.25]
    """
    for axis in (1, 2):
        before, after = _neighbours(x, axis)
        x = jnp.stack([3 * x + before, 3 * x + after], axis + 1) / 4
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return x


def downsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """Half the size, the adjoint of `upsample` over 4: each pixel is a weighted mean of 4x4; h and w are even.

    >>> downsample(jnp.ones((1, 6, 6, 1)))[0, 1, :, 0].tolist()
    [0.875, 1.0, 0.875]
    """
    for axis in (1, 2):
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        even, odd = pairs.take(0, axis + 1), pairs.take(1, axis + 1)
        x = (_neighbours(odd, axis)[0] + 3 * even + 3 * odd + _neighbours(even, axis)[1]) / 8
    return x


def _neighbours(x, axis):
    """The previous and the next element along an axis, 0 beyond the ends."""
    n = x.shape[axis]
    shifted = lambda low: jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]).take(
        jnp.arange(n) + low, axis
    )
    return shifted(0), shifted(2)
