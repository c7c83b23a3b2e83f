"""PacDCGAN: its networks against XLA's and the published counts, its packing, order and pixels."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan_jax import data, metrics
from gan_jax.data.synthetic import stack
from gan_jax.engine import init, net, step
from gan_jax.errors import UserError
from gan_jax.metrics import classifiers
from gan_jax.models.pacdcgan import Discriminator, Generator
from gan_jax.runs import cost
from gan_jax.runs import paper as papers
from gan_jax.runs.run import Run

paper = papers.paper("pacdcgan").module
tiny = paper.TINY


@pytest.mark.parametrize("pack", [1, 2, 3, 4])
def test_the_published_parameters(pack):
    """The code's counts, less its biases before a normalisation: 2048 + 256 + 128 + 64, and 128 + 256 + 512."""
    config = paper.PRESETS["mnist" if pack == 1 else f"mnist-pack{pack}"]
    found = cost.parameters(paper.game(config), {"x": [[config.batch, 28, 28, 3], "float32"]})
    assert found == {"G": 4_514_819 - 2496, "D": 4_310_401 + 4800 * (pack - 1) - 896}
    assert config.batch == 64 * pack


def tensorflow_up(x, w, side):
    """conv2d_transpose with SAME padding and that output: the input gradient of the convolution it is named after."""
    down = lambda big: lax.conv_general_dilated(
        big, w.swapaxes(-1, -2), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jax.vjp(down, jnp.zeros((len(x), side, side, w.shape[-1])))[1](x)[0]


def normalised(h, stats=None):
    axes = tuple(range(h.ndim - 1))
    mean, var = (h.mean(axes), h.var(axes)) if stats is None else (stats["mean"], stats["var"])
    return (h - mean) / jnp.sqrt(var + 1e-5)


def test_the_generator_is_the_papers():
    """2 -> 4 -> 7 -> 14 -> 28, by convolutions written with XLA's own, in training and in evaluation."""
    G, z = Generator(28, 3, 2), jax.random.uniform(jax.random.key(0), (3, 5), minval=-1)
    variables = jax.jit(G.init)(jax.random.key(1), z)
    loud = jax.tree.map(lambda w: 20 * w if w.ndim > 1 else w, variables["params"])
    variables = {"params": loud, "batch_stats": jax.tree.map(lambda s: s + 0.3, variables["batch_stats"])}

    def by_hand(stats):
        stats = stats or [None] * 4
        h = jax.nn.relu(normalised((z @ loud["Dense_0"]["kernel"]).reshape(3, 2, 2, 16), stats[0]))
        for i, side in enumerate([4, 7, 14]):
            h = tensorflow_up(h, loud[f"ConvTranspose_{i}"]["kernel"], side)
            h = jax.nn.relu(normalised(h, stats[i + 1]))
        return jnp.tanh(tensorflow_up(h, loud["ConvTranspose_3"]["kernel"], 28))

    trained, _ = jax.jit(partial(G.apply, mutable="batch_stats"))(variables, z)
    np.testing.assert_allclose(trained, jax.jit(by_hand)(None), atol=1e-4)
    running = [variables["batch_stats"][f"BatchNorm_{i}"] for i in range(4)]
    evaluated = jax.jit(partial(G.apply, train=False))(variables, z)
    np.testing.assert_allclose(evaluated, jax.jit(by_hand)(running), atol=1e-4)
    assert trained.shape == (3, 28, 28, 3) and 0.1 < float(jnp.abs(trained).mean()) < 0.99


def test_the_initial_weights():
    G, D = Generator(28, 3, 4), Discriminator(4)
    born = lambda net, shape: jax.jit(net.init)(jax.random.key(0), jnp.zeros(shape))["params"]
    weights = born(G, (1, 100))
    drawn = [w for w in jax.tree.leaves(weights) if w.ndim > 1]
    assert len(drawn) == 5 and all(float(w.std()) == pytest.approx(0.02, rel=0.1) for w in drawn)
    kernel = born(D, (1, 28, 28, 6))["Conv_3"]["kernel"]
    assert float(jnp.abs(kernel).max()) <= 0.04  # TensorFlow's truncated normal: cut at two deviations


@pytest.fixture(scope="module")
def played():
    """A game, its first state, a batch, and its round compiled."""
    game, x = paper.game(tiny), jax.random.uniform(jax.random.key(1), (1, 8, 8, 8, 3), minval=-1)
    state = jax.jit(partial(init, game))(jax.random.key(0), {"x": x})
    return game, state, {"x": x}, jax.jit(partial(step, game))


def test_rows_are_packed_along_the_channels(played):
    """D's row i of a batch of 8 is the stacks i and i + 4 in [0, 1]; each place has its own call of G."""
    game, state, batch, _ = played
    D, G, x = net(game, state, "D"), net(game, state, "G"), (batch["x"][0] + 1) / 2
    seen = {}

    class Spy:
        def __init__(self, name, real):
            self.name, self.real = name, real

        def mutate(self, x, memory=None):
            seen.setdefault(self.name, []).append(x)
            return self.real(x), {}

    turns = game.play({"G": Spy("G", G), "D": Spy("D", D)}, {"x": batch["x"][0]}, jax.random.key(3), 0)
    real, fake = seen["D"]
    assert real.shape == fake.shape == (4, 8, 8, 6)
    np.testing.assert_array_equal(real[1], jnp.concatenate([x[1], x[5]], -1))
    np.testing.assert_array_equal(fake[:, ..., 3:], G(seen["G"][1]))
    assert [z.shape for z in seen["G"]] == [(4, 4), (4, 4)] and float(jnp.abs(seen["G"][0]).max()) <= 1
    error = jax.nn.softplus(-D(real)).mean() + jax.nn.softplus(D(fake)).mean()
    np.testing.assert_allclose(turns["D"].value, error, rtol=1e-6)
    np.testing.assert_allclose(turns["G"].value, jax.nn.softplus(-D(fake)).mean(), rtol=1e-6)


def test_D_moves_once_and_G_twice_on_one_batch(played):
    game, state, batch, play = played
    state, _ = play(state, batch)
    assert game.slices == 1 and [int(state.opt[n].count) for n in ("D", "G")] == [1, 2]
    noise = [(m.again, set(m.losses)) for m in game.moves]
    assert noise == [((), {"D"}), (("batch", "key"), {"G"}), (("batch", "key"), {"G"})]
    stats = state.memory["G"]["batch_stats"]["BatchNorm_0"]["var"]
    assert not np.allclose(stats, 1)  # two moves, two calls each: .9⁴ of the 1 it began as
    assert float(stats.min()) > 0.9**4 - 1e-6


@pytest.mark.parametrize("from_zero", [True, False])
def test_samples_are_pictures_from_minus_one_to_one(played, from_zero):
    _, state, _, _ = played
    game = paper.game(replace(tiny, from_zero=from_zero))
    samples = Run(game, state).sample(jax.random.key(0), 5)["x"]
    raw = net(game, state, "G")(jax.random.uniform(jax.random.fold_in(jax.random.key(0), 0), (256, 4), minval=-1))[:5]
    expected = 2 * jnp.clip(raw, 0, 1) - 1 if from_zero else raw
    np.testing.assert_allclose(samples, expected, atol=1e-5)
    assert samples.shape == (5, 8, 8, 3) and np.abs(samples).max() <= 1


def test_a_batch_must_fill_the_rows():
    with pytest.raises(UserError, match="multiple of --pack"):
        paper.game(replace(tiny, pack=3))


def test_modes_as_a_classifier_reads_the_three_channels(tmp_path):
    """Untrained, so that each of its ten answers is as likely as another: red counts hundreds, blue ones."""
    stacks, net = stack(data.load("digits"), 40)["x"], classifiers.Classifier(10)
    weights = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    about = dict(zip(classifiers.ABOUT, ("digits", "0" * 16, 10, 8, 8, 1, 0.1), strict=True))
    classifiers.save(tmp_path / "digits.npz", jax.tree.map(np.asarray, weights), about)
    read = jax.jit(lambda x: net.apply(weights, x[..., None] / 127.5 - 1)[1].argmax(1))
    digits = np.stack([read(stacks[..., i].astype(np.float32)) for i in range(3)], 1)
    expected = metrics.stacked_modes(digits)
    found = paper.scores(replace(tiny, classifier=str(tmp_path / "digits.npz")))({"x": stacks / 127.5 - 1})
    assert expected["modes"].value > 5 and found.keys() == expected.keys()
    for name, score in found.items():
        assert score.value == expected[name].value
        assert score.protocol["classifier"].startswith("classifier digits")


def test_without_a_classifier_the_command_is_told():
    with pytest.raises(UserError, match=r"classifier\.py mnist --data DIR --out nowhere\.npz"):
        paper.scores(replace(tiny, classifier="nowhere.npz"))
