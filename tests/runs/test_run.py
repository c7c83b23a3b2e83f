"""gan_jax/run.py: samples of a run, and a run brought back."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from flax import linen as nn
from toy import GAME, POINTS, bits

import gan_jax
from gan_jax import losses, priors
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam
from gan_jax.runs.run import CHUNK, Run
from gan_jax.two_player import gan

pytestmark = pytest.mark.usefixtures("no_curves")

train = partial(gan_jax.train, batch=8, progress=False)


class Identity(nn.Module):
    """(z, y) -> [z, y]: samples show what the prior drew."""

    @nn.compact
    def __call__(self, z, y):
        self.param("w", nn.initializers.zeros, (1,))
        return jax.numpy.concatenate([z, y[:, None].astype(z.dtype)], 1)


class Logit(nn.Module):
    @nn.compact
    def __call__(self, x, y):
        return nn.Dense(1)(x)[:, 0]


@pytest.fixture(scope="module")
def labelled():
    players = Player(Identity(), adam(1e-3)), Player(Logit(), adam(1e-3))
    game = gan(*players, losses.hinge, priors.labelled(priors.normal(2), 4))
    data = {"x": np.zeros((8, 3), np.float32), "y": np.zeros(8, np.int32)}
    return train(game, data, steps=1)


def test_samples_depend_on_key_and_n_alone_and_fewer_are_the_first_of_more(labelled):
    draw = lambda n, seed=0: labelled.sample(jax.random.key(seed), n)["x"]
    most, labels = labelled.sample(0, 2 * CHUNK + 3).values()  # a seed will do for a key
    assert most.shape == (2 * CHUNK + 3, 3) and most.dtype == np.float32
    np.testing.assert_array_equal(most[:, 2], labels)
    for n in (1, CHUNK, CHUNK + 1):
        np.testing.assert_array_equal(draw(n), most[:n])
    assert len(np.unique(most[:, :2])) > 2 * CHUNK * 2  # no chunk repeats another
    assert set(most[:, 2]) == {0, 1, 2, 3} and not np.array_equal(draw(5, seed=1), most[:5])


def test_options_of_the_prior(labelled):
    samples = labelled.sample(jax.random.key(0), 300, y=2, truncation=0.5)["x"]
    assert set(samples[:, 2]) == {2} and 0.45 < np.abs(samples[:, :2]).max() <= 0.5
    with pytest.raises(UserError, match="y is 4, but the classes are 0 to 3"):
        labelled.sample(jax.random.key(0), 3, y=4)
    with pytest.raises(UserError, match="sampler of this game has no option psi: leave it out"):
        labelled.sample(jax.random.key(0), 3, psi=0.5)
    with pytest.raises(UserError, match="sampler of this game has no option y: leave it out"):
        train(GAME, POINTS, steps=1).sample(jax.random.key(0), 3, y=1)


def test_a_type_error_that_is_no_option_is_not_hidden(labelled):
    game = Game(labelled.game.players, labelled.game.play, labelled.game.moves, sample=lambda nets, key, n: nets + n)
    with pytest.raises(TypeError, match="unsupported operand"):
        Run(game, labelled.state).sample(jax.random.key(0), 3)
    with pytest.raises(UserError, match=r"has no sampler: give Game\(sample="):
        Run(Game(game.players, game.play, game.moves), labelled.state).sample(jax.random.key(0), 3)


def test_samples_are_made_by_averages_in_evaluation_mode():
    run = train(GAME, POINTS, steps=3)
    params, memory = run.state.ema["G"]
    z = priors.normal(3)(jax.random.fold_in(jax.random.key(0), 0), CHUNK)
    x = GAME.players["G"].net.apply({"params": params} | memory, z, train=False)
    np.testing.assert_allclose(run.sample(jax.random.key(0), 7)["x"], x[:7], rtol=1e-5, atol=1e-6)


def test_load(tmp_path):
    run = train(GAME, POINTS, steps=20, checkpoint_every=10, log_every=10, run=tmp_path / "run")
    again = gan_jax.load(tmp_path / "run", game=GAME)
    assert bits(again.state) == bits(run.state) and again.game is GAME and again.folder == run.folder
    assert int(gan_jax.load(str(tmp_path / "run"), GAME, step=10).state.step) == 10
    with pytest.raises(UserError, match=r"There is no checkpoint 15 in .*; there are \[10, 20\]"):
        gan_jax.load(tmp_path / "run", GAME, step=15)
    with pytest.raises(UserError, match=r"is a run of your own game: give it, as in gan_jax.load\('.*/run', game=…\)"):
        gan_jax.load(tmp_path / "run")
    play = lambda nets, batch, key, step: {"H": Loss(nets["H"](batch["x"]).sum())}
    other = Game({"H": Player(nn.Dense(1), adam(1e-3))}, play, (move("H"),))
    with pytest.raises(UserError, match=r"has .* for .* where this game has"):
        gan_jax.load(tmp_path / "run", other)


def test_what_is_not_a_run(tmp_path):
    for folder in (tmp_path, tmp_path / "no", __file__):
        with pytest.raises(UserError, match=r"is not a run: it has no config.json. Give the folder that --run named"):
            gan_jax.load(folder)
    for text, words in {
        "{": "cannot be read",
        "[]": "is not of format 1",
        '{"format": 2}': "is not of format 1",
    }.items():
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=f"config.json.* {words}"):
            gan_jax.load(tmp_path)
    about = {"format": 1, "paper": "dcgan:digits", "config": {"wdith_G": 3}, "data": ""}
    about |= {"batch": {"x": [[2, 8, 8, 1], "float32"]}}
    for change, words in [
        ({}, "dcgan:digits has no field 'wdith_G' \\(did you mean 'width_G'\\?\\)"),
        ({"paper": "../x:y"}, "There is no paper '../x'"),
        ({"paper": "dcgan:digit"}, "dcgan has no preset 'digit' \\(did you mean 'digits'\\?\\)"),
        ({"config": {}}, "has no checkpoint yet: train it first"),
    ]:
        (tmp_path / "config.json").write_text(json.dumps(about | change))
        with pytest.raises(UserError, match=words):
            gan_jax.load(tmp_path)
