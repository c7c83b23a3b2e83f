"""Convolutional layers: the numbers and names of Flax and TensorFlow, types, groups, and what does not fit."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import far, lax_conv, numpy_conv, random
from jax import jit

from gan_jax.errors import UserError
from gan_jax.nn.conv import Conv, ConvTranspose, conv, conv_transpose, in_groups


@pytest.mark.parametrize("k, s", [(5, 1), (5, 2), (4, 2), (3, 2), (2, 3)])
def test_same_transposed_multiplies_the_size_by_the_stride(x64, k, s):
    """TensorFlow's: the input gradient of the SAME convolution that takes s·n to n."""
    x, w = random(2, 7, 7, 2), random(k, k, 2, 3)
    from_larger = lambda larger: lax_conv(larger, w.swapaxes(-1, -2), (s, s), "SAME")
    (expected,) = jax.vjp(from_larger, jnp.zeros((2, 7 * s, 7 * s, 3)))[1](x)
    assert far(jit(partial(conv_transpose, strides=s))(x, w), expected) < 1e-12


@pytest.mark.parametrize("c, f", [(3, 8), (32, 32)])
def test_bfloat16_sums_in_float32(c, f):
    x, w = (jnp.asarray(a, jnp.bfloat16) for a in (random(2, 8, 8, c), random(4, 4, c, f)))
    y = jit(lambda x, w: conv(x, w, 2, 1))(x, w)
    exact = numpy_conv(np.float64(x), np.float64(w), (2, 2), [(1, 1)] * 2)
    assert y.dtype == jnp.bfloat16
    assert far(y.astype(jnp.float32), exact) < 2**-8
    assert conv(x, w.astype(jnp.float32), 2, 1).dtype == jnp.float32


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_flax_layers(dtype):
    x = jnp.asarray(random(2, 8, 8, 3), jnp.float32)
    ours, theirs = Conv(5, (4, 4), (2, 2), 1, dtype=dtype), nn.Conv(5, (4, 4), (2, 2), 1, dtype=dtype)
    variables = theirs.init(jax.random.key(0), x)
    assert far(ours.init(jax.random.key(0), x), variables) == 0
    assert ours.apply(variables, x).dtype == theirs.apply(variables, x).dtype
    tolerance = 1e-6 if dtype is None else 2**-7
    assert far(ours.apply(variables, x).astype(float), theirs.apply(variables, x).astype(float)) < tolerance


def test_flax_transposed_layers():
    x = jnp.asarray(random(2, 4, 4, 3), jnp.float32)
    ours, theirs = ConvTranspose(5, (5, 5), (2, 2)), nn.ConvTranspose(5, (5, 5), (2, 2), transpose_kernel=True)
    variables = ours.init(jax.random.key(0), x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"] + 1
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (5, 5, 3, 5), "bias": (5,)}}
    assert far(variables, nn.ConvTranspose(5, (5, 5), (2, 2)).init(jax.random.key(0), x)) == 0
    swapped = {"params": {"kernel": kernel.swapaxes(2, 3), "bias": bias}}
    assert far(ours.apply({"params": {"kernel": kernel, "bias": bias}}, x), theirs.apply(swapped, x)) < 1e-6
    flipped = {"params": {"kernel": kernel[::-1, ::-1], "bias": bias}}
    theirs = nn.ConvTranspose(5, (4, 4), (2, 2), 2)  # kernel size − 1 − padding
    ours, variables = ConvTranspose(5, (4, 4), 2, 1), {"params": {"kernel": kernel[:4, :4], "bias": bias}}
    flipped = {"params": {"kernel": kernel[3::-1, 3::-1], "bias": bias}}
    assert far(ours.apply(variables, x), theirs.apply(flipped, x)) < 1e-6


@pytest.mark.parametrize("k, s", [(3, 1), (4, 2)])
def test_grouped_layers(x64, k, s):
    """In numbers, gradients and gradients of gradients Flax's, whose feature_group_count is XLA's own."""
    x, options = random(2, 6, 6, 6), {"dtype": float, "param_dtype": float, "bias_init": nn.initializers.normal()}
    ours = Conv(9, (k, k), s, groups=3, **options)
    theirs = nn.Conv(9, (k, k), s, feature_group_count=3, **options)
    variables = theirs.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].shape == (k, k, 2, 9)
    assert far(ours.init(jax.random.key(0), x), variables) == 0

    def everything(layer, variables, x):
        slope = lambda v, x: jax.grad(lambda v, x: jnp.sin(layer.apply(v, x)).sum(), (0, 1))(v, x)
        r1 = jax.grad(lambda v, x: jnp.square(slope(v, x)[1]).sum() / 2, (0, 1))
        return layer.apply(variables, x), slope(variables, x), r1(variables, x)

    a, b = (jit(partial(everything, layer))(variables, x) for layer in (ours, theirs))
    assert far(a, b) < 1e-9


def test_grouped_transposes(x64):
    x, w = random(2, 3, 3, 4), random(4, 4, 2, 6)
    y = jit(lambda x, w: in_groups(conv_transpose, 2)(x, w, 2, 1))(x, w)
    halves = [conv_transpose(x[..., :2], w[..., :3], 2, 1), conv_transpose(x[..., 2:], w[..., 3:], 2, 1)]
    assert far(y, jnp.concatenate(halves, -1)) < 1e-12


@pytest.mark.parametrize("layer", [Conv, ConvTranspose])
def test_initialisers_see_the_fan_in(layer):
    """lecun_normal: variance 1 / (16 · 64), whichever way the layer goes."""
    kernel = layer(8, (4, 4), use_bias=False).init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]["kernel"]
    assert kernel.shape == (4, 4, 64, 8)
    assert float(kernel.var()) * 16 * 64 == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: conv(jnp.zeros((8, 8, 3)), jnp.zeros((3, 3, 3, 5))), r"\[8, 8, 3\].*\[3, 3, 3, 5\]"),
        (lambda: conv(jnp.zeros((1, 2, 2, 3)), jnp.zeros((5, 5, 3, 5)), 1, 0), "does not fit"),
        (lambda: conv(jnp.zeros((1, 8, 8, 3)), jnp.zeros((3, 3, 3, 5)), 1, "CIRCULAR"), "CIRCULAR"),
        (lambda: conv(jnp.zeros((1, 8, 8, 3)), jnp.zeros((3, 3, 3, 5)), (1, 1, 1)), "3 numbers for 2 axes"),
        (lambda: conv_transpose(jnp.zeros((1, 1, 1, 3)), jnp.zeros((2, 2, 3, 5)), 1, 1), "nothing"),
        (lambda: in_groups(conv, 2)(jnp.zeros((1, 8, 8, 3)), jnp.zeros((3, 3, 1, 4))), "2 groups do not divide 3"),
    ],
)
def test_what_cannot_be_convolved(call, words):
    with pytest.raises(UserError, match=words):
        call()
