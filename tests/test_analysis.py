"""Analysis of the vector field against closed forms, finite differences, NumPy and loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fields import INFERENCE, MLP, PAIRS, inference, on_weights, start
from flax import linen as nn
from scipy.sparse.linalg import eigs

from gan_jax import analysis, engine, losses, penalties, priors
from gan_jax.errors import UserError
from gan_jax.game import Game, Move, Player, move
from gan_jax.optimizers import sgd
from gan_jax.two_player import gan


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


NOTHING = {"x": np.zeros((1, 2, 1))}
RNG = np.random.default_rng(0)
M, ROOT = RNG.normal(size=(3, 3)), RNG.normal(size=(5, 5))


def bilinear(w, batch):
    """L_G = gᵀMd = −L_D: v = (−Mᵀg, Md), which rotates and neither falls nor grows."""
    value = w["G"] @ M @ w["D"]
    return {"G": value, "D": -value}


def cooperative(w, batch):
    """One loss for both, ½ wᵀHw + w₀ with H = ROOT ROOTᵀ."""
    joined = jnp.concatenate([w["D"], w["G"]])
    return {"ours": jnp.square(joined @ ROOT).sum() / 2 + joined[0]}


COOPERATION = {"sizes": {"G": 3, "D": 2}, "losses": cooperative, "moves": (Move({"D": "ours", "G": "ours"}),)}


class Point(nn.Module):
    """G of the Dirac-GAN: every sample is θ."""

    @nn.compact
    def __call__(self, z):
        return z * 0 + self.param("θ", nn.initializers.zeros, (1,))


class Slope(nn.Module):
    """D(x) = ψx."""

    @nn.compact
    def __call__(self, x):
        return (x * self.param("ψ", nn.initializers.zeros, (1,)))[:, 0]


@pytest.mark.parametrize("γ", [0.0, 0.4, 1.0, 3.0])
def test_the_dirac_gan_has_the_published_eigenvalues(x64, γ):
    """−γ/2 ± √(γ²/4 − f'(0)²) of −J, f'(0) = ½. Mescheder et al. 2018 (arXiv:1801.04406)."""
    penalty = lambda critic, real, fake, key: γ * penalties.r1(critic, real)
    players = Player(Point(), sgd(0.1)), Player(Slope(), sgd(0.1))
    dirac = gan(*players, losses.minimax, priors.normal(1), penalty=penalty, moves=(move("D", "G"),))
    given = start(dirac, {"x": np.zeros((1, 4, 1))})
    np.testing.assert_allclose(analysis.jacobian(dirac, *given), [[γ, 0.5], [-0.5, 0]], atol=1e-15)
    root = np.emath.sqrt(γ**2 / 4 - 1 / 4)
    expected = -np.array([-γ / 2 + root, -γ / 2 - root])
    found = analysis.eigenvalues(dirac, *given)
    # γ = 1 is the critical damping, where J has one eigenvector and half the digits are lost.
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(expected), atol=1e-7 if γ == 1 else 1e-14)


def test_a_bilinear_game_only_rotates(x64):
    g = on_weights({"G": 3, "D": 3}, bilinear)
    given = state, *_ = start(g, NOTHING)
    w = {n: np.asarray(state.params[n]["w"]) for n in "DG"}
    v = np.concatenate([-M.T @ w["G"], M @ w["D"]])
    J = np.block([[np.zeros((3, 3)), -M.T], [M, np.zeros((3, 3))]])
    np.testing.assert_allclose(analysis.field(g, *given), v, rtol=1e-14)
    np.testing.assert_allclose(analysis.jacobian(g, *given), J, atol=1e-15)
    singular = np.linalg.svd(M, compute_uv=False)
    found = analysis.eigenvalues(g, *given)
    assert abs(found.real).max() < 1e-14
    np.testing.assert_allclose(np.sort(found.imag), np.sort([*singular, *-singular]), rtol=1e-13)
    flow = analysis.flow(g, *given)
    np.testing.assert_allclose(flow["contraction"], 0, atol=1e-15)
    np.testing.assert_allclose(flow["rotation"], np.linalg.norm(J @ v) / np.linalg.norm(v), rtol=1e-14)
    np.testing.assert_allclose([flow["angle"], flow["norm"]], [np.pi / 2, np.linalg.norm(v)], rtol=1e-14)


def test_cooperation_does_not_rotate(x64):
    g = on_weights(**COOPERATION)
    given = start(g, NOTHING)
    H, v = ROOT @ ROOT.T, np.asarray(analysis.field(g, *given))
    np.testing.assert_allclose(analysis.jacobian(g, *given), H, rtol=1e-12)
    flow = analysis.flow(g, *given)
    np.testing.assert_allclose(flow["rotation"], 0, atol=1e-13)
    np.testing.assert_allclose([flow["contraction"], flow["angle"]], [v @ H @ v / (v @ v), 0], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(analysis.eigenvalues(g, *given), np.linalg.eigvalsh(H)[::-1], rtol=1e-11)


def test_contraction_is_the_rate_at_which_the_field_falls(x64):
    """Both at once: along one small step of θ̇ = −v, ‖v‖ falls by contraction · η to first order."""
    mixed = lambda w, batch: {n: bilinear(w, batch)[n] + jnp.square(w[n]).sum() ** 2 for n in "DG"}
    g, η = on_weights({"G": 3, "D": 3}, mixed), 1e-5
    state, *rest = start(g, NOTHING)
    before, now = analysis.field(g, state, *rest), analysis.flow(g, state, *rest)
    step = {n: {"w": state.params[n]["w"] - η * part} for n, part in zip("DG", (before[:3], before[3:]), strict=True)}
    after = analysis.field(g, state.replace(params=step), *rest)
    rate = -np.log(np.linalg.norm(after) / now["norm"]) / η
    np.testing.assert_allclose(now["contraction"], rate, rtol=1e-3)


@pytest.fixture(scope="module")
def given():
    with jax.enable_x64(True):
        return start(INFERENCE, PAIRS)


def test_the_jacobian_is_the_finite_difference(x64, given):
    state, batch, key = given
    J = np.asarray(analysis.jacobian(INFERENCE, *given))
    θ, tree = jax.flatten_util.ravel_pytree(state.params)
    at = lambda θ: analysis.field(INFERENCE, state.replace(params=tree(θ)), batch, key)
    h = 1e-5  # central differences
    difference = np.stack([(at(θ + d) - at(θ - d)) / (2 * h) for d in h * np.eye(len(θ))], axis=1)
    assert J.shape == (len(θ),) * 2 and len(θ) > 60
    np.testing.assert_allclose(J, difference, atol=1e-8 * np.linalg.norm(J, 2))
    assert np.linalg.norm(J - J.T) > 0.1 * np.linalg.norm(J)  # this game does rotate
    # The products with J, and one player's block, which is symmetric.
    u = RNG.normal(size=len(θ))
    np.testing.assert_allclose(analysis.times(INFERENCE, *given, u), J @ u, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(analysis.transposed_times(INFERENCE, *given, u), J.T @ u, rtol=1e-11, atol=1e-13)
    n = sum(x.size for x in jax.tree.leaves(state.params["D"]))
    hessian = analysis.jacobian(INFERENCE, *given, players=("D",))
    np.testing.assert_allclose(hessian, J[:n, :n], atol=1e-14)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-14)


def test_the_field_is_what_the_round_descends(x64):
    """A simultaneous round of gradient descent moves by −ηv: same batch, same noise."""
    g = Game(INFERENCE.players, inference, (move("D", "G", "E"),))
    batch = {"x": PAIRS["x"][:1]}
    state, *rest = start(g, batch)
    after, _ = jax.jit(engine.step, static_argnums=0)(g, state, batch)
    moved = jax.flatten_util.ravel_pytree(after.params)[0] - jax.flatten_util.ravel_pytree(state.params)[0]
    np.testing.assert_allclose(analysis.field(g, state, *rest), moved / -0.1, rtol=1e-12, atol=1e-14)


ORDER = {"magnitude": abs, "real": np.real, "-real": lambda x: -x.real, "imaginary": lambda x: abs(x.imag)}


def test_arnoldi_finds_the_leading_eigenvalues(x64, given):
    exact = np.linalg.eigvals(analysis.jacobian(INFERENCE, *given))
    for which, order in ORDER.items():
        found = analysis.leading_eigenvalues(INFERENCE, *given, k=5, which=which)
        assert abs(found[:, None] - exact).min(axis=1).max() < 1e-6, which
        best = np.sort(order(exact))[: -5 - 1 : -1]
        np.testing.assert_allclose(np.sort(order(found))[::-1], best, atol=1e-6, err_msg=which)
    np.testing.assert_array_equal(found, analysis.leading_eigenvalues(INFERENCE, *given, k=5, which=which))


def test_float32_is_as_exact_as_it_says(x64):
    """Without batch statistics, whose small variances magnify rounding."""
    g = Game({n: Player(MLP(2 if n != "D" else 1), sgd(0.1)) for n in "GED"}, inference, (move("D", "G", "E"),))
    given = start(g, {"x": PAIRS["x"][:1]})
    J = np.asarray(analysis.jacobian(g, *given))
    narrow = jax.tree.map(lambda x: x.astype("float32") if jnp.issubdtype(x.dtype, jnp.inexact) else x, given)
    found = analysis.jacobian(g, *narrow)
    assert found.dtype == "float32" and abs(found - J).max() < 1e-7 * np.linalg.norm(J, 2)
    leading = analysis.leading_eigenvalues(g, *narrow, k=4)
    assert abs(leading[:, None] - np.linalg.eigvals(J)).min(axis=1).max() < 1e-6 * np.linalg.norm(J, 2)


def test_what_arnoldi_cannot_find(x64, given, monkeypatch):
    n = analysis.field(INFERENCE, *given).size
    with pytest.raises(UserError, match=f"cannot find {n} eigenvalues of {n}, but 1 to {n - 2}"):
        analysis.leading_eigenvalues(INFERENCE, *given, k=n)
    with pytest.raises(UserError, match="which is 'LM': it must be one of 'magnitude', 'real'"):
        analysis.leading_eigenvalues(INFERENCE, *given, which="LM")
    with pytest.raises(UserError, match="Player 'F' makes no move in this game; those who move are"):
        analysis.field(INFERENCE, *given, players=("F",))
    monkeypatch.setattr("scipy.sparse.linalg.eigs", partial(eigs, maxiter=1))
    with pytest.raises(UserError, match=r"found [0-4] of 5 eigenvalues"):
        analysis.leading_eigenvalues(INFERENCE, *given, k=5, which="-real")


def test_paths_to_what_attracts_and_to_what_rotates(x64):
    α = jnp.linspace(-0.5, 1.5, 5)
    attract = lambda w, batch: {n: jnp.square(w[n] - 1).sum() for n in "DG"}
    scaled = lambda w, batch: {"G": w["G"] @ w["D"], "D": -(w["G"] @ w["D"])}
    for play, centre, cosine in ((attract, 1.0, [1, 1, 1, np.nan, -1]), (scaled, 0.0, [0, 0, 0, np.nan, 0])):
        g = on_weights({"G": 3, "D": 3}, play)
        state, *rest = start(g, NOTHING)
        end = state.replace(params=jax.tree.map(lambda x, c=centre: jnp.full_like(x, c), state.params))
        angle, norm = analysis.path(g, state, end, *rest, α)
        np.testing.assert_allclose(angle, cosine, atol=1e-14)
        np.testing.assert_allclose(norm, abs(1 - α) * analysis.flow(g, state, *rest)["norm"], rtol=1e-13)
