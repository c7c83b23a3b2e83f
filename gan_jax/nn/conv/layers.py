"""Convolution and transposed convolution, channels last, with every derivative fast on every backend.

Kernels are [*k, in, out] for both. They come from PyTorch by `weight.permute(2, 3, 1, 0)` of a Conv2d,
`weight.permute(2, 3, 0, 1)` of a ConvTranspose2d; from Keras as they are, a Conv2DTranspose's with the last two axes
swapped; from `flax.linen.ConvTranspose` with the spatial axes reversed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from gan_jax.errors import UserError
from gan_jax.nn.conv import primitives as triple
from gan_jax.nn.conv.forms import Geometry

Sizes = int | Sequence[int]
Padding = str | int | Sequence[int | tuple[int, int]]  # "SAME", "VALID", p, or p or (low, high) for each axis


def conv(
    x: Float[Array, "b *space c"], w: Float[Array, "*kernel c f"], strides: Sizes = 1, padding: Padding = "SAME"
) -> Float[Array, "b *out f"]:
    """Cross-correlation y[i] = Σ_j x[s·i + j − p] w[j]. UserError if the shapes do not fit, or nothing is left."""
    x, w, strides = checked(x, w, strides)
    space, kernel = x.shape[1:-1], w.shape[:-2]
    geometry = Geometry(space, kernel, strides, pads(padding, space, kernel, strides), w.shape[-2:])
    if min(geometry.out) < 1:
        raise UserError(f"A kernel of {kernel} does not fit into {space} with padding {padding!r}: pad more.")
    return triple.C.bind(x, w, geometry=geometry)


def conv_transpose(
    x: Float[Array, "b *space c"], w: Float[Array, "*kernel c f"], strides: Sizes = 1, padding: Padding = "SAME"
) -> Float[Array, "b *out f"]:
    """y[s·i + j − p] += x[i] w[j], the adjoint in x of `conv` with the kernel's channels swapped.

    out = s·n for "SAME" (TensorFlow), s·(n − 1) + k − low − high for numbers (PyTorch, whose `output_padding` is a
    `high` so much smaller); "VALID" is 0. UserError if the shapes do not fit, or nothing is left.
    """
    x, w, strides = checked(x, w, strides)
    n, kernel = x.shape[1:-1], w.shape[:-2]
    space = tuple(i * s for i, s in zip(n, strides, strict=True))
    padding_of_x = pads(padding, space, kernel, strides)
    if padding != "SAME":
        sizes = zip(space, kernel, strides, padding_of_x, strict=True)
        space = tuple(i - s + k - lo - hi for i, k, s, (lo, hi) in sizes)
    if min(space) < 1:
        raise UserError(f"A kernel of {kernel} with padding {padding!r} leaves nothing of {n}: pad less.")
    geometry = Geometry(space, kernel, strides, padding_of_x, w.shape[:-3:-1])
    return triple.T.bind(x, w.swapaxes(-1, -2), geometry=geometry)


def in_groups(operation: Callable, groups: int) -> Callable:
    """`conv` or `conv_transpose` of each group of channels by itself, with a kernel [*k, c / groups, f].

    UserError if the groups do not divide the channels.
    """
    if groups == 1:
        return operation

    def grouped(x: Float[Array, "b *space c"], w: Float[Array, "*kernel i f"], strides=1, padding="SAME"):
        if x.shape[-1] % groups or w.shape[-1] % groups:
            raise UserError(
                f"{groups} groups do not divide {x.shape[-1]} channels into {w.shape[-1]}: choose others that they do."
            )
        apart = lambda a: a.reshape(*a.shape[:-1], groups, -1)
        each = jax.vmap(lambda x, w: operation(x, w, strides, padding), -2, -2)
        y = each(apart(x), apart(w))
        return y.reshape(*y.shape[:-2], -1)

    return grouped


def checked(x, w, strides):
    """Both in one dtype, and a stride for each axis."""
    if x.ndim not in (3, 4) or x.ndim != w.ndim or x.shape[-1] != w.shape[-2]:
        raise UserError(
            f"Cannot convolve {list(x.shape)} with a kernel {list(w.shape)}: "
            "give x [b, *space, c] and w [*k, c, f] with one or two axes of space."
        )
    dtype = jnp.result_type(x, w)
    return x.astype(dtype), w.astype(dtype), per_axis(strides, x.ndim - 2)


def per_axis(value, rank):
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank:
        raise UserError(
            f"{value} has {len(values)} numbers for {rank} axes of space: give one for each, or one for all."
        )
    return values


def pads(padding, space, kernel, strides):
    """(low, high) for each axis."""
    if padding == "SAME":
        return tuple(lax.padtype_to_pads(space, kernel, strides, padding))
    if isinstance(padding, str) and padding != "VALID":
        raise UserError(f"Unknown padding {padding!r}: give 'SAME', 'VALID' or numbers.")
    given = per_axis(0 if padding == "VALID" else padding, len(space))
    return tuple((p, p) if isinstance(p, int) else tuple(p) for p in given)


class Conv(nn.Module):
    """`conv` with a kernel [*k, c / groups, f] and a bias: `flax.linen.Conv` in numbers and names."""

    features: int
    kernel_size: Sizes
    strides: Sizes = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    groups: int = 1  # of channels, each convolved by itself
    dtype: Any = None  # of computation
    param_dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    operation = staticmethod(conv)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *space c"]) -> Float[Array, "b *out f"]:
        kernel_shape = (*per_axis(self.kernel_size, x.ndim - 2), x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, kernel_shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = in_groups(self.operation, self.groups)(x, kernel, self.strides, self.padding)
        return y if bias is None else y + bias


class ConvTranspose(Conv):
    """`conv_transpose` with such a kernel and a bias: `flax.linen.ConvTranspose`, the kernel reversed."""

    operation = staticmethod(conv_transpose)
