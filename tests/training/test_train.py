"""gan_jax/train.py: the loop on an array and one's own networks, in a folder and in none."""

import itertools
import json
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from toy import POINTS

import gan_jax
from gan_jax import data, losses, priors
from gan_jax.engine import init, step
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam
from gan_jax.runs.folder import read_rows
from gan_jax.training import rounds
from gan_jax.training.spec import batch_spec
from gan_jax.two_player import gan

pytestmark = pytest.mark.usefixtures("no_curves")

train = partial(gan_jax.train, batch=8, log_every=5, checkpoint_every=10, progress=False)


class Own(nn.Module):
    """A network of one's own, alike in training and evaluation."""

    out: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.out)(nn.tanh(nn.Dense(8)(x)))


OWN = gan(Player(Own(2), adam(1e-3)), Player(Own(1), adam(1e-3)), losses.hinge, priors.uniform(3))


def mean(nets, batch, key, step):
    """The least play there is."""
    return {"G": Loss(nets["G"](batch["x"]).mean())}


def alone(play):
    """A game of one, quick to compile."""
    return Game({"G": Player(nn.Dense(1), adam(1e-3))}, play, (move("G"),))


def test_in_ten_lines():
    points = np.random.default_rng(0).normal(size=(64, 2))
    run = gan_jax.train(OWN, points, steps=3, batch=8)
    assert int(run.state.step) == 3 and run.folder is None
    assert run.sample(jax.random.key(0), 5)["x"].shape == (5, 2)


jitted_init, jitted_step = jax.jit(init, static_argnums=0), jax.jit(step, static_argnums=0)


def by_hand(game, steps, seed=0):
    """The same rounds, one after another, from `init`, `step` and the plan of batches."""
    state = jitted_init(game, jax.random.key(seed), {"x": jnp.zeros((game.slices, 8, 2))})
    for t in range(steps):
        indices = data.batch_indices(seed, t, len(POINTS), 8, game.slices)
        state, metrics = jitted_step(game, state, {"x": POINTS[indices]})
    return state, metrics


def close(a, b, tolerance=1e-5):
    """Norm-wise, leaf by leaf."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.linalg.norm(x - y) <= tolerance * (1e-3 + np.linalg.norm(y)), (x, y)


def test_the_rounds_are_those_of_step_on_the_plan():
    run = train(OWN, POINTS, steps=7, seed=3)
    state, _ = by_hand(OWN, 7, seed=3)
    close(run.state.params, state.params)
    close(run.state.opt, state.opt)


def test_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("gan_jax.training.log.LEAST", 0)  # a pace for every row
    seen = []
    run = train(OWN, POINTS, steps=12, run=tmp_path / "run", writers=[seen.append])
    folder, rows = run.folder, read_rows(run.folder)
    assert folder == tmp_path / "run" and rows == seen and [row["step"] for row in rows] == [5, 10, 12]
    assert [row["epoch"] for row in rows] == [1.25, 2.5, 3.0]  # of 64 points, 2 batches of 8 a round
    names = {"loss/G", "loss/D", "grad/G", "grad/D", "lr/G", "lr/D", "D(x)", "D(G(z)) before", "D(G(z)) after"}
    assert rows[0].keys() == names | {"step", "seconds", "images_per_second", "epoch"}
    assert rows[0]["lr/G"] == pytest.approx(1e-3) and all(row["images_per_second"] > 0 for row in rows)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["10", "12"]
    _, metrics = by_hand(OWN, 5)
    assert {name: rows[0][name] for name in names} == pytest.approx({n: float(metrics[n]) for n in names}, rel=1e-4)
    about = json.loads((folder / "config.json").read_text())
    assert about["config"] == {"batch": 8, "seed": 0} and about["batch"] == {"x": [[8, 2], "float32"]}
    assert about["versions"]["jax"] == jax.__version__ and about["threads"] >= 1


def test_bytes_and_wide_types_are_read_as_floats_and_ints():
    spec = batch_spec({"x": np.zeros((4, 2), np.uint8), "y": np.zeros(4, np.int64)}, 3)
    assert spec == {"x": [[3, 2], "float32"], "y": [[3], "int32"]}


def test_labels_reach_play():
    def play(nets, batch, key, step):
        wrong = jnp.abs((batch["x"][:, 0] > 0) - batch["y"]).sum()
        return {"G": Loss(nets["G"](batch["x"]).mean(), {"wrong": wrong, "share": batch["y"].mean()})}

    seen = []
    labelled = {"x": POINTS, "y": (POINTS[:, 0] > 0).astype(np.int64)}
    train(alone(play), labelled, steps=4, log_every=1, writers=[seen.append])
    assert [row["wrong"] for row in seen] == [0] * 4 and len({row["share"] for row in seen}) > 1


def test_too_little_data():
    with pytest.raises(UserError, match="a batch of 65 is more than the 64 images"):
        train(OWN, POINTS, steps=1, batch=65)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_jax_would_cut(seed):
    with pytest.raises(UserError, match=f"seed is {seed}: it must be from 0 to 4294967295"):
        train(OWN, POINTS, steps=1, seed=seed)


def test_rounds_to_a_dispatch():
    rows = {1: [], 10: []}
    one, ten = (train(OWN, POINTS, steps=20, log_every=20, dispatch=k, writers=[rows[k].append]) for k in (1, 10))
    close(one.state.params, ten.state.params)
    losses_of = lambda k: {name: value for name, value in rows[k][0].items() if "/" in name}
    assert losses_of(1) == pytest.approx(losses_of(10), rel=1e-5)


def test_callbacks_come_at_their_periods_and_at_the_end():
    told = []

    def every(period):
        def watch(run, t):
            told.append(("start", period, t, int(run.state.step)))  # the state is this round's
            norm = jnp.abs(jax.tree.leaves(run.state.params)[0]).sum()  # put under way; the state will be donated
            return lambda: told.append(("end", period, t, bool(norm > 0)))

        return period, watch

    train(alone(mean), POINTS, steps=11, callbacks=[every(4), every(6), (3, lambda run, t: None)], dispatch=10)
    at = {4: [4, 8, 11], 6: [6, 11]}
    for kind, period in itertools.product(["start", "end"], at):
        assert [entry[2] for entry in told if entry[:2] == (kind, period)] == at[period]
    assert all(entry[3] == (entry[2] if entry[0] == "start" else True) for entry in told)
    # What a callback returns is called once the next rounds have been dispatched, before their callbacks.
    assert [entry[:3] for entry in told[:4]] == [("start", 4, 4), ("end", 4, 4), ("start", 6, 6), ("end", 6, 6)]


def test_the_pace_leaves_out_what_callbacks_compile(monkeypatch):
    monkeypatch.setattr("gan_jax.training.log.LEAST", 0)
    seen, game = [], alone(mean)
    slow = (5, lambda run, t: time.sleep(1))
    train(game, POINTS, steps=5, callbacks=[slow], writers=[seen.append])
    assert seen[0]["seconds"] > 1 and seen[0]["images_per_second"] > 5 * 8 / 1  # 5 rounds of 8 in less than a second


def test_what_a_callback_returns_waits_for_the_next_dispatch(monkeypatch):
    order, dispatch = [], rounds._rounds
    monkeypatch.setattr(rounds, "_rounds", lambda *args, **how: order.append("dispatch") or dispatch(*args, **how))
    train(alone(mean), POINTS, steps=3, log_every=9, callbacks=[(1, lambda run, t: lambda: order.append(t))])
    assert order == ["dispatch", "dispatch", 1, "dispatch", 2, 3]


def test_the_step_moves_nothing_between_host_and_device():
    def play(nets, batch, key, step):
        with jax.ensure_compile_time_eval():
            offset = jnp.asarray(np.float32(1))  # goes to the device while the step is dispatched
        return {"G": Loss(nets["G"](batch["x"]).mean() + offset)}

    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        train(alone(play), POINTS, steps=1)


def test_a_nan_stops_the_run_and_keeps_the_checkpoint_before(tmp_path):
    def play(nets, batch, key, step):
        return {"G": Loss(nets["G"](batch["x"]).mean() * jnp.where(step >= 7, jnp.nan, 1))}

    game = alone(play)
    with pytest.raises(
        UserError, match=r"loss/G is nan.* in round 8: .*the last checkpoint before it in .*/run is of round 5"
    ):
        train(game, POINTS, steps=20, checkpoint_every=5, run=tmp_path / "run")
    assert [row["step"] for row in read_rows(tmp_path / "run")] == [5]
    run = gan_jax.load(tmp_path / "run", game)
    assert int(run.state.step) == 5 and all(np.isfinite(x).all() for x in jax.tree.leaves(run.state.params))
    with pytest.raises(UserError, match=r"in round 8: nothing was saved"):
        train(game, POINTS, steps=20)


@pytest.mark.parametrize("best", ["grad/D", "-grad/D"])
def test_what_is_kept(tmp_path, best):
    train(OWN, POINTS, steps=30, checkpoint_every=5, keep_every=15, best=best, run=tmp_path)
    scores = {row["step"]: row["grad/D"] * (-1 if best[0] == "-" else 1) for row in read_rows(tmp_path)}
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {15, 25, 30} | {min(scores, key=scores.get)}


def test_a_metric_that_is_not_there(tmp_path):
    with pytest.raises(
        UserError, match=r"no metric 'FID' to choose the best checkpoint by: give one of D\(G\(z\)\) after, .*lr/G\."
    ):
        train(OWN, POINTS, steps=1, best="FID", run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
