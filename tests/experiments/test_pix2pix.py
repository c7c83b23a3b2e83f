"""pix2pix: what each player is fed, its losses by hand, both directions, its noise."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax import augment as jitter
from gan_jax.engine import init, step
from gan_jax.game import Player
from gan_jax.net import Nets
from gan_jax.optimizers import sgd
from gan_jax.runs import paper as papers
from gan_jax.runs.run import Run

paper = papers.paper("pix2pix").module
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(3)
PAIRS = jax.random.uniform(jax.random.key(0), (4, 18, 36, 3), minval=-1.0)


class Heard:
    """A network that notes what it is fed, and answers with a mean."""

    def __init__(self, answer):
        self.answer, self.fed = answer, []

    def __call__(self, x, key=None):
        self.fed.append((x, key))
        return self.answer(x)


def played(config):
    G, D = Heard(lambda x: 0.5 * x), Heard(lambda x: x.mean(-1))
    turns = paper.game(config).play(Nets(G=G, D=D), {"x": PAIRS}, KEY, 0)
    return G.fed, D.fed, turns


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_who_is_fed_what(direction):
    """Both halves are cut and mirrored alike, D sees what is translated beside the truth or beside the fake."""
    config = dataclasses.replace(paper.TINY, direction=direction, flip=True)
    ((x, k_G),), (real, fake), turns = played(config)
    x, y = np.asarray(x), np.asarray(real[0])[..., 3:]
    assert k_G is not None and x.shape == y.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(real[0], np.concatenate([x, y], -1))
    np.testing.assert_array_equal(fake[0], np.concatenate([x, 0.5 * x], -1))
    A, B = (x, y) if direction == "AtoB" else (y, x)
    left, right = np.asarray(PAIRS[:, :, :18]), np.asarray(PAIRS[:, :, 18:])
    ways = set()
    for n in range(4):  # each pair is found at one place, whole or mirrored
        windows = {
            (i, j, way): (left[n, i : i + 16, j : j + 16][:, ::way], right[n, i : i + 16, j : j + 16][:, ::way])
            for i in range(3)
            for j in range(3)
            for way in (1, -1)
        }
        (where,) = [k for k, (a, b) in windows.items() if (a == A[n]).all() and (b == B[n]).all()]
        ways.add(where)
    assert len(ways) > 1

    softplus = lambda x: np.log1p(np.exp(np.asarray(x, np.float64))).mean()
    logits = lambda x: np.asarray(x, np.float64).mean(-1)
    real, fake, l1 = logits(real[0]), logits(fake[0]), np.abs(0.5 * x - y).mean()
    assert float(turns["D"].value) == pytest.approx((softplus(-real) + softplus(fake)) / 2, rel=1e-5)
    assert float(turns["G"].value) == pytest.approx(softplus(-fake) + 100 * l1, rel=1e-5)
    assert float(turns["G"].metrics["l1"]) == pytest.approx(l1, rel=1e-5)


def test_the_regression_alone():
    _, _, turns = played(dataclasses.replace(paper.TINY, gan=0.0))
    assert float(turns["G"].value) == pytest.approx(100 * float(turns["G"].metrics["l1"]))


@pytest.mark.parametrize(
    "preset, shape", [("facades", (286, 572, 3)), ("nuclei", (143, 286, 3)), ("small", (72, 144, 3))]
)
def test_pictures_are_loaded_larger_than_they_are_cut(preset, shape):
    assert paper.example(paper.PRESETS[preset])["x"].shape == shape


class Point(nn.Module):
    """x [b, h, w, c] -> [b, h, w, channels], pixel by pixel, with dropout."""

    channels: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.channels)(nn.Dropout(0.5, deterministic=False)(nn.Dense(8)(x)))


def test_G_answers_the_D_that_has_moved_on_the_fakes_that_it_saw():
    game = paper.game(paper.TINY)
    players = {"G": Player(Point(3), sgd(1e-2)), "D": Player(Point(1), sgd(1e-1))}
    game = dataclasses.replace(game, players=players)
    with pytest.raises(ValueError, match="draws random numbers but was called without a key"):
        quick(partial(init, game))(KEY, {"x": PAIRS[None]})
    players["D"] = Player(nn.Dense(1), sgd(1e-1))
    game = dataclasses.replace(game, players=players)
    before = quick(partial(init, game))(KEY, {"x": PAIRS[None]})
    after, metrics = quick(partial(step, game))(before, {"x": PAIRS[None]})
    assert metrics["D(G(z)) after"] < metrics["D(G(z)) before"]  # the same fakes, by the new D

    k_cut, k_flip, k_G = jax.random.split(
        jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(before.key, 0), 0), 0), 3
    )
    pair = jitter.flip(k_flip, jitter.cut(k_cut, jnp.concatenate(jnp.split(PAIRS, 2, 2), -1), 16))
    x, y = jnp.split(pair, 2, -1)

    def loss_G(G, D):
        fake = Point(3).apply({"params": G}, x, rngs={"dropout": k_G, "noise": jax.random.fold_in(k_G, 1)})
        logits = nn.Dense(1).apply({"params": D}, jnp.concatenate([x, fake], -1))
        return jax.nn.softplus(-logits).mean() + 100 * jnp.abs(fake - y).mean()

    grads = quick(jax.grad(loss_G))(before.params["G"], after.params["D"])
    expected = jax.tree.map(lambda w, g: w - 1e-2 * g, before.params["G"], grads)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), after.params["G"], expected)


def test_a_translation_has_noise_of_its_key():
    game = paper.game(dataclasses.replace(paper.TINY, direction="BtoA"))
    assert list(game.translations) == ["A"]
    state = quick(partial(init, game))(KEY, {"x": PAIRS[None, :1]})
    x = np.asarray(PAIRS[:3, :16, :16])
    make = lambda key, x=x: Run(game, state).translate(x, "A", key)
    one, other = make(jax.random.key(0)), make(jax.random.key(1))
    assert np.abs(one - other).max() > 1e-5
    np.testing.assert_array_equal(make(jax.random.key(0)), one)
    same = make(jax.random.key(0), np.repeat(x[:1], 3, 0))
    assert np.abs(same[0] - same[1]).max() > 1e-5  # each image has its own
    np.testing.assert_allclose(make(jax.random.key(0), x[:1]), one[:1], atol=1e-5)
