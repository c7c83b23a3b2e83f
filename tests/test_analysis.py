"""gan_jax/analysis.py against closed forms, finite differences, NumPy and loops."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from flax import linen as nn
from scipy.sparse.linalg import eigs

import gan_jax
from gan_jax import analysis, engine, losses, penalties, population, priors
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Move, Player, move
from gan_jax.optimizers import sgd
from gan_jax.reparam import spectral_norm
from gan_jax.runs.folder import read_rows
from gan_jax.two_player import gan

KEY = jax.random.key(3)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def born(g, batch):
    """A State, and the hand of its first round on a batch [slices, B, …]."""
    state = jax.jit(engine.init, static_argnums=0)(g, KEY, batch)
    return state, *analysis.hand(g, state, batch)


class Weights(nn.Module):
    """A player that is its weights, [n]."""

    n: int

    @nn.compact
    def __call__(self):
        return self.param("w", nn.initializers.normal(1.0), (self.n,))


def weights(n):
    return Player(Weights(n), sgd(0.1))


def on_weights(sizes, losses, moves=None):
    """The game in which losses(w, batch) -> {name: loss} of everyone's weights, on a batch that need not be used."""

    def play(nets, batch, key, step):
        return {name: Loss(loss) for name, loss in losses({n: nets[n]() for n in sizes}, batch).items()}

    return Game({n: weights(size) for n, size in sizes.items()}, play, moves or (move(*sizes),))


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
    given = born(dirac, {"x": np.zeros((1, 4, 1))})
    np.testing.assert_allclose(analysis.jacobian(dirac, *given), [[γ, 0.5], [-0.5, 0]], atol=1e-15)
    root = np.emath.sqrt(γ**2 / 4 - 1 / 4)
    expected = -np.array([-γ / 2 + root, -γ / 2 - root])
    found = analysis.eigenvalues(dirac, *given)
    # γ = 1 is the critical damping, where J has one eigenvector and half the digits are lost.
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(expected), atol=1e-7 if γ == 1 else 1e-14)


def test_a_bilinear_game_only_rotates(x64):
    g = on_weights({"G": 3, "D": 3}, bilinear)
    given = state, *_ = born(g, NOTHING)
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
    given = born(g, NOTHING)
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
    state, *rest = born(g, NOTHING)
    before, now = analysis.field(g, state, *rest), analysis.flow(g, state, *rest)
    step = {n: {"w": state.params[n]["w"] - η * part} for n, part in zip("DG", (before[:3], before[3:]), strict=True)}
    after = analysis.field(g, state.replace(params=step), *rest)
    rate = -np.log(np.linalg.norm(after) / now["norm"]) / η
    np.testing.assert_allclose(now["contraction"], rate, rtol=1e-3)


class MLP(nn.Module):
    """[b, …] -> [b, out]; batch statistics where `norm`."""

    out: int
    norm: bool = False

    @nn.compact
    def __call__(self, *x, train=True):
        wide = {"param_dtype": jnp.float64}
        h = jax.nn.softplus(nn.Dense(4, **wide)(jnp.concatenate(x, axis=1)))
        h = nn.BatchNorm(not train, force_float32_reductions=False, **wide)(h) if self.norm else h
        return nn.Dense(self.out, **wide)(h)


def inference(nets, batch, key, step):
    """Three players: D tells (x, E(x)) from (G(z), z), G and E fool it."""
    x = batch["x"]
    z = jax.random.normal(key, (len(x), 2), "float64").astype(x.dtype)
    code, fake = nets["E"](x), nets["G"](z)
    real, false = nets["D"](x, code)[:, 0], nets["D"](fake, z)[:, 0]
    fool = jax.nn.softplus(-false).mean() + jax.nn.softplus(real).mean()
    error = jax.nn.softplus(-real).mean() + jax.nn.softplus(false).mean()
    return {"D": Loss(error), "G": Loss(fool), "E": Loss(fool + 0.1 * jnp.square(code).mean())}


INFERENCE = Game(
    {n: Player(net, sgd(0.1)) for n, net in {"G": MLP(2, True), "E": MLP(2), "D": MLP(1)}.items()},
    inference,
    (move("D"), move("G", "E")),
)
PAIRS = {"x": np.random.default_rng(1).normal(size=(2, 6, 2))}


@pytest.fixture(scope="module")
def given():
    with jax.enable_x64(True):
        return born(INFERENCE, PAIRS)


def test_the_jacobian_is_the_finite_difference(x64, given):
    state, batch, key = given
    J, v = np.asarray(analysis.jacobian(INFERENCE, *given)), analysis.field(INFERENCE, *given)
    θ, tree = jax.flatten_util.ravel_pytree(state.params)
    at = jax.jit(lambda θ: analysis.field(INFERENCE, state.replace(params=tree(θ)), batch, key))
    np.testing.assert_allclose(at(θ), v, rtol=1e-13, atol=1e-15)
    h = 1e-5
    difference = np.stack([(at(θ + d) - at(θ - d)) / (2 * h) for d in h * np.eye(len(θ))], axis=1)
    assert J.shape == (len(θ),) * 2 and len(θ) > 60
    np.testing.assert_allclose(J, difference, atol=1e-8 * np.linalg.norm(J, 2))
    assert np.linalg.norm(J - J.T) > 0.1 * np.linalg.norm(J)  # this game does rotate
    # The products, and their adjointness; one player alone is a block of J, and symmetric.
    u, w = RNG.normal(size=(2, len(θ)))
    np.testing.assert_allclose(analysis.times(INFERENCE, *given, u), J @ u, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(analysis.transposed_times(INFERENCE, *given, u), J.T @ u, rtol=1e-11, atol=1e-13)
    one = w @ analysis.times(INFERENCE, *given, u)
    np.testing.assert_allclose(one, u @ analysis.transposed_times(INFERENCE, *given, w), rtol=1e-12)
    n = sum(x.size for x in jax.tree.leaves(state.params["D"]))
    hessian = analysis.jacobian(INFERENCE, *given, players=("D",))
    np.testing.assert_allclose(hessian, J[:n, :n], atol=1e-14)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-14)


def test_the_field_is_what_the_round_descends(x64):
    """A simultaneous round of gradient descent moves by −ηv: same batch, same noise."""
    g = Game(INFERENCE.players, inference, (move("D", "G", "E"),))
    batch = {"x": PAIRS["x"][:1]}
    state, *rest = born(g, batch)
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
    """Without batch statistics, of which it depends how much a small variance magnifies."""
    g = Game({n: Player(MLP(2 if n != "D" else 1), sgd(0.1)) for n in "GED"}, inference, (move("D", "G", "E"),))
    given = born(g, {"x": PAIRS["x"][:1]})
    J = np.asarray(analysis.jacobian(g, *given))
    narrow = jax.tree.map(lambda x: x.astype("float32") if jnp.issubdtype(x.dtype, jnp.inexact) else x, given)
    found = analysis.jacobian(g, *narrow)
    assert found.dtype == "float32" and abs(found - J).max() < 1e-7 * np.linalg.norm(J, 2)
    leading = analysis.leading_eigenvalues(g, *narrow, k=4)
    assert abs(leading[:, None] - np.linalg.eigvals(J)).min(axis=1).max() < 1e-6 * np.linalg.norm(J, 2)


def test_what_arnoldi_cannot_do_is_said(x64, given, monkeypatch):
    n = analysis.field(INFERENCE, *given).size
    with pytest.raises(UserError, match=f"{n} eigenvalues of {n} are not for Arnoldi"):
        analysis.leading_eigenvalues(INFERENCE, *given, k=n)
    with pytest.raises(UserError, match="which is 'LM': it must be one of 'magnitude', 'real'"):
        analysis.leading_eigenvalues(INFERENCE, *given, which="LM")
    with pytest.raises(UserError, match="No move of this game is player F's; those who move are"):
        analysis.field(INFERENCE, *given, players=("F",))
    monkeypatch.setattr(analysis, "eigs", partial(eigs, maxiter=1))
    with pytest.raises(UserError, match=r"found [0-4] of 5 eigenvalues"):
        analysis.leading_eigenvalues(INFERENCE, *given, k=5, which="-real")


def test_paths_to_what_attracts_and_to_what_rotates(x64):
    α = jnp.linspace(-0.5, 1.5, 5)
    attract = lambda w, batch: {n: jnp.square(w[n] - 1).sum() for n in "DG"}
    scaled = lambda w, batch: {"G": w["G"] @ w["D"], "D": -(w["G"] @ w["D"])}
    for play, centre, cosine in ((attract, 1.0, [1, 1, 1, np.nan, -1]), (scaled, 0.0, [0, 0, 0, np.nan, 0])):
        g = on_weights({"G": 3, "D": 3}, play)
        state, *rest = born(g, NOTHING)
        end = state.replace(params=jax.tree.map(lambda x, c=centre: jnp.full_like(x, c), state.params))
        angle, norm = analysis.path(g, state, end, *rest, α)
        np.testing.assert_allclose(angle, cosine, atol=1e-14)
        np.testing.assert_allclose(norm, abs(1 - α) * analysis.flow(g, state, *rest)["norm"], rtol=1e-13)


D, NOISE = 4, 0.5


def regression(w, batch):
    """½ E(xᵀw − y)² for G; for D, who shall not hear of it, of −w."""
    error = lambda w: jnp.square(batch["x"] @ w - batch["y"]).mean() / 2
    return {"G": error(w["G"]), "D": error(-w["D"])}


def test_the_noise_scale_of_linear_regression(x64):
    """x ~ N(0, I), y = xᵀw* + σε: G = w − w* = δ, and E‖g‖² = (d + 2)‖δ‖² + dσ², so tr Σ = (d + 1)‖δ‖² + dσ²."""
    g, draws = on_weights({"G": D, "D": D}, regression), 3000
    x = RNG.normal(size=(draws, 8, D))
    truth = np.arange(D) / 2
    y = x @ truth + NOISE * RNG.normal(size=x.shape[:2])
    state, *_, key = born(g, {"x": x[:1], "y": y[:1]})
    for each in (1, 2):
        found = jax.vmap(lambda x, y, each=each: analysis.noise_scale(g, state, {"x": x, "y": y}, key, each=each))(x, y)
        for n, sign in (("G", 1), ("D", -1)):
            δ = state.params[n]["w"] - sign * truth
            signal, trace = δ @ δ, (D + 1) * δ @ δ + D * NOISE**2
            for name, expected in ((f"{n} trace", trace), (f"{n} signal", signal)):
                sample = np.asarray(found[name])
                error = sample.std(ddof=1) / np.sqrt(draws)
                assert abs(sample.mean() - expected) < 4 * error < 0.1 * expected, (name, each)
            ratio = np.nanmean(found[f"{n} trace"]) / np.nanmean(found[f"{n} signal"])
            np.testing.assert_allclose(ratio, trace / signal, rtol=0.15)
        hidden = np.asarray(found["G signal"]) <= 0
        np.testing.assert_array_equal(np.isnan(found["G"]), hidden)
        assert hidden.any()  # eight examples do not always tell


def test_gradients_of_examples_are_those_of_a_loop(x64):
    g, batch = on_weights({"G": D, "D": D}, regression), {"x": RNG.normal(size=(1, 6, D)), "y": RNG.normal(size=(1, 6))}
    state, own, key = born(g, batch)
    alone = [(own["x"][i] @ state.params["G"]["w"] - own["y"][i]) * own["x"][i] for i in range(6)]
    norms = analysis.gradient_norms(g, state, own, key)
    np.testing.assert_allclose(norms["G"], np.linalg.norm(alone, axis=1), rtol=1e-13)
    found = analysis.noise_scale(g, state, own, key)
    trace = np.cov(np.array(alone).T).trace()
    signal = np.square(np.mean(alone, axis=0)).sum() - trace / 6
    np.testing.assert_allclose([found["G trace"], found["G signal"]], [trace, signal], rtol=1e-12)
    pairs = np.array(alone).reshape(3, 2, D).mean(axis=1)
    np.testing.assert_allclose(
        analysis.gradient_norms(g, state, own, key, each=2)["G"], np.linalg.norm(pairs, axis=1), rtol=1e-13
    )
    for each in (0, 4, 6):
        with pytest.raises(UserError, match=f"not two or more times {each}"):
            analysis.noise_scale(g, state, own, key, each=each)


def test_every_example_has_noise_of_its_own(x64, given):
    state, own, key = given
    same = jax.tree.map(lambda x: jnp.tile(x[:2], (3, 1)), own)
    norms = analysis.gradient_norms(INFERENCE, state, same, key, each=2)
    alone = jax.jit(lambda k: engine.gradient(INFERENCE, state, {n: n for n in "DEG"}, {"x": own["x"][:2]}, k)[0])
    for i, k in enumerate(jax.random.split(key, 3)):
        for n, gradients in alone(k).items():
            square = sum(np.square(x).sum() for x in jax.tree.leaves(gradients))
            np.testing.assert_allclose(norms[n][i], np.sqrt(square), rtol=1e-12)
    assert np.ptp(norms["G"]) > 0.01 * norms["G"].mean()


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.leaky_relu(nn.Conv(5, (3, 3))(x.reshape(-1, 1, 2, 1)))
        return nn.Dense(1)(h.reshape(len(x), -1))[:, 0]


NORMED = gan(
    toy.G,
    Player(Convolution(), toy.adam(1e-2), lambda step: 0.5, spectral_norm()),
    losses.hinge,
    priors.normal(3),
)
TWO = {"x": toy.POINTS[:32].reshape(2, 16, 2)}
train = partial(gan_jax.train, NORMED, toy.POINTS, steps=4, batch=16, log_every=2, progress=False)


def test_a_training_that_is_watched(tmp_path):
    seen, before = [], analysis.flow._cache_size()
    measures = analysis.MEASURES | {"noise_scale": partial(analysis.noise_scale, each=8)}
    watch = analysis.callback(2, TWO, measures)
    run = train(run=tmp_path / "run", callbacks=[watch], writers=[seen.append])
    # The trajectory is that of a training that is not.
    assert toy.bits(run.state) == toy.bits(train().state)
    rows = [row for row in read_rows(run.folder) if "flow/rotation" in row]
    assert [row["step"] for row in rows] == [2, 4] and rows == [row for row in seen if "flow/rotation" in row]
    names = {"spectrum/real min", "spectrum/real max", "spectrum/imag max", "noise_scale/D trace"}
    names |= {f"flow/{name}" for name in ("contraction", "rotation", "angle", "norm")}
    names |= {f"singular/{path} max" for path in ("D/Conv_0/kernel", "D/Dense_0/kernel", "G/Dense_1/kernel")}
    assert names <= rows[0].keys() and all(np.isfinite(list(row.values())).all() for row in rows)
    # What it says of round 4 is what the State of round 4 says.
    given = run.state, *analysis.hand(NORMED, run.state, TWO)
    flow = analysis.flow(NORMED, *given)
    assert {name: rows[1][f"flow/{name}"] for name in flow} == pytest.approx({n: float(x) for n, x in flow.items()})
    assert analysis.flow._cache_size() == before + 2  # in the training, whose devices it shares, and here
    # And the whole is kept.
    kept = analysis.kept(run.folder)
    assert list(kept) == [2, 4] and kept[4]["spectrum"].shape == (6,)
    np.testing.assert_allclose(kept[4]["spectrum"], analysis.leading_eigenvalues(NORMED, *given), rtol=1e-5)
    assert rows[1]["spectrum/imag max"] == pytest.approx(kept[4]["spectrum"].imag.max())
    # Singular values of the weights as used: spectral norm's D at 1, and not the averaged weights.
    used = engine.net(NORMED, run.state, "D", average=False).params
    for layer in ("Conv_0", "Dense_0"):
        found, w = kept[4][f"singular/D/{layer}/kernel"], np.asarray(used[layer]["kernel"], np.float64)
        expected = np.linalg.svd(w.reshape(-1, w.shape[-1]), compute_uv=False)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert 0.99 < found[0] <= 1.01
    raw = np.linalg.svd(run.state.params["G"]["Dense_1"]["kernel"], compute_uv=False)
    np.testing.assert_allclose(kept[4]["singular/G/Dense_1/kernel"], raw, rtol=1e-5)


def test_a_population_is_not_watched():
    pair = population.members(lambda config: NORMED, move("D"), (0, 1), {})
    watch = analysis.callback(1, TWO)
    with pytest.raises(UserError, match=r"Only one training can be watched.*run\.member"):
        watch[1](SimpleNamespace(game=pair(0)), 1)


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = []
    train(callbacks=[analysis.callback(4, TWO, {"flow": analysis.flow})], writers=[rows.append])
    assert rows[-1].keys() >= {"flow/contraction"} and not list(tmp_path.iterdir())
    assert analysis.kept(tmp_path) == {}
