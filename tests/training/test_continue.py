"""A run that goes on: from its own checkpoints, across a change of Game, from another run, and after a signal."""

import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from toy import GAME, POINTS, bits

import gan_jax
from gan_jax import data
from gan_jax.carry import carry
from gan_jax.engine import init, step
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam
from gan_jax.runs.folder import read_rows
from gan_jax.runs.train import prepare
from gan_jax.training import checkpoint
from gan_jax.training.options import Devices

pytestmark = pytest.mark.usefixtures("no_curves")

train = partial(gan_jax.train, batch=8, log_every=5, checkpoint_every=10, progress=False)


def untimed(folder):
    times = ("seconds", "images_per_second")
    return [{name: value for name, value in row.items() if name not in times} for row in read_rows(folder)]


def same(run, other):
    assert bits(run.state) == bits(other.state)
    assert untimed(run.folder) == untimed(other.folder)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """25 rounds without a stop."""
    return train(GAME, POINTS, steps=25, run=tmp_path_factory.mktemp("straight"))


def test_going_on_equals_never_having_stopped(tmp_path, straight):
    train(GAME, POINTS, steps=10, run=tmp_path)
    same(train(GAME, POINTS, steps=25, run=tmp_path), straight)


def test_starting_again_at_the_end_does_and_loses_nothing(tmp_path):
    first = train(GAME, POINTS, steps=10, run=tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for steps in (10, 5):
        assert bits(train(GAME, POINTS, steps=steps, run=tmp_path).state) == bits(first.state)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_seconds_add_up_over_the_starts_alone(tmp_path):
    began = time.perf_counter()
    train(GAME, POINTS, steps=10, run=tmp_path)
    stopped, first = time.perf_counter(), read_rows(tmp_path)[-1]["seconds"]
    time.sleep(0.3)
    again = time.perf_counter()
    train(GAME, POINTS, steps=20, run=tmp_path)
    seconds = [row["seconds"] for row in read_rows(tmp_path)]
    assert seconds == sorted(seconds) and first <= seconds[-1] <= stopped - began + time.perf_counter() - again


@pytest.mark.parametrize("lost", [["15"], ["10", "15"]])
def test_rows_after_the_checkpoint_are_cut_and_a_torn_line_is_no_harm(tmp_path, straight, lost):
    train(GAME, POINTS, steps=15, run=tmp_path)
    for name in lost:  # as if killed before these checkpoints were whole, in the middle of a row
        shutil.rmtree(tmp_path / "checkpoints" / name)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "seconds": 1.2, "loss/')
    assert [row["step"] for row in read_rows(tmp_path)] == [5, 10, 15]
    same(train(GAME, POINTS, steps=25, run=tmp_path), straight)


def alone(moves, ema=None):
    """A game of one that draws, and is quick to compile."""

    def play(nets, batch, key, step):
        x = batch["x"] + jax.random.normal(key, (2,))
        return {"G": Loss(jnp.square(nets["G"](x) - 1).mean())}

    return Game({"G": Player(nn.Dense(1), adam(1e-2), ema)}, play, moves)


FIRST, LATER = alone((move("G"),)), alone((move("G"), move("G")), lambda step: 0.5)
schedule = lambda t: FIRST if t < 12 else LATER  # another number of batches, and an average that was not kept before


jitted_init, jitted_step = jax.jit(init, static_argnums=0), jax.jit(step, static_argnums=0)


@pytest.mark.parametrize("dispatch", [1, 20])  # 20 rounds would run on over the change, and over the end
def test_a_schedule_is_its_games_one_after_another(tmp_path, dispatch):
    how = {"run": tmp_path, "dispatch": dispatch, "log_every": 25, "checkpoint_every": 25}
    run, states, read = train(schedule, POINTS, steps=25, **how), {}, 0
    for game in (FIRST, LATER):
        states[game] = jitted_init(game, jax.random.key(0), {"x": jnp.zeros((game.slices, 8, 2))})
    state = states[FIRST]
    for t in range(25):
        if t == 12:
            state = carry(states[LATER], state).replace(ema={"G": (state.params["G"], state.memory["G"])})
        slices = range(read, read := read + schedule(t).slices)
        batch = {"x": np.stack([POINTS[data.batch_indices(0, i, 64, 8)[0]] for i in slices])}
        state, _ = jitted_step(schedule(t), state, batch)
    assert run.game is LATER and int(run.state.step) == 25 and run.state.ema.keys() == {"G"}
    for x, y in zip(*(jax.tree.leaves((s.params, s.ema, s.opt)) for s in (run.state, state)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
    assert read_rows(tmp_path)[-1]["epoch"] == round(read * 8 / 64, 3) == (12 * 1 + 13 * 2) / 8


@pytest.mark.parametrize("dispatch", [1, 10])
def test_a_schedule_goes_on_before_at_and_after_its_change(tmp_path, dispatch):
    go = partial(train, schedule, POINTS, checkpoint_every=4, log_every=4, dispatch=dispatch)
    straight = go(steps=20, run=tmp_path / "straight")
    for stop in (8, 12, 16):
        run = go(steps=stop, run=tmp_path / str(stop))
        assert run.game is (LATER if stop > 12 else FIRST) and gan_jax.load(run.folder, schedule).game is run.game
        same(go(steps=20, run=run.folder), straight)


def test_a_damaged_checkpoint_behind_a_change_gives_way_to_one_before_it(tmp_path):
    go = partial(train, schedule, POINTS, checkpoint_every=8, log_every=4)
    straight = go(steps=20, run=tmp_path / "straight")
    run = go(steps=16, run=tmp_path / "damaged")
    (run.folder / "checkpoints" / "16" / "state" / "_METADATA").write_text("{}")
    assert gan_jax.load(run.folder, schedule).game is FIRST
    same(go(steps=20, run=run.folder), straight)


def test_a_schedule_whose_games_are_made_anew():
    with pytest.raises(UserError, match="returns a new Game at each call: make its Games beforehand"):
        train(lambda t: alone((move("G"),)), POINTS, steps=1)


def from_weights(game, run):
    """The State at round 0 of a training that starts from a run's weights."""
    return prepare(game, POINTS, 8, 1, Devices(), None).initial(run.state)


def test_starting_from_another_run():
    first = train(GAME, POINTS, steps=5)
    state = from_weights(GAME, first)
    for field in ("params", "ema"):
        assert bits(getattr(state, field)) == bits(getattr(first.state, field))
    assert int(state.step) == 0 and not any(np.any(x) for x in jax.tree.leaves(state.opt["G"].inner))
    assert int(train(GAME, POINTS, steps=1, start=first.state).state.step) == 1
    assert not first.state.step.is_deleted()
    with pytest.raises(UserError, match="do not fit network 'G': its shape must be the same"):
        train(FIRST, POINTS, steps=1, start=first.state)


def test_an_average_begins_at_the_weights_it_starts_from():
    first = train(FIRST, POINTS, steps=5)
    state = from_weights(LATER, first)
    assert bits(state.ema["G"][0]) == bits(state.params["G"]) == bits(first.state.params["G"])


def test_a_folder_of_another_run(tmp_path):
    train(FIRST, POINTS, steps=1, run=tmp_path, config={"lr": 0.1, "steps": 1})
    with pytest.raises(UserError, match=r"holds another run \(lr 0.1 → 0.2, seed 0 → 1\): give another --run"):
        train(FIRST, POINTS, steps=1, run=tmp_path, config={"lr": 0.2, "steps": 2}, seed=1)
    with pytest.raises(UserError, match=r"holds another run \(batch 8 → 9, lr 0.1 → None\)"):
        train(FIRST, POINTS, steps=1, run=tmp_path, batch=9)
    with pytest.raises(UserError, match=r"holds another run \(data [0-9a-f]{16} → [0-9a-f]{16}\)"):
        train(FIRST, POINTS + 1, steps=1, run=tmp_path, config={"lr": 0.1})


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run cannot be written \(Not a directory\): give another --run"):
        train(FIRST, POINTS, steps=1, run=tmp_path / "file" / "run")
    with pytest.raises(UserError, match=r"is not empty and holds no run: give another --run"):
        train(FIRST, POINTS, steps=1, run=tmp_path)


def test_a_game_that_cannot_play_leaves_no_folder(tmp_path):
    game = Game({"G": Player(nn.Dense(1), adam(1e-2))}, lambda nets, *_: {}, (move("G"),))
    with pytest.raises(UserError, match="never called network 'G'"):
        train(game, POINTS, steps=1, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


SIGNALLED = """
import sys, toy, gan_jax
gan_jax.train(toy.GAME, toy.POINTS, steps=10**9, batch=8, run=sys.argv[1], log_every=5, progress=False)
"""


@pytest.mark.parametrize(
    "sent, code", [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, -signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_saves_first(tmp_path, environment, sent, code):
    command = [sys.executable, "-c", SIGNALLED, str(tmp_path)]
    child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while len(read_rows(tmp_path)) < 2 and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(sent)
    _, said = child.communicate(timeout=60)
    assert child.returncode == code, said
    saved = gan_jax.load(tmp_path, GAME)
    stopped = int(saved.state.step)
    assert stopped >= 10 and [path.name for path in (tmp_path / "checkpoints").iterdir()] == [str(stopped)]
    run = train(GAME, POINTS, steps=stopped + 5, checkpoint_every=1000, run=tmp_path)
    assert bits(run.state) == bits(train(GAME, POINTS, steps=stopped + 5).state)


@pytest.mark.parametrize("sent, raised", [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_between_two_looks_at_it_still_saves(tmp_path, monkeypatch, sent, raised):
    arriving = iter([sent])
    monkeypatch.setattr(checkpoint, "seal", lambda saves: [signal.raise_signal(s) for s in arriving])
    with pytest.raises(raised):
        train(GAME, POINTS, steps=1000, run=tmp_path, checkpoint_every=1000)
    assert checkpoint.latest_step(tmp_path / "checkpoints") == 2  # round 1 sealed, the one after it saved
