"""Each loss against NumPy in float64, finite differences, and the optimum that theory gives."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from gan_jax import losses
from gan_jax.errors import UserError

log_sigmoid = lambda x: -np.logaddexp(0, -x)
EXPECTED = {  # (real, fake) -> (loss of D, loss of G), as the papers write them
    losses.minimax: lambda r, f: (
        -log_sigmoid(r).mean() - np.log1p(-1 / (1 + np.exp(-f))).mean(),
        np.log1p(-1 / (1 + np.exp(-f))).mean(),
    ),
    losses.non_saturating: lambda r, f: (
        -np.log(1 / (1 + np.exp(-r))).mean() - np.log(1 / (1 + np.exp(f))).mean(),
        -np.log(1 / (1 + np.exp(-f))).mean(),
    ),
    losses.least_squares: lambda r, f: (
        0.5 * ((r - 1) ** 2).mean() + 0.5 * (f**2).mean(),
        0.5 * ((f - 1) ** 2).mean(),
    ),
    losses.hinge: lambda r, f: (
        -np.minimum(0, r - 1).mean() - np.minimum(0, -f - 1).mean(),
        -f.mean(),
    ),
    losses.wasserstein: lambda r, f: (-(r.mean() - f.mean()), -f.mean()),
    losses.relativistic: lambda r, f: (np.log1p(np.exp(-(r - f))).mean(), np.log1p(np.exp(-(f - r))).mean()),
}
ZERO = {  # at D(x) = 0 everywhere
    losses.minimax: (2 * np.log(2), -np.log(2)),
    losses.non_saturating: (2 * np.log(2), np.log(2)),
    losses.least_squares: (0.5, 0.5),
    losses.hinge: (2.0, 0.0),
    losses.wasserstein: (0.0, 0.0),
    losses.relativistic: (np.log(2), np.log(2)),
}
every_loss = pytest.mark.parametrize("loss", EXPECTED, ids=lambda f: f.__name__)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 3, (2, 7))


@every_loss
def test_formula(loss, logits):
    np.testing.assert_allclose(jax.jit(loss)(*jnp.asarray(logits)), EXPECTED[loss](*logits), rtol=1e-13)
    np.testing.assert_allclose(loss(jnp.zeros(3), jnp.zeros(3)), ZERO[loss], atol=1e-15)


@every_loss
@pytest.mark.parametrize("player", [0, 1], ids="DG")
def test_gradient_is_the_finite_difference(loss, player, logits):
    f = jax.jit(lambda x: loss(*x)[player])
    grad, h = np.asarray(jax.grad(f)(jnp.asarray(logits))), 1e-5
    for at in np.ndindex(logits.shape):
        d = np.zeros_like(logits)
        d[at] = h
        np.testing.assert_allclose(grad[at], (f(logits + d) - f(logits - d)) / (2 * h), rtol=1e-6, atol=1e-10)


@every_loss
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_huge_logits_stay_finite(loss, dtype):
    huge = jnp.asarray([-1e4, -1e4, 1e4, 1e4, 0.0], dtype), jnp.asarray([-1e4, 1e4, -1e4, 1e4, 0.0], dtype)
    jac = jax.jacrev(lambda x: loss(*x))(huge)
    assert all(jnp.isfinite(leaf).all() and leaf.dtype == dtype for leaf in jax.tree.leaves((loss(*huge), jac)))


def test_the_two_players_pull_the_right_way(logits):
    for loss in EXPECTED:
        jac = jax.jacrev(lambda x, loss=loss: loss(*x))(tuple(jnp.asarray(logits)))
        (D_real, D_fake), (_, G_fake) = jac
        if loss is not losses.least_squares:
            assert (D_real <= 0).all() and (D_fake >= 0).all() and (G_fake <= 0).all()
    fake, real = jnp.zeros(1), jnp.ones(1)  # least squares, where it is right: D is content, G is not
    assert losses.least_squares(real, fake)[0] == 0 and jax.grad(lambda f: losses.least_squares(real, f)[1])(fake) < 0


COUNTS = np.array([1, 2, 5, 4]), np.array([4, 3, 2, 3])  # p and q on four points, in twelfths


def on_four_points(loss):
    """Loss of D as a function of its logits on the four points, under p and q exactly."""
    real, fake = (np.repeat(np.arange(4), n) for n in COUNTS)
    return jax.jit(lambda d: loss(d[real], d[fake])[0])


@pytest.mark.parametrize("loss", [losses.minimax, losses.non_saturating], ids=lambda f: f.__name__)
def test_best_logit_is_the_log_ratio(loss):
    p, q = COUNTS / np.sum(COUNTS[0])
    f, best = on_four_points(loss), jnp.log(p / q)
    np.testing.assert_allclose(jax.grad(f)(best), 0, atol=1e-15)
    assert np.linalg.eigvalsh(jax.hessian(f)(best)).min() > 0
    m = (p + q) / 2
    js = (p @ np.log(p / m) + q @ np.log(q / m)) / 2  # Goodfellow et al. 2014, theorem 1
    np.testing.assert_allclose(f(best), 2 * np.log(2) - 2 * js, rtol=1e-13)


def test_best_least_squares_output_is_the_posterior():
    p, q = COUNTS / np.sum(COUNTS[0])
    f = on_four_points(losses.least_squares)
    np.testing.assert_allclose(jax.grad(f)(jnp.asarray(p / (p + q))), 0, atol=1e-15)


def test_best_hinge_output_is_the_sign():
    p, q = COUNTS / np.sum(COUNTS[0])
    f, sign = on_four_points(losses.hinge), jnp.sign(p - q)
    np.testing.assert_allclose(f(sign), 2 - np.abs(p - q).sum(), rtol=1e-13)  # 2 − 2 TV
    others = np.random.default_rng(0).normal(0, 2, (200, 4))
    assert (jax.vmap(f)(others) >= f(sign) - 1e-12).all()


def test_relativistic_wants_pairs():
    with pytest.raises(UserError, match=r"\[4\] of real x and \[6\] of fakes"):
        losses.relativistic(jnp.zeros(4), jnp.zeros(6))


def test_a_loss_by_its_name():
    assert all(losses.get(loss.__name__) is loss and losses.get(loss) is loss for loss in EXPECTED)
    with pytest.raises(UserError, match="no loss 'hinge_loss', the nearest is 'hinge'; the losses are minimax, non_"):
        losses.get("hinge_loss")
    with pytest.raises(UserError, match="loss is 3: give a function"):
        losses.get(3)


@every_loss
def test_the_best_output_on_equal_densities(loss):
    """What D says where it cannot tell: ½ for the losses with probabilities, a logit for the others."""
    probabilistic = loss in (losses.minimax, losses.non_saturating)
    expected = 1 / (1 + np.exp([-2.0, 0.0])) if probabilistic else [2.0, 0.0]
    np.testing.assert_allclose(losses.output(loss)(jnp.asarray([2.0, 0.0])), expected, rtol=1e-15)


@pytest.mark.parametrize("name", ["losses", "penalties", "two_player", "game", "engine"])
def test_no_loss_stops_a_gradient(name):
    tree = ast.parse((Path(gan_jax.__file__).parent / f"{name}.py").read_text())
    words = {getattr(node, field, None) for node in ast.walk(tree) for field in ("id", "attr", "name", "asname")}
    assert "stop_gradient" not in words
