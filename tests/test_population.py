"""Many trainings as one program: each member is what it would be alone."""

import dataclasses
import json
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import on_devices
from flax import linen as nn
from toy import POINTS, bits

from gan_jax import losses, optimizers, penalties, population, priors, train
from gan_jax.errors import UserError
from gan_jax.game import Player
from gan_jax.nn.norm import BatchNorm
from gan_jax.runs.folder import read_rows
from gan_jax.runs.load import load
from gan_jax.training.rounds import _rounds
from gan_jax.two_player import gan


@dataclasses.dataclass(frozen=True)
class Config:
    lr: float = 1e-3
    beta1: float = 0.5
    ema: float = 0.9
    r1: float = 0.1
    weight_D: float = 1.0
    unused: float = 0.0
    width: int = 8
    norm: bool = False


class MLP(nn.Module):
    """[b, d] -> [b, 2], or of one feature [b]; in float64 where that is on."""

    features: int
    width: int
    norm: bool = False

    @nn.compact
    def __call__(self, x, train=True):
        dense, dtype = partial(nn.Dense, param_dtype=jnp.result_type(float)), jnp.result_type(float)
        h = dense(self.width, use_bias=not self.norm)(x)  # before a normalisation it would do nothing
        y = dense(self.features)(nn.tanh(BatchNorm(not train, param_dtype=dtype)(h) if self.norm else h))
        return y if self.features > 1 else y[:, 0]


def game(c):
    return gan(
        Player(MLP(2, c.width, c.norm), optimizers.adam(c.lr, c.beta1), lambda step: c.ema),
        Player(MLP(1, c.width), optimizers.adam(c.lr, c.beta1)),
        losses.non_saturating,
        priors.normal(3),
        penalty=lambda critic, real, fake, key: c.r1 * penalties.r1(critic, real),
        weight_D=c.weight_D,
    )


pytestmark = pytest.mark.usefixtures("no_curves")
SWEEP = {"lr": [1e-3, 3e-3], "beta1": [0.0, 0.5], "ema": [0.9, 0.99], "r1": [0.1, 1.0], "weight_D": [1.0, 0.5]}
HOW = {"batch": 16, "progress": False, "dispatch": 1}
SEEDS, RATES = [0, 1], [1e-3, 2e-3]
four = lambda: population.of(game, Config(), seeds=SEEDS, sweep={"lr": RATES})


def quietly(games, steps, **how):
    return train(games, POINTS, steps=steps, **(HOW | how))


@pytest.fixture(scope="module")
def trained():
    """Four members after five rounds."""
    return quietly(four(), 5)


def distance(a, b):
    """The largest relative distance in norm of two trees' leaves."""
    norm = lambda x, y: np.linalg.norm(np.float64(x) - y) / max(np.linalg.norm(np.float64(y)), 1e-12)
    return max(jax.tree.leaves(jax.tree.map(norm, a, b)))


@pytest.mark.parametrize("how", ["map", "vmap"])
def test_members_are_what_they_would_be_alone(how, monkeypatch):
    """In float32, without normalisation, over 100 rounds: every weight, moment and average to 1e-5 in norm."""
    if how == "vmap":  # as on accelerators
        monkeypatch.setattr(population, "one_after_another", lambda: False)
    many = population.of(game, Config(), seeds=[5], sweep=SWEEP)
    run = quietly(many, 100, dispatch=25)
    assert len(run.game) == 32
    for i in (0, 21, 31):
        own = dict(run.game.about(i))
        alone = quietly(game(Config(**own)), 100, seed=run.game.seeds[i], dispatch=25)
        member = run.member(i)
        for name in ("params", "opt", "ema"):
            assert distance(getattr(member.state, name), getattr(alone.state, name)) < 1e-5, (i, name)
        assert np.array_equal(jax.random.key_data(member.state.key), jax.random.key_data(alone.state.key))
        np.testing.assert_allclose(
            member.sample(jax.random.key(5), 9)["x"], alone.sample(jax.random.key(5), 9)["x"], atol=1e-5
        )


def test_losses_with_normalisation_in_float64():
    with jax.enable_x64(True):
        points = POINTS.astype(np.float64)
        config = Config(norm=True)
        many = population.of(game, config, seeds=[0, 1], sweep={"lr": [1e-3, 4e-3]})
        rows = []
        run = train(many, points, steps=60, log_every=60, writers=[rows.append], **HOW)
        assert run.state.params["G"]["Dense_0"]["kernel"].dtype == jnp.float64
        found = []
        for i in range(4):
            own = dataclasses.replace(config, **run.game.about(i))
            train(game(own), points, steps=60, log_every=60, seed=run.game.seeds[i], writers=[found.append], **HOW)
        for name in ("loss/G", "loss/D", "D(x)"):
            values = np.array([row[name] for row in found])
            np.testing.assert_allclose(rows[0][name], values.mean(), rtol=1e-9)
            np.testing.assert_allclose(rows[0][f"{name} se"], values.std(ddof=1) / 2, rtol=1e-6)


def test_a_member_leaves_and_goes_on_alone(trained):
    together = quietly(population.members(game, Config(), trained.game.seeds, trained.game.describe()["numbers"]), 100)
    member = trained.member(3)
    on = quietly(member.game, 100, seed=trained.game.seeds[3], state=member.state)
    assert int(on.state.step) == 100
    assert distance(together.member(3).state.params, on.state.params) < 1e-5


def compiled(game):
    return sum(program.jitted._cache_size() for program in _rounds.programs[game.owner].values())


def test_other_numbers_are_the_same_program():
    run = quietly(population.of(game, Config(), sweep={"r1": [0.1, 1.0]}), 2)
    programs = compiled(run.game)
    changed = dataclasses.replace(run.game, numbers={"r1": run.game.numbers["r1"] * 2})
    assert quietly(changed, 2).state.step.tolist() == [2, 2]
    assert compiled(changed) == programs


def test_numbers_take_the_type_of_what_they_meet():
    seen = []

    def make(c):
        seen.append((c.lr * jnp.ones((), jnp.bfloat16)).dtype)
        return game(c)

    quietly(population.of(make, Config(), sweep={"lr": [1e-3, 2e-3]}), 1)
    assert set(seen) == {jnp.dtype(jnp.bfloat16)}


def test_a_member_that_diverges_rests_and_the_others_go_on(tmp_path, capsys):
    sweep = {"weight_D": [1.0, 3e38, 0.5]}  # D's loss is near 1.4, and 3e38 times that is no float32
    run = quietly(population.of(game, Config(), sweep=sweep), 20, log_every=5, dispatch=5, run=tmp_path / "run")
    assert run.state.step.tolist() == [20, 0, 20]  # it was last finite before its first dispatch
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(run.state.params))
    both = quietly(population.of(game, Config(), sweep={"weight_D": [1.0, 0.5]}), 20, dispatch=5)
    for i, j in ((0, 0), (2, 1)):
        assert bits(run.member(i).state) == bits(both.member(j).state)
    rows = read_rows(tmp_path / "run")
    assert {row["member"] for row in rows if "member" in row} == {0, 2}
    assert [row["members"] for row in rows if "members" in row] == [2] * 4
    assert "Member 1" in capsys.readouterr().out
    again = load_with_game(tmp_path / "run", sweep)
    assert again.state.step.tolist() == [20, 0, 20]
    with pytest.raises(UserError, match=r"member has diverged|is nan|is inf"):
        quietly(population.of(game, Config(), sweep={"weight_D": [3e38, 3.1e38]}), 20, log_every=5)


def load_with_game(folder, sweep):
    return load(folder, game=population.of(game, Config(), sweep=sweep))


def test_rows_of_members_and_their_mean(tmp_path):
    quietly(four(), 4, log_every=2, run=tmp_path / "run")
    rows = read_rows(tmp_path / "run")
    assert [row.get("member") for row in rows] == 2 * [0, 1, 2, 3, None]
    own = np.array([row["loss/G"] for row in rows[:4]])
    assert rows[4]["loss/G"] == pytest.approx(own.mean(), rel=1e-6)
    assert rows[4]["loss/G se"] == pytest.approx(own.std(ddof=1) / 2, rel=1e-4)
    assert rows[4]["members"] == 4


def test_resuming_is_exact(tmp_path):
    many = lambda: population.of(game, Config(norm=True), seeds=range(2), sweep={"r1": [0.1, 1.0]})
    how = {"checkpoint_every": 4, "dispatch": 4}
    whole = quietly(many(), 12, run=tmp_path / "whole", **how)
    quietly(many(), 8, run=tmp_path / "parts", **how)
    parts = quietly(many(), 12, run=tmp_path / "parts", **how)
    assert bits(whole.state) == bits(parts.state)
    about = json.loads((tmp_path / "parts" / "config.json").read_text())
    assert about["members"] == {"seeds": [0, 1, 0, 1], "numbers": {"r1": [0.1, 0.1, 1.0, 1.0]}}
    with pytest.raises(UserError, match="members"):
        quietly(population.of(game, Config(norm=True), seeds=range(4)), 12, run=tmp_path / "parts")


def test_samples_of_all_members(trained):
    run = trained
    samples = run.sample(jax.random.key(0), 5)["x"]
    assert samples.shape == (4, 5, 2)
    np.testing.assert_allclose(samples[1], run.member(1).sample(jax.random.key(0), 5)["x"], rtol=1e-6)
    assert not np.array_equal(samples[0], samples[1])
    with pytest.raises(UserError, match="0 to 3"):
        run.member(4)
    with pytest.raises(UserError, match="single training"):
        run.member(0).member(0)


def test_the_grid_of_values_times_seeds():
    many = population.of(game, Config(), seeds=[7, 8], sweep={"lr": [1e-3, 2e-3], "r1": [1]})(0)
    assert many.seeds == (7, 8, 7, 8) and many.about(3) == {"lr": 2e-3, "r1": 1.0}
    for sweep, said in (({"speed": [1]}, "no field 'speed'"), ({"lr": []}, "numbers"), ({"norm": [True]}, "numbers")):
        with pytest.raises(UserError, match=said):
            population.of(game, Config(), sweep=sweep)
    with pytest.raises(UserError, match="seed is -1"):
        population.of(game, Config(), seeds=[-1])
    with pytest.raises(UserError, match="at least one seed"):
        population.of(game, Config(), seeds=[])


def test_a_schedule_of_populations():
    slow, fast = Config(lr=1e-3), Config(lr=2e-3)

    def schedule(c):
        games = game(dataclasses.replace(slow, r1=c.r1)), game(dataclasses.replace(fast, r1=c.r1))
        return lambda t: games[t >= 3]

    many = population.of(schedule, Config(), sweep={"r1": [0.1, 1.0]})
    assert many(0) is many(2) and many(0) is not many(3) and many(3) is many(9)
    run = quietly(many, 6)
    alone = quietly(schedule(Config(r1=1.0)), 6)
    assert distance(run.member(1).state.params, alone.state.params) < 1e-5


def test_which_fields_decide_the_structure():
    batch = lambda g: {"x": jnp.zeros((g.slices, 16, 2))}
    decides = lambda field: population.decides_structure(game, Config(), field, batch)
    assert not any(decides(field) for field in SWEEP)
    assert decides("width") and decides("norm")
    with pytest.raises(UserError, match="No computation of the game depends on unused"):
        decides("unused")

    def branching(c):
        return game(c) if c.r1 > 0 else game(dataclasses.replace(c, r1=0.0))

    assert population.decides_structure(branching, Config(), "r1", batch)


def test_successive_halving_keeps_the_best_with_all_they_learnt(trained):
    run = trained
    games, state = population.halve(run.game, run.state, [3.0, np.nan, 1.0, 2.0])
    assert games.seeds == (0, 1) and games.describe()["numbers"] == {"lr": [0.002, 0.002]}
    for i, j in ((0, 2), (1, 3)):
        assert bits(jax.tree.map(lambda x, i=i: x[i], state)) == bits(run.member(j).state)
    on = quietly(games, 9, state=state)
    whole = quietly(four(), 9)
    assert on.state.step.tolist() == [9, 9]
    assert distance(on.member(0).state.params, whole.member(2).state.params) < 1e-5
    with pytest.raises(UserError, match="4 members"):
        population.halve(run.game, run.state, [1.0])


def test_population_based_training_copies_winners_and_perturbs_numbers(trained):
    run, scores = trained, [0.0, 4.0, 1.0, np.inf]
    games, state = population.exploit_and_explore(jax.random.key(1), run.game, run.state, scores, share=0.5)
    lr = games.describe()["numbers"]["lr"]
    assert games.seeds == run.game.seeds
    for i in (0, 2):
        assert lr[i] == run.game.about(i)["lr"] and bits(pick(state, i)) == bits(pick(run.state, i))
    for i in (1, 3):
        (winner,) = [j for j in (0, 2) if bits(pick(state, i).params) == bits(pick(run.state, j).params)]
        own = run.game.about(winner)["lr"]
        assert lr[i] in (pytest.approx(1.2 * own), pytest.approx(own / 1.2))
        assert bits(pick(state, i).key) == bits(pick(run.state, i).key)
    assert quietly(games, 7, state=state).state.step.tolist() == [7] * 4
    with pytest.raises(UserError, match="no hyper-parameters"):
        population.exploit_and_explore(jax.random.key(1), dataclasses.replace(run.game, numbers={}), run.state, scores)


def pick(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


SHARDED = """
import jax, sys
from test_population import *
assert jax.device_count() == 2
keep = lambda run: np.savez(f"{sys.argv[1]}/{len(run.game)}", *jax.tree.leaves(run.state.params), **run.sample(0, 4))
run = quietly(many(4), 20, dispatch=5)
assert {len(x.sharding.device_set) for x in jax.tree.leaves(run.state)} == {2}
keep(run)
three = quietly(many(3), 20, dispatch=5)  # two devices share the batch of each member
assert dict(jax.tree.leaves(three.state)[0].sharding.mesh.shape) == {"members": 1, "data": 2}
keep(three)
six = quietly(many(6), 2, devices=1)
assert {len(x.sharding.device_set) for x in jax.tree.leaves(six.state)} == {1}
"""

many = lambda n: population.of(game, Config(norm=True), seeds=range(n), sweep={"lr": [2e-3]})


def test_members_and_batches_shared_out_over_devices(tmp_path, environment):
    """Two devices, each with half of the members or half of the batch: the same numbers to rounding."""
    subprocess.run([sys.executable, "-c", SHARDED, tmp_path], env=on_devices(environment, 2), check=True)
    for n in (4, 3):
        run = quietly(many(n), 20, dispatch=5)
        with np.load(tmp_path / f"{n}.npz") as two:
            for i, x in enumerate(jax.tree.leaves(run.state.params)):
                np.testing.assert_allclose(two[f"arr_{i}"], x, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(two["x"], run.sample(0, 4)["x"], rtol=1e-5, atol=1e-6)
