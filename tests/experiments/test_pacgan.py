"""PacGAN's game against a loop written from the authors' code."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.engine import init, net, step
from gan_jax.errors import UserError
from gan_jax.optimizers import sgd
from gan_jax.priors import normal
from gan_jax.runs import paper as papers

module = papers.paper("pacgan").module


def float64(tree):
    return jax.tree.map(lambda w: np.asarray(w, np.float64), tree)


def generate(params, z, stats=None):
    """Samples, and each layer's mean and variance, which are the batch's own unless given."""
    found = []
    for i in range(4):
        h = z @ params[f"Dense_{i}"]["kernel"]
        mean, var = (stats[f"BatchNorm_{i}"][s] for s in ("mean", "var")) if stats else (h.mean(0), h.var(0))
        found.append((mean, var))
        norm = params[f"BatchNorm_{i}"]
        z = np.maximum((h - mean) / np.sqrt(var + 1e-4) * norm["scale"] + norm["bias"], 0)
    return z @ params["Dense_4"]["kernel"] + params["Dense_4"]["bias"], found


def judge(params, x):
    for i in range(3):
        W, b = (params[f"DenseGeneral_{i}"][k] for k in ("kernel", "bias"))
        x = (np.einsum("bi,ipu->bpu", x, W) + b).max(1)
    return (x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])[:, 0]


@pytest.mark.parametrize("pack", [1, 3])
def test_a_round(pack):
    """Losses, running statistics and both gradients, of one forward pass, by float64 loops and finite differences."""
    config = dataclasses.replace(module.TINY, batch=6 * pack, pack=pack)
    game = module.game(config)
    players = {name: dataclasses.replace(p, optimizer=sgd(1.0)) for name, p in game.players.items()}
    game = dataclasses.replace(game, players=players)
    x = np.random.default_rng(1).normal(size=(6 * pack, 2)).astype(np.float32)
    batch = {"x": jnp.asarray(x)[None]}
    born = jax.jit(partial(init, game))(jax.random.key(0), batch)
    grown = jax.tree.map(lambda w: w + 0.5 * jax.random.normal(jax.random.key(w.size), w.shape), born.params)
    state = born.replace(params=grown)
    after, metrics = jax.jit(partial(step, game))(state, batch)

    key = jax.random.fold_in(jax.random.fold_in(state.key, 0), 0)
    key = jax.random.fold_in(key, 0)  # the only part of a move
    zs = [np.asarray(normal(2)(k, 6), np.float64) for k in jax.random.split(key, pack)]
    params = float64(state.params)

    def losses(params):
        fake = np.concatenate([generate(params["G"], z)[0] for z in zs], 1)
        real = np.array([x[pack * i : pack * (i + 1)].ravel() for i in range(6)], np.float64)
        softplus = lambda t: np.logaddexp(0, t).mean()
        real, fake = judge(params["D"], real), judge(params["D"], fake)
        return {"D": softplus(-real) + softplus(fake), "G": softplus(-fake)}

    expected = losses(params)
    for name, loss in expected.items():
        assert metrics[f"loss/{name}"] == pytest.approx(loss, rel=1e-5)
        gradient = jax.tree.map(lambda a, b: np.asarray(a - b, np.float64), state.params[name], after.params[name])
        for seed in range(3):
            draw = np.random.default_rng(seed).normal
            way = jax.tree.map(lambda w, draw=draw: draw(size=w.shape), params[name])
            moved = [jax.tree.map(lambda w, v, h=h: w + h * v, params[name], way) for h in (1e-6, -1e-6)]
            up, down = (losses(params | {name: m})[name] for m in moved)
            along = sum(jax.tree.leaves(jax.tree.map(lambda g, v: (g * v).sum(), gradient, way)))
            assert along == pytest.approx((up - down) / 2e-6, rel=1e-3, abs=1e-4)

    found = [generate(params["G"], z)[1] for z in zs]
    for i in range(4):
        now = np.mean([stats[i] for stats in found], 0)
        stats = after.memory["G"]["batch_stats"][f"BatchNorm_{i}"]
        np.testing.assert_allclose(stats["mean"], 0.05 * now[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(stats["var"], 0.95 + 0.05 * now[1], rtol=1e-5)

    # Samples are single points, made with the running statistics.
    samples = game.sample({n: net(game, after, n) for n in game.players}, jax.random.key(5), 9)["x"]
    z = np.asarray(normal(2)(jax.random.key(5), 9), np.float64)
    stats = float64(after.memory["G"]["batch_stats"])
    np.testing.assert_allclose(samples, generate(float64(after.params["G"]), z, stats)[0], rtol=1e-4, atol=1e-5)


def test_a_pack_must_divide_the_batch():
    with pytest.raises(UserError, match="--batch 100 does not divide into packs of 3"):
        module.game(dataclasses.replace(module.Config(), pack=3))


def test_the_published_table_is_of_what_is_scored():
    for title, published in module.PUBLISHED.items():
        c = module.PRESETS[title]
        scores, perfect = module.scores(c)({"x": module.data(c)["x"][: c.samples]}), module.perfect(c)
        assert scores.keys() == perfect.keys() >= published.keys() and c.steps == 400_000
        if title == "embedded":  # exact samples lie outside of what VEEGAN counts
            assert scores["modes"].value == scores["high_quality"].value == 0
        else:
            assert scores["modes"].value == len(module.MIXTURES[c.data].centres) and c.batch == 100 * c.pack
            assert abs(scores["high_quality"] - perfect["high_quality"]) < 4 * perfect["high_quality"].uncertainty
    assert module.PUBLISHED.keys() == module.PRESETS.keys()


def test_veegans_rule_is_pleased_with_an_untrained_generator():
    c = module.PRESETS["embedded"]
    G = module.game(c).players["G"].net
    z = jax.random.normal(jax.random.key(1), (500, c.latent))
    samples, _ = G.init_with_output(jax.random.key(0), z, train=False)
    scores = module.scores(c)({"x": samples})
    assert scores["modes"].value == scores["high_quality"].value == 1
