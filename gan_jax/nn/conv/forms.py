"""Forms of a convolution and its two adjoints: equal results, whose speed depends on the shape and the backend.

A Form is the three partial derivatives of one trilinear function, ⟨y, C(x, w)⟩ = ⟨T(y, w), x⟩ = ⟨W(x, y), w⟩:
``x [b, *space, c], w [*kernel, c, f], y [b, *out, f]``. C is the convolution, T and W its adjoints in x and in w.
"""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


def add(parts: Iterable[Any]) -> Any:
    """The sum of the parts, without the 0 that `sum` starts from."""
    return reduce(operator.add, parts)


@dataclass(frozen=True)
class Geometry:
    """The sizes of a convolution ``[*space, c] -> [*out, f]``, all but the batch's; padding is (low, high) by axis."""

    space: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    channels: tuple[int, int]

    @property
    def rank(self):
        return len(self.space)

    @property
    def out(self):
        sizes = zip(self.space, self.kernel, self.strides, self.padding, strict=True)
        return tuple((n + lo + hi - k) // s + 1 for n, k, s, (lo, hi) in sizes)


class Form(NamedTuple):
    C: Callable  # x, w -> y
    T: Callable  # y, w -> x
    W: Callable  # x, y -> w


def convolve(x, w, strides, padding, **dilation):
    axes = "HW"[: x.ndim - 2]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout, **dilation)


def plain(g: Geometry) -> Form:
    """XLA's convolution and its linear transposes, the patterns that cuDNN's rewriter and the MXU match."""
    c, f = g.channels
    conv = lambda x, w: convolve(x, w, g.strides, g.padding)

    def adjoint_in_x(y, w):
        x = jax.ShapeDtypeStruct((y.shape[0], *g.space, c), y.dtype)
        return jax.linear_transpose(lambda x: conv(x, w), x)(y)[0]

    def adjoint_in_w(x, y):
        w = jax.ShapeDtypeStruct((*g.kernel, c, f), x.dtype)
        return jax.linear_transpose(lambda w: conv(x, w), w)(y)[0]

    return Form(conv, adjoint_in_x, adjoint_in_w)


def canonical(g: Geometry) -> Form:
    """Three convolutions in NHWC and HWIO: inside a loop XLA's CPU compiler has no fast path for another layout."""
    ones, spatial = (1,) * g.rank, tuple(range(1, g.rank + 1))
    # The extent of y spread over x by the strides, and the padding that gives the right sizes.
    reach = [(o - 1) * s for o, s in zip(g.out, g.strides, strict=True)]
    axes = list(zip(g.space, g.kernel, g.padding, reach, strict=True))
    around_y = [(k - 1 - lo, n + lo - 1 - end) for n, k, (lo, _), end in axes]
    around_x = [(lo, k + end - lo - n) for n, k, (lo, _), end in axes]

    def adjoint_in_x(y, w):
        w = lax.rev(w, range(g.rank)).swapaxes(-1, -2)
        return convolve(y, w, ones, around_y, lhs_dilation=g.strides)

    def adjoint_in_w(x, y):  # the batch is contracted in place of the channels, and y is the kernel
        x, y = x.transpose(g.rank + 1, *spatial, 0), y.transpose(*spatial, 0, g.rank + 1)
        return convolve(x, y, ones, around_x, rhs_dilation=g.strides).transpose(*spatial, 0, g.rank + 1)

    return Form(lambda x, w: convolve(x, w, g.strides, g.padding), adjoint_in_x, adjoint_in_w)


class Pair(NamedTuple):
    """A linear map from an array to a list of matrices, and its adjoint."""

    map: Callable
    adjoint: Callable


def products(V: Pair, U: Pair, Y: Pair) -> Form:
    """C(x, w) = Yᵀ[v u for v, u in V(x), U(w)]: a convolution as matrix products, v [rows, i], u [i, o]."""

    def each(contract, left, right):
        return [lax.dot_general(p, q, (contract, ((), ()))) for p, q in zip(left, right, strict=True)]

    return Form(
        lambda x, w: Y.adjoint(each(((1,), (0,)), V.map(x), U.map(w))),
        lambda y, w: V.adjoint(each(((1,), (1,)), Y.map(y), U.map(w))),
        lambda x, y: U.adjoint(each(((0,), (0,)), V.map(x), Y.map(y))),
    )


def im2col(g: Geometry) -> Form:
    """One matrix product of all patches of x with the kernel."""
    c, f = g.channels
    return products(
        V=Pair(lambda x: [patches(x, g)], lambda v: fold(v[0], g)),
        U=Pair(lambda w: [w.reshape(-1, f)], lambda u: u[0].reshape(*g.kernel, c, f)),
        Y=Pair(lambda y: [y.reshape(-1, f)], lambda m: m[0].reshape(-1, *g.out, f)),
    )


def patches(x, g: Geometry):
    """The patch of x under the kernel for each output: ``[b, *space, c] -> [b · *out, *kernel · c]``."""
    columns = prod(g.kernel) * x.shape[-1]
    if covers(g):
        return x.reshape(-1, columns)
    x = fit(x, [lo for lo, _ in g.padding], [n + lo + hi for n, (lo, hi) in zip(g.space, g.padding, strict=True)])

    def at(tap):
        spans = zip(tap, g.out, g.strides, strict=True)
        return x[:, *(slice(i, i + s * (o - 1) + 1, s) for i, o, s in spans)]

    return jnp.concatenate([at(tap) for tap in product(*map(range, g.kernel))], -1).reshape(-1, columns)


def fold(v, g: Geometry):
    """The adjoint of `patches`: each patch added back in its place."""
    c = v.shape[-1] // prod(g.kernel)
    if covers(g):
        return v.reshape(-1, *g.space, c)
    x = v.reshape(-1, *g.out, *g.kernel, c)
    for axis, (k, s) in enumerate(zip(g.kernel, g.strides, strict=True)):
        at, r = 1 + g.rank + axis, -(-k // s)  # a kernel covers r blocks of s inputs; the next output's is a block on
        x = pad_axis(x, at, 0, r * s - k)
        blocks = [lax.slice_in_dim(x, i * s, (i + 1) * s, axis=at) for i in range(r)]
        x = add(pad_axis(block, 1 + axis, i, r - 1 - i) for i, block in enumerate(blocks))
    interleaved = (i for axis in range(g.rank) for i in (1 + axis, 1 + g.rank + axis))
    sizes = [n * s for n, s in zip(x.shape[1:], g.strides, strict=False)]
    x = x.transpose(0, *interleaved, 1 + 2 * g.rank).reshape(-1, *sizes, c)
    return fit(x, [-lo for lo, _ in g.padding], g.space)


def covers(g: Geometry) -> bool:
    """Whether the kernel covers the input exactly: the convolution is a dense layer."""
    return g.kernel == g.space and not any(map(any, g.padding))


def mirrored(g: Geometry) -> Form:
    """im2col with patches of y instead of x, for strides of 1 and few output channels."""
    padding = tuple((k - 1 - lo, k - 1 - hi) for k, (lo, hi) in zip(g.kernel, g.padding, strict=True))
    form = im2col(Geometry(g.out, g.kernel, g.strides, padding, g.channels[::-1]))
    flip = lambda w: lax.rev(w, range(g.rank)).swapaxes(-1, -2)
    return Form(lambda x, w: form.T(x, flip(w)), lambda y, w: form.C(y, flip(w)), lambda x, y: flip(form.W(y, x)))


def pad_axis(x, axis, low, high):
    """Zeros before and after along one axis; negative numbers crop."""
    pads = [(low, high, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), pads)


def fit(x, low, sizes):
    """The spatial axes of x shifted by `low` and padded or cropped to `sizes`."""
    for axis, (lo, size) in enumerate(zip(low, sizes, strict=True), 1):
        x = pad_axis(x, axis, lo, size - lo - x.shape[axis])
    return x
