"""Schedules of Games: changes are cheap, and batch, data size and sets may change with the Game."""

import dataclasses
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from flax import linen as nn
from toy import bits

import gan_jax
from gan_jax.carry import carry
from gan_jax.data import stream
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam
from gan_jax.runs.folder import read_rows
from gan_jax.training import rounds

pytestmark = pytest.mark.usefixtures("no_curves")

HOW = {"progress": False, "log_every": 1, "checkpoint_every": 1}
SIZES, BATCHES, FROM = (4, 8, 16), (8, 4, 2), (0, 3, 5)  # pixels, images of a batch, and the round that a stage begins
x16 = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 1)).astype(np.uint8)
PYRAMID = {str(s): {"x": x16.reshape(24, s, 16 // s, s, 16 // s, 1).mean((2, 4)).astype(np.uint8)} for s in SIZES}


class Generator(nn.Module):
    """z -> x [b, size, size, 1], a dense layer for 4 pixels and a convolution for each doubling."""

    size: int

    @nn.compact
    def __call__(self, z):
        h = nn.Dense(16, name="from_z")(z).reshape(-1, 4, 4, 1)
        for size in SIZES[1:]:
            if size <= self.size:
                h = nn.Conv(1, (3, 3), name=f"to_{size}")(h.repeat(2, 1).repeat(2, 2))
        return jnp.tanh(h)


class Discriminator(nn.Module):
    size: int

    @nn.compact
    def __call__(self, x):
        for size in SIZES[:0:-1]:
            if size <= self.size:
                x = nn.Conv(1, (2, 2), 2, name=f"from_{size}")(x)
        return nn.Dense(1, name="judge")(x.reshape(x.shape[0], -1))[:, 0]


seen = []


def stage(size, batch):
    def play(nets, batch, key, step):
        x = batch[str(size)]["x"]
        seen.append(x.shape)
        fake = nets["G"](jax.random.normal(key, (x.shape[0], 3)))
        real_logits, fake_logits = nets["D"](x), nets["D"](fake)
        return {"D": Loss(fake_logits.mean() - real_logits.mean(), {"x": x.sum()}), "G": Loss(-fake_logits.mean())}

    players = {"G": Player(Generator(size), adam(1e-3), lambda step: 0.9), "D": Player(Discriminator(size), adam(1e-3))}
    sample = lambda nets, key, n: {"x": nets["G"](jax.random.normal(key, (n, 3)))}
    return Game(players, play, (move("D"), move("G")), sample=sample, batch=batch, sets=(str(size),))


STAGES = [stage(size, batch) for size, batch in zip(SIZES, BATCHES, strict=True)]


def growing(t):
    return STAGES[sum(t >= start for start in FROM) - 1]


def train(steps, **how):
    return gan_jax.train(growing, PYRAMID, steps=steps, batch=8, **HOW | how)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return train(7, run=tmp_path_factory.mktemp("growing") / "straight")


def test_progressive_growing_trains(straight):
    assert straight.sample(0, 3)["x"].shape == (3, 16, 16, 1)
    assert set(seen) == {(8, 4, 4, 1), (4, 8, 8, 1), (2, 16, 16, 1)}
    assert sorted(straight.state.params["G"]) == ["from_z", "to_16", "to_8"]
    assert sorted(straight.state.ema["G"][0]) == ["from_z", "to_16", "to_8"]


def test_each_stage_reads_its_own_set_from_its_beginning(straight):
    rows = read_rows(straight.folder)
    x = PYRAMID["8"]["x"][stream(0 + (2 << 32), 0, 4 * 4, 24)]  # sets are numbered by name: "16", "4", "8"
    batches = ((x.astype(np.float32) - 127.5) / 127.5).reshape(2, 2, 4, -1).sum((2, 3))
    np.testing.assert_allclose([rows[3]["x"], rows[4]["x"]], batches[:, 0], rtol=1e-4)


@pytest.mark.parametrize("stop", [2, 3, 4, 5])
def test_resuming_across_a_change_is_exact(straight, tmp_path, stop):
    train(stop, run=tmp_path / "parts")
    assert bits(train(7, run=tmp_path / "parts").state) == bits(straight.state)


def test_only_what_is_new_is_initialised(straight):
    """What fits is carried to the bit; a new layer starts from the seed, and its average at its weights."""
    before, after = train(3), train(4)
    first = train(0).state
    assert sorted(before.state.params["G"]) == ["from_z"] and sorted(after.state.params["G"]) == ["from_z", "to_8"]
    assert int(after.state.step) == 4 and carry(first, before.state).step == 3


def test_a_switch_between_two_games_initialises_nothing(monkeypatch):
    """Two Games of the same shapes in turns: one initialisation in all, and no program but their two."""
    made = []
    initialise = rounds.Training.initialise
    monkeypatch.setattr(rounds.Training, "initialise", lambda *given: made.append(given) or initialise(*given))
    games = toy.GAME, dataclasses.replace(toy.GAME)
    run = gan_jax.train(lambda t: games[t % 4 == 3], toy.POINTS, steps=24, batch=8, progress=False)
    assert len(made) == 1 and int(run.state.step) == 24
    alike = gan_jax.train(games[0], toy.POINTS, steps=24, batch=8, progress=False)
    assert bits(run.state) == bits(alike.state)


def test_a_game_and_its_programs_are_freed():
    def one():
        game = dataclasses.replace(toy.GAME)
        run = gan_jax.train(game, toy.POINTS, steps=2, batch=8, progress=False)
        run.sample(0, 2)
        return weakref.ref(game)

    games = [one() for _ in range(3)]
    gc.collect()
    assert [game() for game in games] == [None] * 3


class Line(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x)


def test_schedules_of_rates_count_rounds():
    """A critic that moves five times a round at rate 1e-3 (1 − t/100): 7e-4 at round 30."""
    play = lambda nets, batch, key, step: {"D": Loss(nets["D"](batch["x"]).mean())}
    player = Player(Line(), optax.chain(adam(lambda t: 1e-3 * (1 - t / 100))))
    game, rows = Game({"D": player}, play, 5 * (move("D"),)), []
    gan_jax.train(game, toy.POINTS, steps=31, batch=4, writers=[rows.append], **HOW)
    assert rows[30]["lr/D"] == pytest.approx(7e-4)
