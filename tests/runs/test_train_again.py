"""What a folder holds is told to whoever comes back, and bad arguments are named before anything trains."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from flax import linen as nn
from toy import GAME, POINTS, bits

import gan_jax
from gan_jax import losses, priors
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam
from gan_jax.runs.folder import describe, read_rows
from gan_jax.runs.replay import replay
from gan_jax.training.options import check_seed
from gan_jax.training.spec import as_schedule

train = lambda steps=4, game=GAME, data=POINTS, **how: gan_jax.train(
    game, data, steps=steps, **{"batch": 8, "log_every": 2, "checkpoint_every": 2, "progress": False} | how
)


def other(rate=2e-3, loss=losses.hinge):
    """The game of toy.py with another rate or loss."""
    D = dataclasses.replace(toy.D, optimizer=adam(rate))
    return gan_jax.gan(toy.G, D, loss, priors.normal(3))


def test_another_game_in_the_folder_is_refused(tmp_path):
    whole = train(run=tmp_path / "run")
    for game in (other(), other(1e-3)):
        with pytest.raises(UserError, match="holds a run of another game"):
            train(6, game, run=tmp_path / "run")
    same = other(1e-3, losses.non_saturating)  # made anew, from the same parts
    assert bits(train(4, same, run=tmp_path / "run").state) == bits(whole.state)


def test_a_run_that_is_there_says_where_it_is(tmp_path, capsys):
    train(run=tmp_path / "run")
    train(2, run=tmp_path / "run", progress=True)
    assert "already at round 4 of 2" in capsys.readouterr().out


def test_a_run_of_ones_own_game_has_pictures(tmp_path):
    train(run=tmp_path / "run")
    names = {path.name for path in (tmp_path / "run" / "samples").iterdir()}
    assert names == {"real.png", "4.png"} and (tmp_path / "run" / "curves.png").exists()


def test_where_a_run_started_from_is_part_of_what_it_is(tmp_path):
    parent = train(run=tmp_path / "parent")
    train(0, run=tmp_path / "run", start=parent)  # it ended before its first checkpoint
    about = describe(tmp_path / "run")
    assert len(about["start"]) == 16 and about["from"] == str(tmp_path / "parent")
    for step in ({}, {"start": train(2)}):
        with pytest.raises(UserError, match=r"holds another run \(start"):
            train(run=tmp_path / "run", **step)
    with pytest.raises(UserError, match="started from the weights of another run"):
        replay(tmp_path / "run", POINTS, GAME, steps=2, progress=False)
    first = train(2, run=tmp_path / "run", start=parent)
    assert bits(train(4, run=tmp_path / "run").state) == bits(train(4, start=parent).state)
    assert int(first.state.step) == 2


def test_a_metric_may_be_infinite(tmp_path):
    """A PSNR of equal images; losses and gradients may not be."""

    def play(nets, batch, key, step):
        return {"G": Loss(nets["G"](batch["x"]).mean(), {"psnr": jnp.inf, "finite": jnp.float32(3), "stop": jnp.nan})}

    game = Game({"G": Player(nn.Dense(1), adam(1e-3))}, play, (move("G"),))
    train(2, game, run=tmp_path / "run")
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["psnr"] is None and row["stop"] is None and row["finite"] == 3
    assert np.isnan(read_rows(tmp_path / "run")[-1]["psnr"])


def test_the_repr_is_a_line_and_a_picture():
    run = train()
    assert repr(run) == "Run at round 4: D 33, G 66 weights"
    assert "<img src=" in run._repr_html_() and len(run._repr_html_()) > 1000


def test_nothing_asked_for_is_nothing():
    run = train()
    assert run.sample(0, 0)["x"].shape == (0, 2)
    with pytest.raises(UserError, match="n is -1"):
        run.sample(0, -1)
    with pytest.raises(UserError, match=r"The key is 'seed'"):
        run.sample("seed", 1)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"steps": -3}, "steps is -3"),
        ({"log_every": 0}, "log_every is 0"),
        ({"checkpoint_every": 1.5}, "checkpoint_every is 1.5"),
        ({"callbacks": [(0, lambda run, step: None)]}, "a callback's number of rounds is 0"),
        ({"log_evry": 5}, "no argument 'log_evry': did you mean log_every"),
        ({"best": "loss/Q"}, "no metric 'loss/Q'"),
    ],
)
def test_bad_arguments_are_named(how, said):
    with pytest.raises(UserError, match=said):
        train(**how)


def test_a_key_is_no_seed_and_a_name_no_game():
    with pytest.raises(UserError, match=r"seed is a .*: give a whole number"):
        check_seed(jax.random.key(0))
    with pytest.raises(UserError, match="game is a str"):
        as_schedule.__wrapped__("dcgan")


def test_a_state_and_a_start_are_one_too_many():
    run = train(2)
    with pytest.raises(UserError, match="leave out one of them"):
        train(state=run.state, start=run)


CLOSED = """
import signal, sys, toy, gan_jax
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
gan_jax.train(toy.GAME, toy.POINTS, steps=10**9, batch=8, run=sys.argv[1], log_every=5, progress=False)
"""


def test_a_closed_terminal_saves_first(tmp_path, environment):
    process = subprocess.Popen([sys.executable, "-c", CLOSED, tmp_path / "run"], env=environment)
    deadline = time.time() + 120
    rows = tmp_path / "run" / "metrics.jsonl"
    while not (rows.exists() and rows.read_text()) and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGHUP)
    try:
        assert process.wait(60) == 128 + signal.SIGHUP
    finally:
        process.kill()
    assert int(gan_jax.load(tmp_path / "run", GAME).state.step) >= read_rows(tmp_path / "run")[-1]["step"] > 0


def test_optimisers_that_do_not_fit_are_named():
    with pytest.raises(UserError, match="needs the value of the loss"):
        train(game=gan_jax.gan(toy.G, dataclasses.replace(toy.D, optimizer=optax.lbfgs()), "hinge", 3))
