"""Penalties: exact where ∇D is known; their gradients in D's weights are finite differences, through convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gan_jax.errors import UserError
from gan_jax.nn.conv import conv
from gan_jax.penalties import r1, r2, squared_slope, wgan_gp

key = jax.random.key(5)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def quadratic():
    """D(x) = ½ xᵀAx + bᵀx on x [n, 2, 3], with ∇D = Ax + b."""
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(6, 6)), rng.normal(size=6)
    A = A + A.T

    def critic(x):
        flat = x.reshape(len(x), -1)
        return jnp.einsum("ni,ij,nj->n", flat, A, flat) / 2 + flat @ b

    x, fake = rng.normal(size=(2, 5, 2, 3))
    return critic, lambda x: x.reshape(5, 6) @ A + b, jnp.asarray(x), jnp.asarray(fake)


def test_r1_and_r2_on_a_quadratic(quadratic):
    D, slope, x, fake = quadratic
    np.testing.assert_allclose(jax.jit(lambda x: r1(D, x))(x), (slope(x) ** 2).sum(1).mean() / 2, rtol=1e-13)
    np.testing.assert_allclose(r2(D, fake), (slope(fake) ** 2).sum(1).mean() / 2, rtol=1e-13)


def test_wgan_gp_on_a_quadratic(quadratic):
    D, slope, x, _ = quadratic
    norm = np.linalg.norm(slope(x), axis=1)
    np.testing.assert_allclose(wgan_gp(D, x, x, key), ((norm - 1) ** 2).mean(), rtol=1e-12)  # x̂ = x for every ε


def test_each_sample_is_judged_under_its_own_label():
    """D(x, y) = x₀(1 + 9y), whose slope is 1 on fakes of class 0 and 10 on real x of class 1."""
    critic = lambda s: s["x"][:, 0] * (1 + 9 * s["y"])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)))
    real, fake = {"x": x, "y": jnp.ones(4, int)}, {"x": -x, "y": jnp.zeros(4, int)}
    assert r1(critic, real) == 50 and r2(critic, fake) == 0.5
    assert wgan_gp(critic, real, fake, key) == 81  # x̂ has the label of its real sample
    mixed = real | {"y": jnp.asarray([0, 1, 0, 1])}
    np.testing.assert_allclose(squared_slope(critic, mixed), [1, 100, 1, 100], rtol=1e-15)
    with pytest.raises(UserError, match=r"real is \[4, 2\] and fake is \[2, 2\]"):
        wgan_gp(critic, real, jax.tree.map(lambda a: a[:2], fake), key)


def test_wgan_gp_mixes_each_pair_by_its_own_number():
    D = lambda x: jnp.square(x).sum((1, 2)) / 2  # ‖∇D(x)‖ = ‖x‖
    zero, ones = jnp.zeros((1, 10, 10)), jnp.ones((1, 10, 10))
    many = lambda x: jnp.broadcast_to(x, (20_000, 10, 10))
    # ‖x̂‖ = 10 ε against ones, and E(10 ε − 1)² = 100/3 − 10 + 1; ε for each pixel would give 22.7.
    for pair in ((many(ones), many(zero)), (many(zero), many(ones))):
        np.testing.assert_allclose(wgan_gp(D, *pair, key), 73 / 3, rtol=0.02)
    # One pair shows ε itself: alike from both ends, in [0, 1], new for a new key.
    ends = [(wgan_gp(D, real, fake, key) ** 0.5) for real, fake in ((ones, zero), (zero, ones))]
    assert any(np.isclose((1 + a * ends[0]) / 10 + (1 + b * ends[1]) / 10, 1) for a in (1, -1) for b in (1, -1))
    assert wgan_gp(D, ones, zero, key) != wgan_gp(D, ones, zero, jax.random.key(6))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_flat_critic_has_finite_gradients(dtype):
    x, w = jnp.ones((4, 2, 3), dtype), jnp.zeros((2, 3), dtype)
    for penalty, flat in ((lambda D: r1(D, x), 0), (lambda D: wgan_gp(D, x, -x, key), 1)):
        value, grad = jax.value_and_grad(lambda w, f=penalty: f(lambda x: (x * w).sum((1, 2))))(w)
        assert value == flat and value.dtype == dtype and (grad == 0).all()


def test_wgan_gp_wants_pairs():
    with pytest.raises(UserError, match=r"real is \[4, 2\] and fake is \[3, 2\]"):
        wgan_gp(lambda x: x.sum(1), jnp.zeros((4, 2)), jnp.zeros((3, 2)), key)


def plain(x, w, stride, padding):
    return jax.lax.conv_general_dilated(
        x, w, (stride,) * 2, [(padding,) * 2] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def net(convolve, activation):
    """A critic of two convolutions (k4 s2 p1, k3 s1 p1) and a linear output, x [b, 8, 8, 2] -> [b], on its weights."""
    return lambda w, x: jnp.einsum(
        "bhwc,hwc->b",
        activation(convolve(activation(convolve(x, w["first"], 2, 1) + w["bias"]), w["second"], 1, 1)),
        w["out"],
    )


@pytest.mark.parametrize(
    "activation", [jax.nn.softplus, lambda x: jax.nn.leaky_relu(x, 0.2)], ids=["softplus", "leaky"]
)
@pytest.mark.parametrize("convolve", [plain, conv], ids=["lax", "ours"])
def test_gradient_in_the_weights_is_the_finite_difference(convolve, activation):
    rng, D = np.random.default_rng(1), net(convolve, activation)
    shapes = {"first": (4, 4, 2, 4), "bias": (4,), "second": (3, 3, 4, 3), "out": (4, 4, 3)}
    weights, unravel = ravel_pytree({n: jnp.asarray(rng.normal(0, 0.3, s)) for n, s in shapes.items()})
    real, fake = jnp.asarray(rng.normal(size=(2, 3, 8, 8, 2)))

    @jax.jit
    def penalties(flat):
        critic = lambda x: D(unravel(flat), x)
        return jnp.stack([r1(critic, real), r2(critic, fake), wgan_gp(critic, real, fake, key)])

    jacobian, h = np.asarray(jax.jit(jax.jacrev(penalties))(weights)), 1e-5
    for _ in range(10):
        d = rng.normal(size=weights.shape)
        difference = (penalties(weights + h * d) - penalties(weights - h * d)) / (2 * h)
        np.testing.assert_allclose(jacobian @ d, difference, rtol=1e-6)
