"""gan_jax/cli: a run from its command to its samples and scores."""

import functools
import json
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from conftest import OFTEN, ROOT
from PIL import Image

from gan_jax import load, mixtures, show
from gan_jax.metrics import Score, modes_covered, perfect_modes
from gan_jax.runs import paper as papers
from gan_jax.runs.folder import read_rows
from gan_jax.runs.run import CHUNK
from gan_jax.show import clouds

DCGAN = ROOT / "experiments" / "dcgan.py"


def test_a_run_from_one_command(mlp_run):
    folder, said = mlp_run
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "lock", "metrics.jsonl", "checkpoints", "samples", "progress.gif", "curves.png")
    }
    assert {path.name for path in (folder / "samples").iterdir()} == {"real.png", "2.png", "4.png"}
    with Image.open(folder / "progress.gif") as film, Image.open(folder / "samples" / "4.png") as last:
        assert film.n_frames == 2 and film.size == last.size
    assert [row["step"] for row in read_rows(folder)] == [2, 4]
    about = json.loads((folder / "config.json").read_text())
    assert about["paper"] == "mlp:small" and about["config"]["width"] == 8 and about["config"]["steps"] == 4
    lines = said.splitlines()
    assert lines[0].startswith("mlp:small") and re.search(r"^ *4 +100%", said, re.MULTILINE) and len(said) < 1500
    assert "More:   python -m gan_jax sample runs/mlp-small" in lines


def test_samples_as_numbers_and_as_a_grid(mlp_run, shell, tmp_path):
    n = CHUNK + 44
    code, out, err = shell("gan_jax", "sample", mlp_run[0], "--n", n, "--out", "deep/x.npz", "--seed", 3, "--class", 7)
    assert (code, out, err) == (0, f"{n} samples of {mlp_run[0]} are in deep/x.npz.\n", "")
    with np.load(tmp_path / "deep" / "x.npz") as file:
        samples = file["samples"]
    assert samples.shape == (n, 8, 8, 1) and samples.dtype == np.float32 and 0.01 < np.abs(samples).max() <= 1
    np.testing.assert_array_equal(samples, load(mlp_run[0]).sample(3, n, y=7)["x"])
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.npz"]
    assert shell("gan_jax", "sample", mlp_run[0], "--n", 5, "--truncation", 0.5, "--step", 2, "--out", "x.png")[0] == 0
    with Image.open(tmp_path / "x.png") as grid:
        assert grid.mode == "L" and min(grid.size) > 16


def test_going_on_by_epochs_and_from_another_run(mlp_run, shell, tmp_path):
    flags = ["--run", "a", *OFTEN]
    assert shell("mlp.py", "small", "--steps", 2, *flags)[0] == 0
    code, out, _ = shell("mlp.py", "small", "--epochs", 0.1, *flags)  # ⌈0.1 · 1797 / 32⌉ rounds
    assert code == 0 and "sample a" in out and [row["step"] for row in read_rows(tmp_path / "a")] == [2, 4, 6]
    assert json.loads((tmp_path / "a" / "config.json").read_text())["config"]["steps"] == 2
    assert shell("mlp.py", "--lr", 1e-30, "--seed", 1, "--steps", 1, "--from", mlp_run[0], "--run", "b")[0] == 0
    start, born = load(mlp_run[0]).state, load(tmp_path / "b").state
    jax.tree.map(np.testing.assert_array_equal, born.params, start.params)  # at this rate they stay as they began
    code, _, err = shell("mlp.py", "wide", "--from", mlp_run[0], "--run", "c")
    assert not (tmp_path / "c").exists()
    assert code == 2 and "error: The weights to start from do not fit network 'D'" in err


def test_a_run_that_stays_finite_is_played_again_for_nothing(mlp_run, shell):
    code, out, err = shell("gan_jax", "replay", mlp_run[0], "--step", 2)
    assert (code, out) == (0, f"{mlp_run[0]} stays finite up to round 4: there is nothing to mend.\n"), err


def test_evaluate_a_run_and_images(mlp_run, shell, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    code, out, err = shell("gan_jax", "evaluate", mlp_run[0], "--n", 70, "--real", 200)  # the data is the run's own
    assert code == 0 and len(out.splitlines()) == 6 and out.startswith("Fréchet distance (pixels) ")
    assert all("real 200, fake 70" in line and "(5 draws of samples)" in line for line in out.splitlines()), out
    (row,) = [json.loads(line) for line in (mlp_run[0] / "scores.jsonl").read_text().splitlines()]
    assert row["step"] == 4 and row["scores"]["recall"]["protocol"]["reference"].startswith("digits train ")
    assert str(Score(**row["scores"]["recall"])) in out
    assert shell("gan_jax", "sample", mlp_run[0], "--n", 60, "--out", "fakes.npz")[0] == 0
    x = np.load(tmp_path / "fakes.npz")["samples"]
    np.savez(tmp_path / "images.npz", x=x)
    flags = ["--data", "digits", "--scores", "prdc", "--real", 200, "--out", "scores.jsonl"]
    code, out, _ = shell("gan_jax", "evaluate", "images.npz", *flags)
    assert code == 0 and "(10 pairs of half the samples)" in out and (tmp_path / "scores.jsonl").exists()
    code, out, err = shell("gan_jax", "evaluate", "digits", *flags)
    assert code == 0 and "warning: 11% of these images are real ones, byte for byte." in err
    assert "error: --n 0 samples of a run give no score" in shell("gan_jax", "evaluate", mlp_run[0], "--n", 0)[2]


def test_points_are_drawn_and_scored_as_their_paper_does(shell, tmp_path, monkeypatch):
    wide = mixtures.ring(sigma=0.4)  # so that samples of no training are near to some of the modes
    monkeypatch.setitem(papers.paper("pacgan").module.MIXTURES, "ring", wide)
    small = ["--batch", 8, "--width-G", 8, "--width-D", 4, "--samples", 300, "--run", "a"]
    flags = ["--steps", 4, "--score-every", 2, "--sample-every", 2, "--best=-score/modes"]
    code, out, err = shell("pacgan.py", "ring", *small, *flags)
    assert code == 0 and "sample a" in out, err
    rows = [row for row in read_rows(tmp_path / "a") if "score/modes" in row]
    samples = load(tmp_path / "a").sample(0, 300)["x"]
    expected = {f"score/{name}": score.value for name, score in modes_covered(samples, wide).items()}
    assert [row["step"] for row in rows] == [2, 4] and expected.items() <= rows[1].items()
    assert 0 < expected["score/modes"] <= 8 and 0 < expected["score/high_quality"] <= 1
    for name in ("samples/real.png", "samples/2.png", "samples/4.png", "progress.gif"):
        with Image.open(tmp_path / "a" / name) as picture:
            assert picture.size == (clouds.SIDE, clouds.SIDE)

    command = functools.partial(shell, "gan_jax", real=True)
    code, out, err = command("evaluate", "a", "--seed", 3)
    assert code == 0 and len(lines := out.splitlines()) == 6, err
    anchors = perfect_modes(wide, 300).values()
    assert lines[1::2] == [f"    exact samples: {str(anchor).partition(';')[0]}" for anchor in anchors]
    assert all("(5 draws of samples); fake 300, mixture ring of 8" in line for line in lines[::2])
    (kept,) = [json.loads(line) for line in (tmp_path / "a" / "scores.jsonl").read_text().splitlines()]
    draws = [load(tmp_path / "a").sample(key, 300)["x"] for key in jax.random.split(jax.random.key(3), 5)]
    modes = np.mean([modes_covered(x, wide)["modes"].value for x in draws])
    assert kept["step"] == 4 and kept["scores"]["modes"]["value"] == pytest.approx(modes)
    assert command("sample", "a", "--n", 99, "--out", "x.png")[0] == 0
    with Image.open(tmp_path / "x.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), show.scatter(load(tmp_path / "a").sample(0, 99)["x"]))
    said = command("evaluate", "a", "--scores", "prdc")[2]
    assert "error: These scores compare images [n, h, w, c]; the data have shape [100000, 2]." in said
    err = shell("pacgan.py", "ring", *small, "--score-every", 2, "--scores", "prdc")[2]
    assert "error: These scores compare images [n, h, w, c]; the data have shape" in err


def test_scores_along_a_run_by_flags(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    flags = ["--score-every", 2, "--scores", "kernel_distance", "--score-n", 40, "--best", "score/kernel_distance"]
    assert shell("mlp.py", "small", "--steps", 4, "--run", "a", *flags)[0] == 0
    assert [row["step"] for row in read_rows(tmp_path / "a") if "score/kernel_distance" in row] == [2, 4]
    code, _, err = shell("mlp.py", "small", "--run", "b", "--score-every", 2, "--scores", "prdx")
    assert code == 2 and "There is no score 'prdx'" in err and not (tmp_path / "b").exists()


def test_cost(shell):
    code, out, _ = shell("gan_jax", "cost", "mlp:small")
    words = [line.split() for line in out.splitlines()]
    assert code == 0 and words[0] == ["D", f"{74 * 8 + 8 + 8 + 1:,}", "parameters"]
    assert [line[0] for line in words[1:]] == ["G", "a", "memory", "pace", "expected"]
    assert words[2][-3:] == ["32", "examples", "read"]
    assert words[5][-5:] == ["for", "4", "rounds,", "compilation", "included"]


def test_help(shell, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = shell("mlp.py", "--help")
    assert code == 0 and "arXiv:1411.1784" in out and max(map(len, out.splitlines())) <= 120
    assert re.search(r"^  --width N +of the hidden layers \(default 8\)$", out, re.MULTILINE)
    assert re.search(r"^recipe:$.*^run:$.*^  --from TEXT.*^  --checkpoint-every N", out, re.MULTILINE | re.DOTALL)
    code, out, _ = shell("gan_jax")
    named = re.findall(r"^  (\w+)", out, re.MULTILINE)
    assert code == 0 and named == ["train", "new", "list", "cost", "sample", "translate", "evaluate", "fork", "replay"]
    for command in named:
        code, out, _ = shell("gan_jax", command, "--help")
        assert code == 0 and out.startswith(f"usage: python -m gan_jax {command}"), command
        assert max(map(len, out.splitlines())) <= 120 and not re.search(r"^  --\S+( \w+)?$", out, re.MULTILINE), out


@pytest.mark.slow
def test_ctrl_c_in_a_shell_and_going_on_to_the_end(tmp_path, environment):
    flags = ["--width-G", "8", "--width-D", "4", "--batch", "4", "--log-every", "5", "--sample-every", "1000"]
    command = [sys.executable, DCGAN, "digits", *flags, "--run", "run", "--steps"]
    how = {"cwd": tmp_path, "env": environment, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    child = subprocess.Popen([*command, "1000000"], **how)
    while len(read_rows(tmp_path / "run")) < 2 and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130 and "Traceback" not in err
    saved = int(load(tmp_path / "run").state.step)
    assert saved >= 10
    child = subprocess.run([*command, str(saved + 3)], **how)
    assert child.returncode == 0 and "Look:   run/samples" in child.stdout, child.stderr
    assert int(load(tmp_path / "run").state.step) == saved + 3
    command = [sys.executable, "-m", "gan_jax", "sample", "run", "--class", "3"]
    child = subprocess.run(command, **how)
    assert (child.returncode, child.stderr) == (2, "error: The sampler of this game has no option y: leave it out.\n")
