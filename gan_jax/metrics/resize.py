"""Resizing as two matrix products, one per axis: the functions return the matrix [out, in] of an axis."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Num


def tf1_bilinear(n: int, out: int) -> Float32[np.ndarray, "out n"]:
    """TensorFlow 1's resize_bilinear with align_corners=False and half_pixel_centers=False, as in FID's Inception.

    Output i is at i · n / out, half a pixel off, and without antialiasing.

    >>> tf1_bilinear(2, 4).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]]
    """
    at = np.arange(out, dtype=np.float32) * np.float32(n / out)
    low = at.astype(int)
    matrix = np.zeros((out, n), np.float32)
    matrix[np.arange(out), low] = 1 - (at - low)
    matrix[np.arange(out), np.minimum(low + 1, n - 1)] += at - low
    return matrix


def pil_bicubic(n: int, out: int) -> Float32[np.ndarray, "out n"]:
    """Pillow's bicubic, with antialiasing: Keys' kernel (a = −½), widened by n / out if that is above 1, normalised.

    Parmar et al. 2022 (clean-fid) apply it to floats, channel by channel.

    >>> pil_bicubic(2, 4).sum(1).round(3)
    array([1., 1., 1., 1.], dtype=float32)
    """
    scale = n / out
    wide = max(scale, 1.0)
    centre = (np.arange(out)[:, None] + 0.5) * scale
    pixel = np.arange(n)
    inside = (pixel >= np.floor(centre - 2 * wide + 0.5)) & (pixel < np.floor(centre + 2 * wide + 0.5))
    weights = np.where(inside, _keys((pixel + 0.5 - centre) / wide), 0.0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _keys(t):
    """Keys 1981, eq. 15, for a = −½."""
    t = np.abs(t)
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


RESIZES = {"tf1_bilinear": tf1_bilinear, "pil_bicubic": pil_bicubic}


def resize(
    images: Num[Array, "b h w c"], rows: Num[np.ndarray, "H h"], columns: Num[np.ndarray, "W w"]
) -> Float32[Array, "b H W c"]:
    """Images with values in 0 … 255 resized by the matrices of their two axes, clipped to that range, not rounded.

    Only bicubic weights leave the range; clean-fid clips alike.

    >>> half = np.full((1, 2), 0.5, np.float32)
    >>> resize(jnp.ones((1, 2, 2, 3)), half, half).shape
    (1, 1, 1, 3)
    """
    x = images.astype(jnp.float32)
    with jax.default_matmul_precision("highest"):
        x = jnp.einsum("Ww,bhwc->bhWc", columns, x)
        x = jnp.einsum("Hh,bhWc->bHWc", rows, x)
    return jnp.clip(x, 0, 255)
