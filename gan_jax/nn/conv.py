"""Convolution and transposed convolution, channels last, with every derivative fast on every backend.

Kernels are [*k, in, out] for both. From PyTorch, `weight.permute(2, 3, 1, 0)` of a Conv2d and `weight.permute(2, 3, 0, 1)`
of a ConvTranspose2d; from Keras, a Conv2DTranspose kernel with its last two axes swapped; from `nn.ConvTranspose`, one
with its spatial axes reversed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gan_jax.errors import UserError
from gan_jax.nn import triple
from gan_jax.nn.forms import Geometry

Padding = str | int | Sequence[int | tuple[int, int]]


def conv(
    x: Float[Array, "b *space c"],
    w: Float[Array, "*kernel c f"],
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
) -> Float[Array, "b *out f"]:
    """Cross-correlation y[i] = Σ_j x[s·i + j - p] w[j]. Padding "SAME", "VALID", p, or a p or (low, high) per axis."""
    check(x, w)
    kernel, space = w.shape[:-2], x.shape[1:-1]
    strides = per_axis(strides, len(kernel))
    if padding == "SAME":
        pads = lax.padtype_to_pads(space, kernel, strides, padding)
    else:
        pads = pairs(padding, len(kernel))
    geometry = Geometry(space, kernel, strides, tuple(pads))
    if min(geometry.out) < 1:
        raise UserError(f"a kernel of {kernel} does not fit in {space} padded by {tuple(pads)}: pad more")
    return triple.C.bind(*promote(x, w), geometry=geometry)


def conv_transpose(
    x: Float[Array, "b *space c"],
    w: Float[Array, "*kernel c f"],
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
) -> Float[Array, "b *out f"]:
    """The adjoint in x of `conv` with the kernel's channels swapped: y[s·i + j - p] += x[i] w[j].

    out = s·n for "SAME" (TensorFlow); (n - 1)·s + k - low - high for explicit padding, 0 for "VALID" (PyTorch, whose
    `output_padding` is a smaller `high`).
    """
    check(x, w)
    kernel, n = w.shape[:-2], x.shape[1:-1]
    strides = per_axis(strides, len(kernel))
    if padding == "SAME":
        space = tuple(i * s for i, s in zip(n, strides, strict=True))
        pads = lax.padtype_to_pads(space, kernel, strides, padding)
    else:
        pads = pairs(padding, len(kernel))
        sizes = zip(n, kernel, strides, pads, strict=True)
        space = tuple((i - 1) * s + k - lo - hi for i, k, s, (lo, hi) in sizes)
    geometry = Geometry(space, kernel, strides, tuple(pads))
    if min(space) < 1:
        raise UserError(
            f"nothing is left of {n} transposed by a kernel of {kernel}: padding {tuple(pads)} is too large"
        )
    return triple.T.bind(*promote(x, w.swapaxes(-1, -2)), geometry=geometry)


def check(x, w):
    if x.ndim != w.ndim or x.ndim not in (3, 4) or x.shape[-1] != w.shape[-2]:
        raise UserError(
            f"cannot convolve x {x.shape} with a kernel {w.shape}: want [b, *space, c] and [*k, c, f], 1-D or 2-D"
        )


def per_axis(value, rank):
    return (value,) * rank if isinstance(value, int) else tuple(value)


def pairs(padding, rank):
    """(low, high) for each axis."""
    if padding == "VALID":
        return ((0, 0),) * rank
    if isinstance(padding, str):
        raise UserError(f"unknown padding {padding!r}: give 'SAME', 'VALID', or numbers")
    return tuple((p, p) if isinstance(p, int) else tuple(p) for p in per_axis(padding, rank))


def promote(x, w):
    dtype = jnp.result_type(x, w)
    return x.astype(dtype), w.astype(dtype)


class Conv(nn.Module):
    """`conv` with a kernel [*k, c, f] and a bias, as `flax.linen.Conv`."""

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *out f"]:
        return layer(self, conv, x)


class ConvTranspose(nn.Module):
    """`conv_transpose` with a kernel [*k, c, f] and a bias; `flax.linen.ConvTranspose` with the kernel reversed in space."""

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *out f"]:
        return layer(self, conv_transpose, x)


def layer(self, operation, x):
    """Either module: weights kept in param_dtype, all of them and x computed with in dtype."""
    kernel_size = per_axis(self.kernel_size, x.ndim - 2)
    shape = (*kernel_size, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
    y = operation(x, kernel, self.strides, self.padding)
    return y if bias is None else y + bias
