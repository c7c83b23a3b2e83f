"""benchmarks/judge.py: real digits pass, and each way of failing fails for its own reason."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import judge as judging
from gan_jax.pixels import to_float


@pytest.fixture(scope="module")
def digits():
    train, held_out = judging.split("digits")
    return judging.fit(train, held_out), to_float(held_out["x"]), held_out["y"]


def test_the_classifier_is_right_and_not_always_sure(digits):
    trial = digits[0].trial
    assert trial["accuracy"] >= 0.97
    assert trial["top_on_held_out"] == pytest.approx(trial["accuracy"], abs=0.03)
    assert trial["top_on_noise"] < trial["top_on_shuffled_pixels"] < 0.8


def test_held_out_real_digits_are_good(digits):
    judge, x, y = digits
    found = judge(x)
    assert found["good"] and found["classes"] == 10 and min(found["precision"], found["recall"]) > 0.9
    np.testing.assert_allclose(found["shares"], np.bincount(y) / len(y), atol=0.02)


def test_what_is_not_good_is_not(digits):
    judge, x, y = digits
    rng = np.random.default_rng(0)
    noise = judge(rng.uniform(-1, 1, x.shape))
    assert not noise["good"] and noise["top_probability"] < 0.8 and noise["precision"] == noise["recall"] == 0
    missing = judge(x[y < 8])
    assert not missing["good"] and missing["classes"] == 8 and missing["top_probability"] > 0.8
    collapsed = judge(np.repeat([x[y == c][0] for c in range(10)], 36, 0) + rng.normal(0, 0.01, (360, *x.shape[1:])))
    assert not collapsed["good"] and collapsed["classes"] >= 9 and collapsed["recall"] < 0.5 < collapsed["precision"]
    rough = judge(x + rng.normal(0, 0.5, x.shape))
    assert not rough["good"] and rough["precision"] < 0.5 < rough["recall"]


@pytest.mark.skipif("GAN_JAX_DATA" not in os.environ, reason="set GAN_JAX_DATA to the folder of real data sets")
def test_mnist_keeps_its_published_split():
    train, held_out = judging.split(os.path.join(os.environ["GAN_JAX_DATA"], "mnist"))
    assert (len(train["x"]), len(held_out["x"])) == (60_000, 10_000)


def test_the_command_judges_runs_and_says_what_they_were(digits, tmp_path, monkeypatch, capsys):
    """One run that draws real digits, one that draws noise."""
    judge, x, _ = digits
    noise = np.random.default_rng(0).uniform(-1, 1, x.shape)
    monkeypatch.setattr(judging, "fit", lambda train, held_out: judge)
    monkeypatch.setattr(
        judging, "load", lambda folder: SimpleNamespace(sample=lambda key, n: {"x": [x, noise][int(folder.name)]})
    )
    about = lambda folder: {"paper": "dcgan:digits", "config": {"steps": 1500, "seed": int(folder.name)}}
    monkeypatch.setattr(judging, "describe", about)
    monkeypatch.setattr(judging.papers, "preset", lambda title: (None, SimpleNamespace(steps=3000)))
    monkeypatch.setattr(judging, "read_rows", lambda folder: [{"seconds": 1.0}, {"seconds": 60.0}])
    judging.main((tmp_path / "0", tmp_path / "1"), out=tmp_path / "found.json", notes="digits and noise")
    row = json.loads((tmp_path / "found.json").read_text())
    assert (row["paper"], row["ran"], row["seeds"]) == ("dcgan:digits", "1,500 of the recipe's 3,000 rounds", [0, 1])
    assert row["finding"] == "good in 1 of 2 seeds" and row["share"] == 0.5 and row["notes"] == "digits and noise"
    assert [run["good"] for run in row["runs"]] == [True, False] and row["seconds"]["mean"] == 60
    assert row["scores"]["precision"]["values"] == [judge(x)["precision"], 0.0]
    assert row["held_out"] == judge(x) and row["classifier"] == judge.trial
    assert row["protocol"].startswith("A run is good if") and "1 of 2 are good" in capsys.readouterr().out
