"""Runs of earlier versions are still read, sampled and gone on with.

tests/runs/ holds config.json, metrics.jsonl and the newest checkpoint of runs as they were left on one day:

    dcgan-digits    gan_jax 0.1.0 at commit 6c20b50, format 1, with an averaged G:
                    dcgan.py digits --width-G 4 --width-D 4 --latent 4 --batch 8 --steps 3 --log-every 1
    pacgan-ring     the same version, a population of two:
                    pacgan.py ring --width-G 4 --width-D 4 --batch 8 --steps 2 --seeds 2 --log-every 1

both by jax 0.10.2 and orbax-checkpoint 0.12.8 on two CPU cores. A new format adds runs of its own and leaves these.
"""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from conftest import ROOT

from gan_jax import load, train
from gan_jax.errors import UserError
from gan_jax.runs import fork
from gan_jax.runs.folder import FORMAT, describe, read_rows

RUNS = ROOT / "tests" / "old_runs"
WRITTEN = {  # of the leaves of State, and the end of what sample(jax.random.key(0), 1) gave
    "dcgan-digits": (
        3,
        "59b2449302165d220e69653a3a5a772748b3a3fc3aaafb8d95b2c71b04cdead6",
        [-0.001530336681753397, -0.0029641767032444477, -0.013916797935962677, 0.01946418546140194],
    ),
    "pacgan-ring": (
        [2, 2],
        "35e7a4595b7a9af57b97fce8742bd4c3d7d47b0724207fb75e06747cede68e52",
        [-4.531249214778654e-05, 0.00015090852684807032, 0.00015277316560968757, 0.00012807277380488813],
    ),
}


def checksum(state):
    """Of every leaf's path, type, shape and bytes."""
    found = hashlib.sha256()
    for path, x in jax.tree_util.tree_leaves_with_path(state):
        raw = jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        found.update(f"{jax.tree_util.keystr(path, simple=True, separator='/')} {x.dtype}{list(x.shape)} ".encode())
        found.update(np.asarray(raw).tobytes())
    return found.hexdigest()


def test_there_is_a_run_of_this_format():
    assert {path.name for path in RUNS.iterdir()} == set(WRITTEN)
    assert FORMAT in {describe(path)["format"] for path in RUNS.iterdir()}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_run_is_what_it_was(name):
    step, leaves, end = WRITTEN[name]
    run = load(RUNS / name)
    assert run.state.step.tolist() == step and checksum(run.state) == leaves
    samples = run.sample(jax.random.key(0), 1)["x"]
    np.testing.assert_allclose(samples.reshape(-1)[-len(end) :], end, rtol=1e-5, atol=1e-5 * np.abs(end).max())


@pytest.mark.parametrize("name", ["dcgan-digits", pytest.param("pacgan-ring", marks=pytest.mark.slow)])
def test_a_run_goes_on(name, tmp_path):
    folder = shutil.copytree(RUNS / name, tmp_path / name)
    about, past = describe(folder), read_rows(folder)
    c, (paper, title, config, members) = about["config"], fork.settings(folder)
    steps, own = c["steps"] + 1, {"batch": c["batch"], "seed": c["seed"], "config": c, "paper": title}
    games = fork.games(paper, config, members)
    run = train(games, paper.data(config), steps=steps, run=folder, dispatch=1, progress=False, log_every=1, **own)
    assert read_rows(folder)[: len(past)] == past and read_rows(folder)[-1]["step"] == steps
    assert checksum(load(folder).state) == checksum(run.state) and np.all(run.state.step == steps)


def test_another_format_says_who_reads_it(tmp_path):
    about = describe(RUNS / "dcgan-digits") | {"format": 7, "versions": {"gan_jax": "3.2.1"}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"is not of format 1: it is of 7, so use gan_jax 3\.2\.1, which wrote it\.$"):
        load(tmp_path)
