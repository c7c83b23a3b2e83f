"""Convolutions as NumPy and XLA compute them, in the shapes of the papers and in odd ones."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan_jax.nn.conv import conv, conv_transpose
from gan_jax.nn.conv.forms import Geometry
from gan_jax.nn.conv.layers import pads

rng = np.random.default_rng(0)
both = pytest.mark.parametrize("transposed", [False, True], ids=["conv", "conv_transpose"])


def random(*shape):
    """float64 where the test asks for it, else float32."""
    return jnp.asarray(rng.normal(size=shape))


def far(a, b):
    """The largest distance of corresponding arrays, in the norm of the second."""
    distance = lambda a, b: np.linalg.norm(np.subtract(a, b, dtype=np.float64)) / (np.linalg.norm(b) or 1)
    return max(jax.tree.leaves(jax.tree.map(distance, a, b)))


def numpy_conv(x, w, strides, padding):
    """y[i] = Σ_j x[s·i + j − p] w[j], an output at a time."""
    x = np.pad(x, [(0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in padding), (0, 0)])
    x = x[:, *(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(x.shape[1:], padding, strict=False))]
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:], w.shape, strides, strict=False)]
    y = np.zeros((len(x), *out, w.shape[-1]))
    for i in product(*map(range, out)):
        patch = x[:, *(slice(s * o, s * o + k) for s, o, k in zip(strides, i, w.shape, strict=False))]
        y[:, *i] = np.tensordot(patch, w, w.ndim - 1)
    return y


def lax_conv(x, w, strides, padding):
    """XLA's own, whose derivatives are JAX's."""
    axes = "HW"[: x.ndim - 2]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout)


# space, kernel, strides, padding: those of the papers, then odd ones
SHAPES = {
    "k3 s1": ((6, 5), (3, 3), 1, 1),
    "k4 s2 p1": ((8, 12), (4, 4), 2, 1),
    "k4 s2 p1, 14 -> 7": ((14, 14), (4, 4), 2, 1),
    "k4 s1 p0, 4 -> 1": ((4, 4), (4, 4), 1, 0),
    "k4 s1 p1": ((6, 6), (4, 4), 1, 1),
    "k5 s1 SAME": ((7, 7), (5, 5), 1, "SAME"),
    "k5 s2 SAME, 14 -> 7": ((14, 14), (5, 5), 2, "SAME"),
    "k5 s2 SAME, 7 -> 4": ((7, 7), (5, 5), 2, "SAME"),
    "k1": ((3, 4), (1, 1), 1, 0),
    "k1 s2": ((6, 6), (1, 1), 2, 0),
    "k7 VALID": ((10, 9), (7, 7), 1, "VALID"),
    "k25 s4, 1-D": ((32,), (25,), 4, "SAME"),
    "k3 s1, 2x2": ((2, 2), (3, 3), 1, 1),
    "uneven": ((9, 8), (3, 2), (2, 3), ((0, 2), (1, 0))),
    "cropped": ((8, 8), (3, 3), 2, ((-1, 1), (0, -2))),
    "unread edge": ((9, 9), (2, 2), 3, 0),
}


def geometry(shape, c, f):
    space, kernel, strides, padding = shape
    strides = strides if isinstance(strides, tuple) else (strides,) * len(space)
    return Geometry(space, kernel, strides, pads(padding, space, kernel, strides), (c, f))


def against_lax(transposed, name, c, f):
    """Our operation of a shape, its arguments, and XLA's: for the transpose, the adjoint that JAX derives."""
    g = geometry(SHAPES[name], c, f)
    w = random(*g.kernel, c, f)
    if not transposed:
        x = random(2, *g.space, c)
        return (
            partial(conv, strides=g.strides, padding=g.padding),
            (x, w),
            partial(lax_conv, strides=g.strides, padding=g.padding),
        )
    adjoint = lambda y, w: jax.vjp(
        lambda x: lax_conv(x, w.swapaxes(-1, -2), g.strides, g.padding), jnp.zeros((2, *g.space, c))
    )[1](y)[0]
    ours = partial(conv_transpose, strides=g.strides, padding=g.padding)
    return ours, (random(2, *g.out, f), w.swapaxes(-1, -2)), adjoint
