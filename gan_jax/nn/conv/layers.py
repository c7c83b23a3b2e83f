"""Convolution and transposed convolution, channels last, with every derivative fast on every backend.

Kernels are ``[*k, in, out]`` for both. To convert weights of other libraries::

    PyTorch   Conv2d: weight.permute(2, 3, 1, 0); ConvTranspose2d: weight.permute(2, 3, 0, 1)
    Keras     Conv2D: as it is; Conv2DTranspose: the last two axes swapped
    Flax      Conv: as it is; ConvTranspose: the spatial axes reversed
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
    """Cross-correlation y[i] = Σ_j x[s·i + j − p] w[j].

    Args:
        x: one or two axes of space.
        w: the kernel.
        strides: s, for all axes or one for each.
        padding: "SAME", "VALID", p, or for each axis p or (low, high); negative numbers crop.

    Raises:
        UserError: the shapes do not fit, or the kernel is larger than the padded input.

    >>> conv(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 8)), strides=2).shape
    (1, 2, 2, 8)
    """
    x, w, strides = checked(x, w, strides)
    space, kernel = x.shape[1:-1], w.shape[:-2]
    geometry = Geometry(space, kernel, strides, pads(padding, space, kernel, strides), w.shape[-2:])
    if min(geometry.out) < 1:
        raise UserError(
            f"A kernel of {_sizes(kernel)} does not fit into {_sizes(space)} with padding {padding!r}: pad more."
        )
    return triple.C.bind(x, w, geometry=geometry)


def conv_transpose(
    x: Float[Array, "b *space c"], w: Float[Array, "*kernel c f"], strides: Sizes = 1, padding: Padding = "SAME"
) -> Float[Array, "b *out f"]:
    """y[s·i + j − p] += x[i] w[j], the adjoint in x of `conv` with the kernel's channels swapped.

    Args:
        x: one or two axes of space, of size n.
        w: the kernel.
        strides: s, for all axes or one for each.
        padding: "SAME" as in TensorFlow, out = s·n; numbers as in PyTorch, out = s·(n − 1) + k − low − high, where an
            `output_padding` is subtracted from `high`; "VALID" is 0.

    Raises:
        UserError: the shapes do not fit, or the padding crops everything.

    >>> conv_transpose(jnp.ones((1, 4, 4, 8)), jnp.ones((4, 4, 8, 3)), strides=2, padding=1).shape
    (1, 8, 8, 3)
    """
    x, w, strides = checked(x, w, strides)
    n, kernel = x.shape[1:-1], w.shape[:-2]
    space = tuple(i * s for i, s in zip(n, strides, strict=True))
    padding_of_x = pads(padding, space, kernel, strides)
    if padding != "SAME":
        sizes = zip(space, kernel, strides, padding_of_x, strict=True)
        space = tuple(i - s + k - lo - hi for i, k, s, (lo, hi) in sizes)
    if min(space) < 1:
        raise UserError(
            f"A kernel of {_sizes(kernel)} with padding {padding!r} leaves nothing of {_sizes(n)}: pad less."
        )
    geometry = Geometry(space, kernel, strides, padding_of_x, w.shape[:-3:-1])
    return triple.T.bind(x, w.swapaxes(-1, -2), geometry=geometry)


def in_groups(operation: Callable, groups: int) -> Callable:
    """`conv` or `conv_transpose` on groups of channels separately, with a kernel ``[*k, c / groups, f]``.

    The function returned raises UserError if the groups do not divide the channels.

    >>> in_groups(conv, 2)(jnp.ones((1, 4, 4, 6)), jnp.ones((3, 3, 3, 8))).shape
    (1, 4, 4, 8)
    """
    if groups == 1:
        return operation

    def grouped(x: Float[Array, "b *space c"], w: Float[Array, "*kernel i f"], strides=1, padding="SAME"):
        if x.shape[-1] % groups or w.shape[-1] % groups:
            raise UserError(
                f"{groups} groups do not divide {x.shape[-1]} channels and {w.shape[-1]} features: choose multiples."
            )
        split = lambda a: a.reshape(*a.shape[:-1], groups, -1)
        each = jax.vmap(lambda x, w: operation(x, w, strides, padding), -2, -2)
        y = each(split(x), split(w))
        return y.reshape(*y.shape[:-2], -1)

    return grouped


def checked(x, w, strides):
    """x and w in their common dtype, and a stride for each axis; UserError if their shapes do not fit."""
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
            f"{value} has {len(values)} numbers for {rank} axes of space: give one for each axis, or one for all."
        )
    return values


def _sizes(sizes):
    return "x".join(map(str, sizes))


def pads(padding, space, kernel, strides):
    """Padding as (low, high) for each axis."""
    if padding == "SAME":
        return tuple(lax.padtype_to_pads(space, kernel, strides, padding))
    if isinstance(padding, str) and padding != "VALID":
        raise UserError(f"Unknown padding {padding!r}: give 'SAME', 'VALID' or numbers.")
    given = per_axis(0 if padding == "VALID" else padding, len(space))
    return tuple((p, p) if isinstance(p, int) else tuple(p) for p in given)


class Conv(nn.Module):
    """`conv` with a kernel ``[*k, c / groups, f]`` and a bias; `flax.linen.Conv` in numbers and names.

    >>> Conv(8, (3, 3)).init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 3)))[0].shape
    (1, 4, 4, 8)
    """

    features: int
    kernel_size: Sizes
    strides: Sizes = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    groups: int = 1  # of channels, convolved separately
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
    """`conv_transpose` with a kernel and a bias; `flax.linen.ConvTranspose` with the kernel reversed in space.

    >>> up = ConvTranspose(8, (4, 4), strides=2)
    >>> up.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 3)))[0].shape
    (1, 8, 8, 8)
    """

    operation = staticmethod(conv_transpose)
