"""The noise of gradients against closed forms, NumPy and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fields import INFERENCE, PAIRS, on_weights, start

from gan_jax import analysis, engine
from gan_jax.errors import UserError

RNG = np.random.default_rng(0)
D, NOISE = 4, 0.5


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def regression(w, batch):
    """½ E(xᵀw − y)² for G, and the same of −w for D."""
    error = lambda w: jnp.square(batch["x"] @ w - batch["y"]).mean() / 2
    return {"G": error(w["G"]), "D": error(-w["D"])}


def test_the_noise_scale_of_linear_regression():
    """x ~ N(0, I), y = xᵀw* + σε: G = w − w* = δ, and E‖g‖² = (d + 2)‖δ‖² + dσ², so tr Σ = (d + 1)‖δ‖² + dσ²."""
    g, draws = on_weights({"G": D, "D": D}, regression), 3000
    x = RNG.normal(size=(draws, 8, D))
    truth = np.arange(D) / 2
    y = x @ truth + NOISE * RNG.normal(size=x.shape[:2])
    state, *_, key = start(g, {"x": x[:1], "y": y[:1]})
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


def test_gradients_of_examples_are_those_of_a_loop():
    g, batch = on_weights({"G": D, "D": D}, regression), {"x": RNG.normal(size=(1, 6, D)), "y": RNG.normal(size=(1, 6))}
    state, own, key = start(g, batch)
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


def test_every_example_has_noise_of_its_own():
    state, own, key = start(INFERENCE, PAIRS)
    same = jax.tree.map(lambda x: jnp.tile(x[:2], (3, 1)), own)
    norms = analysis.gradient_norms(INFERENCE, state, same, key, each=2)
    alone = jax.jit(lambda k: engine.gradient(INFERENCE, state, {n: n for n in "DEG"}, {"x": own["x"][:2]}, k)[0])
    for i, k in enumerate(jax.random.split(key, 3)):
        for n, gradients in alone(k).items():
            square = sum(np.square(x).sum() for x in jax.tree.leaves(gradients))
            np.testing.assert_allclose(norms[n][i], np.sqrt(square), rtol=1e-12)
    assert np.ptp(norms["G"]) > 0.01 * norms["G"].mean()
