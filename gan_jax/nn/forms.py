"""Ways to compute a convolution and its two adjoints, all equal; which is fast is a matter of shape and machine.

A Form is the three partial derivatives of one trilinear function: ⟨y, C(x, w)⟩ = ⟨T(y, w), x⟩ = ⟨W(x, y), w⟩ with
x [b, *space, c], w [*kernel, c, f], y [b, *out, f].
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


@dataclass(frozen=True)
class Geometry:
    """What a convolution does to space: [*space] -> [*out]; padding is a (low, high) pair per axis."""

    space: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @property
    def out(self):
        sizes = zip(self.space, self.kernel, self.strides, self.padding, strict=True)
        return tuple((n + lo + hi - k) // s + 1 for n, k, s, (lo, hi) in sizes)

    @property
    def layout(self):
        """Channels last, for any number of axes."""
        axes = "HW"[: len(self.space)]
        return f"N{axes}C", f"{axes}IO", f"N{axes}C"


class Form(NamedTuple):
    C: Callable
    T: Callable
    W: Callable


def plain(g: Geometry) -> Form:
    """JAX's own convolution and its own transposes, which are what cuDNN's rewriter and the MXU match."""

    def C(x, w):
        return lax.conv_general_dilated(x, w, g.strides, g.padding, dimension_numbers=g.layout)

    def T(y, w):
        x = jax.ShapeDtypeStruct((len(y), *g.space, w.shape[-2]), y.dtype)
        return jax.linear_transpose(lambda x: C(x, w), x)(y)[0]

    def W(x, y):
        w = jax.ShapeDtypeStruct((*g.kernel, x.shape[-1], y.shape[-1]), x.dtype)
        return jax.linear_transpose(lambda w: C(x, w), w)(y)[0]

    return Form(C, T, W)


def canonical(g: Geometry) -> Form:
    """Three convolutions in NHWC and HWIO: XLA's CPU compiler has a fast path for no other layout inside a loop."""
    rank = len(g.space)
    swapped = (*range(1, rank + 1), 0)
    last = [(o - 1) * s for o, s in zip(g.out, g.strides, strict=True)]

    def C(x, w):
        return lax.conv_general_dilated(x, w, g.strides, g.padding, dimension_numbers=g.layout)

    def T(y, w):
        pads = [
            (k - 1 - lo, n + lo - 1 - end)
            for n, k, (lo, _), end in zip(g.space, g.kernel, g.padding, last, strict=True)
        ]
        w = lax.rev(w, range(rank)).swapaxes(-1, -2)
        return lax.conv_general_dilated(y, w, (1,) * rank, pads, g.strides, dimension_numbers=g.layout)

    def W(x, y):
        pads = [(lo, k + end - lo - n) for n, k, (lo, _), end in zip(g.space, g.kernel, g.padding, last, strict=True)]
        x, y = x.transpose(rank + 1, *swapped), y.transpose(*swapped, rank + 1)
        w = lax.conv_general_dilated(x, y, (1,) * rank, pads, rhs_dilation=g.strides, dimension_numbers=g.layout)
        return w.transpose(*swapped, rank + 1)

    return Form(C, T, W)


class Pair(NamedTuple):
    """A linear map and its adjoint, each from one array to a list of matrices or back."""

    map: Callable
    adjoint: Callable


def products(V: Pair, U: Pair, Y: Pair) -> Form:
    """C(x, w) = Y([v u for v, u in V(x), U(w)]): a convolution as matrix products, [rows, i] by [i, o]."""
    rows = lambda v, u: lax.dot_general(v, u, (((1,), (0,)), ((), ())))
    back = lambda m, u: lax.dot_general(m, u, (((1,), (1,)), ((), ())))
    # The quicker orientation of mᵀv is the one whose left operand has more columns.
    weight = lambda v, m: lax.dot_general(m, v, (((0,), (0,)), ((), ()))).T

    def each(f, a, b):
        return [f(p, q) for p, q in zip(a, b, strict=True)]

    return Form(
        C=lambda x, w: Y.map(each(rows, V.map(x), U.map(w))),
        T=lambda y, w: V.adjoint(each(back, Y.adjoint(y), U.map(w))),
        W=lambda x, y: U.adjoint(each(weight, V.map(x), Y.adjoint(y))),
    )


def im2col(g: Geometry) -> Form:
    """One product of every patch of x with the kernel."""
    return products(
        V=Pair(lambda x: [patches(x, g)], lambda v: fold(v[0], g)),
        U=Pair(lambda w: [w.reshape(-1, w.shape[-1])], lambda u: u[0].reshape(*g.kernel, -1, u[0].shape[-1])),
        Y=Pair(lambda m: m[0].reshape(-1, *g.out, m[0].shape[-1]), lambda y: [y.reshape(-1, y.shape[-1])]),
    )


def patches(x, g: Geometry):
    """What each output sees, [b, *space, c] -> [b · *out, *kernel · c]."""
    if covers(g):
        return x.reshape(len(x), -1)
    zero = jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, [(0, 0, 0), *((lo, hi, 0) for lo, hi in g.padding), (0, 0, 0)])
    span = [s * (o - 1) + 1 for o, s in zip(g.out, g.strides, strict=True)]

    def seen_by(tap):
        stop = [i + n for i, n in zip(tap, span, strict=True)]
        return lax.slice(x, (0, *tap, 0), (len(x), *stop, x.shape[-1]), (1, *g.strides, 1))

    taps = [seen_by(tap) for tap in product(*map(range, g.kernel))]
    return jnp.concatenate(taps, -1).reshape(-1, prod(g.kernel) * x.shape[-1])


def fold(v, g: Geometry):
    """The adjoint of `patches`: every patch added back where it came from."""
    rank = len(g.space)
    c = v.shape[-1] // prod(g.kernel)
    if covers(g):
        return v.reshape(-1, *g.space, c)
    x = v.reshape(-1, *g.out, *g.kernel, c)
    for axis in range(rank):  # [.., out, .., kernel, ..] -> [.., out + r - 1 blocks, .., stride, ..]
        s, at = g.strides[axis], 1 + rank + axis
        r = -(-g.kernel[axis] // s)
        x = pad_axis(x, at, 0, r * s - g.kernel[axis])
        parts = [lax.slice_in_dim(x, i * s, (i + 1) * s, axis=at) for i in range(r)]
        x = overlap_add(parts, 1 + axis)
    order = [0, *(i for axis in range(rank) for i in (1 + axis, 1 + rank + axis)), 1 + 2 * rank]
    blocks = x.shape[1 : 1 + rank]
    x = x.transpose(order).reshape(-1, *(t * s for t, s in zip(blocks, g.strides, strict=True)), c)
    for axis, (lo, _) in enumerate(g.padding):
        x = pad_axis(x, 1 + axis, -lo, g.space[axis] + lo - x.shape[1 + axis])
    return x


def covers(g: Geometry) -> bool:
    """The kernel covers the whole input once: the convolution is a dense layer."""
    return g.kernel == g.space and all(pads == (0, 0) for pads in g.padding)


def pad_axis(x, axis, low, high):
    """Zeros before and after along one axis; negative numbers crop."""
    pads = [(low, high, 0) if i == axis % x.ndim else (0, 0, 0) for i in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), pads)


def overlap_add(parts, axis):
    """Σ_i parts[i] moved on by i: r arrays of n along the axis -> n + r - 1. The adjoint of r shifted windows."""
    return sum(pad_axis(part, axis, i, len(parts) - 1 - i) for i, part in enumerate(parts))
