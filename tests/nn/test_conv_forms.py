"""Every form of a convolution against NumPy, and how much single precision costs it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import SHAPES, against_lax, far, geometry, numpy_conv, random
from jax import jit

from gan_jax.nn.conv import forms
from gan_jax.nn.conv import primitives as triple
from gan_jax.nn.conv.winograd import winograd

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def every_form(g):
    """That may be chosen for such a shape."""
    yield from (forms.plain(g), forms.canonical(g), forms.im2col(g))
    if set(g.strides) == {1}:
        yield forms.mirrored(g)
    if m := triple.TILE.get((g.kernel[0], g.strides[0])):
        yield winograd(g, m)


@shapes
def test_every_form_of_every_shape(x64, shape):
    g = geometry(shape, 2, 3)
    numpy = partial(numpy_conv, strides=g.strides, padding=g.padding)
    x, w, y = random(2, *g.space, 2), random(*g.kernel, 2, 3), random(2, *g.out, 3)
    y_of_x, other_x, other_w = numpy(x, w), random(*x.shape), random(*w.shape)
    # ⟨y, C(x, w)⟩ = ⟨T(y, w), x⟩ = ⟨W(x, y), w⟩, on an x and a w that T and W have not seen
    by_x, by_w = np.vdot(y, numpy(other_x, w)), np.vdot(y, numpy(x, other_w))
    three = lambda form: (form.C(x, w), form.T(y, w), form.W(x, y))
    for out, back, weight in jit(lambda: [three(form) for form in every_form(g)])():
        assert far(out, y_of_x) < 1e-12
        np.testing.assert_allclose((np.vdot(back, other_x), np.vdot(weight, other_w)), (by_x, by_w), rtol=1e-10)


@pytest.mark.parametrize("k, s", [(5, 1), (4, 2)])  # the largest tiles, and DCGAN's
def test_winograd_in_single_precision(k, s):
    """Its sums cancel; what is left is nearly as good as a plain convolution's."""
    g = geometry(((8, 8), (k, k), s, "SAME"), 32, 32)
    x, w, y = random(2, *g.space, 32), random(*g.kernel, 32, 32), random(2, *g.out, 32)
    all_three = lambda form: jit(lambda x, w, y: (form.C(x, w), form.T(y, w), form.W(x, y)))
    ours = all_three(winograd(g, triple.TILE[k, s]))(x, w, y)
    with jax.enable_x64(True):
        exact = all_three(forms.plain(g))(*(a.astype(float) for a in (x, w, y)))
    assert far(ours, exact) < 1e-5


def test_second_derivatives_in_single_precision():
    ours, (x, w), theirs = against_lax(False, "k3 s1", 32, 32)

    def r1(op, x, w):
        return jax.grad(lambda w: jnp.square(jax.grad(lambda x: jnp.sin(op(x, w)).sum())(x)).sum() / 2)(w)

    with jax.enable_x64(True):
        exact = jit(partial(r1, theirs))(x.astype(float), w.astype(float))
    assert far(jit(partial(r1, ours))(x, w), exact) < 1e-4
