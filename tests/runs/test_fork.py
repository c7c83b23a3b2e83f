"""Populations on the command line, and branches of runs: the past is shared, the future is not."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import OFTEN
from PIL import Image
from toy import bits

from gan_jax import load
from gan_jax.runs.folder import read_rows

no_curves = pytest.mark.usefixtures("no_curves")
FIELDS = ("step", "member")


@pytest.fixture
def run(shell):
    """(words) -> what was said; fails unless the exit code is 0."""

    def succeed(*words):
        code, out, err = shell(*words)
        assert code == 0, err
        return out

    return succeed


def rows(folder, *names):
    return [tuple(row.get(name) for name in names) for row in read_rows(Path(folder))]


def test_a_population_from_one_command(run, shell):
    run("mlp.py", "small", "--seeds", 2, "--sweep", "lr=1e-3,4e-3", *OFTEN, "--run", "many")
    assert rows("many", *FIELDS) == [(step, member) for step in (2, 4) for member in (0, 1, 2, 3, None)]
    about = json.loads(Path("many/config.json").read_text())
    assert about["members"] == {"seeds": [0, 1, 0, 1], "numbers": {"lr": [1e-3, 1e-3, 4e-3, 4e-3]}}
    with Image.open("many/samples/4.png") as page, Image.open("many/samples/real.png") as real:
        assert page.size != real.size
    assert Path("many/curves.png").exists() and Path("many/progress.gif").exists()
    run("gan_jax", "sample", "many", "--n", 5, "--member", 3, "--out", "x.npz")
    run("mlp.py", "small", "--seed", 1, "--lr", 4e-3, *OFTEN, "--run", "alone")
    with np.load("x.npz") as file:
        alone = load("alone").sample(jax.random.key(0), 5)["x"]
        np.testing.assert_allclose(file["samples"], alone, atol=1e-5)
    again = run("mlp.py", "small", "--seeds", 2, "--sweep", "lr=1e-3,4e-3", *OFTEN, "--run", "many", "--steps", 6)
    assert "More:   python -m gan_jax sample many" in again and rows("many", "step")[-1] == (6,)
    assert load("many").state.step.tolist() == [6] * 4
    for words, said in [
        (("--sweep", "lr=1e-3,4e-3", "--run", "many"), "members"),
        (("--sweep", "speed=1"), "FIELD=VALUE"),
        (("--sweep", "lr"), "FIELD=VALUE"),
        (("--sweep", "lr=fast"), "lr"),
    ]:
        code, _, err = shell("mlp.py", "small", *words)
        assert code == 2 and said in err and err.count("\n") == 1, err
    scores = run("gan_jax", "evaluate", "many", "--scores", "prdc", "--n", 20)
    assert "4 trainings" in scores, scores


@no_curves
def test_a_sweep_over_the_structure_makes_separate_programs(run):
    out = run("mlp.py", "small", "--sweep", "width=4,8", "--sweep", "lr=1e-3,4e-3", *OFTEN, "--run", "wide")
    assert "width cannot be traced" in out
    for width in (4, 8):
        found = load(f"wide-width={width}")
        assert len(found.game) == 2 and width in jax.tree.leaves(found.state.params["G"])[0].shape


@no_curves
def test_a_branch_shares_the_past(run, shell):
    run("mlp.py", "small", *OFTEN, "--run", "a")
    out = run("gan_jax", "fork", "a", "--at", 2, "--set", "lr=0.1", "--steps", 6, "--out", "b")
    assert "past of a up to round 2" in out and Path("b/compare.png").exists()
    own, parent = read_rows(Path("b")), read_rows(Path("a"))
    assert own[0] == parent[0] and own[0]["step"] == 2
    assert own[-1]["step"] == 6 and own[-1]["lr/G"] == pytest.approx(0.1)
    about = json.loads(Path("b/config.json").read_text())
    assert about["fork"] == {"run": "a", "step": 2, "examples": {"": 64}} and about["config"]["lr"] == 0.1
    assert bits(load("a", step=2).state) == bits(load("b", step=2).state)
    run("gan_jax", "fork", "a", "--at", 2, "--out", "c")  # nothing is set: the same future
    assert bits(load("a").state) == bits(load("c").state)
    for words, said in [
        (("a", "--at", "3"), "no checkpoint 3"),
        (("a", "--set", "speed=1"), "FIELD=VALUE"),
        (("a", "--out", "b"), "b holds another run|b is not empty"),
        (("a", "--member", "0"), "no member 0"),
        (("nowhere",), "not a run"),
    ]:
        code, _, err = shell("gan_jax", "fork", *words)
        assert code == 2 and any(part in err for part in said.split("|")), (words, err)


@no_curves
def test_an_average_that_the_run_did_not_keep_begins_at_its_weights(run):
    run("mlp.py", "small", *OFTEN, "--run", "a")
    run("gan_jax", "fork", "a", "--set", "ema=0.9", "--out", "b")
    parent, branch = load("a").state, load("b").state
    assert not parent.ema and bits(branch.ema["G"][0]) == bits(parent.params["G"]) == bits(branch.params["G"])


@no_curves
def test_a_member_becomes_a_run_of_its_own(run):
    run("mlp.py", "small", "--seeds", 3, *OFTEN, "--run", "many", "--steps", 6)
    run("gan_jax", "fork", "many", "--at", 4, "--member", 1, "--steps", 6, "--out", "one")
    many, one = load("many").member(1), load("one")
    assert rows("one", *FIELDS)[:2] == [(2, None), (4, None)]
    assert json.loads(Path("one/config.json").read_text())["config"]["seed"] == 1
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    jax.tree.map(near, many.state.params, one.state.params)
    run("gan_jax", "fork", "many", "--at", 4, "--set", "lr=0.01", "--out", "all", "--steps", 5)
    assert load("all").state.step.tolist() == [5, 5, 5]
