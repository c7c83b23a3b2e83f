"""gan_jax/cli.py: a run from its command to its samples, and one line for whatever its user can mend."""

import contextlib
import functools
import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import OFTEN, ROOT
from PIL import Image

from gan_jax import cli, load, mixtures, show
from gan_jax.metrics import Score, modes_covered, perfect_modes
from gan_jax.runs import cost
from gan_jax.runs import paper as papers
from gan_jax.runs.folder import read_rows
from gan_jax.runs.run import CHUNK
from gan_jax.show import clouds

DCGAN = ROOT / "experiments" / "dcgan.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, what was said) of `python mlp.py small`, four rounds."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said := io.StringIO()):
        patch.chdir(tmp_path_factory.mktemp("trained"))
        patch.setattr(papers, "FOLDER", ROOT / "tests" / "papers")
        patch.setattr(sys, "argv", ["mlp.py", "small", *OFTEN])
        cli.experiment(str(ROOT / "tests" / "papers" / "mlp.py"))
        return Path("runs/mlp-small").absolute(), said.getvalue()


def test_a_run_from_one_command(trained):
    folder, said = trained
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "lock", "metrics.jsonl", "checkpoints", "samples", "progress.gif", "curves.png")
    }
    assert {path.name for path in (folder / "samples").iterdir()} == {"real.png", "2.png", "4.png"}
    with Image.open(folder / "progress.gif") as film, Image.open(folder / "samples" / "4.png") as last:
        assert film.n_frames == 2 and film.size == last.size
    assert [row["step"] for row in read_rows(folder)] == [2, 4]
    about = json.loads((folder / "config.json").read_text())
    assert about["paper"] == "mlp:small" and about["config"]["width"] == 8 and about["config"]["steps"] == 4
    assert re.search(r"step 2  seconds .*  epoch 0.036  D\(G\(z\)\) after .*  loss/D .*  lr/G 0.001", said)
    assert said.splitlines()[-2:] == [
        "runs/mlp-small has 4 rounds: samples/, progress.gif, curves.png, metrics.jsonl and checkpoints/.",
        "More samples: python -m gan_jax sample runs/mlp-small --n 64 --out grid.png",
    ]


def test_samples_as_numbers_and_as_a_grid(trained, shell, tmp_path):
    n = CHUNK + 44
    code, out, err = shell("gan_jax", "sample", trained[0], "--n", n, "--out", "deep/x.npz", "--seed", 3, "--class", 7)
    assert (code, out, err) == (0, f"{n} samples of {trained[0]} are in deep/x.npz.\n", "")
    with np.load(tmp_path / "deep" / "x.npz") as file:
        samples = file["samples"]
    assert samples.shape == (n, 8, 8, 1) and samples.dtype == np.float32 and 0.01 < np.abs(samples).max() <= 1
    np.testing.assert_array_equal(samples, load(trained[0]).sample(jax.random.key(3), n, y=7))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.npz"]
    assert shell("gan_jax", "sample", trained[0], "--n", 5, "--truncation", 0.5, "--step", 2, "--out", "x.png")[0] == 0
    with Image.open(tmp_path / "x.png") as grid:
        assert grid.mode == "L" and min(grid.size) > 16


def test_going_on_by_epochs_and_from_another_run(trained, shell, tmp_path):
    flags = ["--run", "a", *OFTEN]
    assert shell("mlp.py", "small", "--steps", 2, *flags)[0] == 0
    code, out, _ = shell("mlp.py", "small", "--epochs", 0.1, *flags)  # ⌈0.1 · 1797 / 32⌉ rounds
    assert code == 0 and "a has 6 rounds" in out and [row["step"] for row in read_rows(tmp_path / "a")] == [2, 4, 6]
    assert json.loads((tmp_path / "a" / "config.json").read_text())["config"]["steps"] == 2
    assert shell("mlp.py", "--lr", 1e-30, "--seed", 1, "--steps", 1, "--from", trained[0], "--run", "b")[0] == 0
    start, born = load(trained[0]).state, load(tmp_path / "b").state
    jax.tree.map(np.testing.assert_array_equal, born.params, start.params)  # at this rate they stay as they began
    code, _, err = shell("mlp.py", "wide", "--from", trained[0], "--run", "c")
    assert not (tmp_path / "c").exists()
    assert code == 2 and "error: The weights to start from do not fit network 'D'" in err


def test_a_run_that_stays_finite_is_played_again_for_nothing(trained, shell):
    code, out, err = shell("gan_jax", "replay", trained[0], "--step", 2)
    assert (code, out) == (0, f"{trained[0]} stays finite up to round 4: there is nothing to mend.\n"), err


def test_evaluate_a_run_and_images(trained, shell, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    code, out, err = shell("gan_jax", "evaluate", trained[0], "--n", 70, "--real", 200)  # the data is the run's own
    assert code == 0 and len(out.splitlines()) == 6 and out.startswith("Fréchet distance (pixels) ")
    assert all("real 200, fake 70" in line and "(5 draws of samples)" in line for line in out.splitlines()), out
    (row,) = [json.loads(line) for line in (trained[0] / "scores.jsonl").read_text().splitlines()]
    assert row["step"] == 4 and row["scores"]["recall"]["protocol"]["reference"].startswith("digits train ")
    assert str(Score(**row["scores"]["recall"])) in out
    assert shell("gan_jax", "sample", trained[0], "--n", 60, "--out", "fakes.npz")[0] == 0
    x = np.load(tmp_path / "fakes.npz")["samples"]
    np.savez(tmp_path / "images.npz", x=x)
    flags = ["--data", "digits", "--scores", "prdc", "--real", 200, "--out", "scores.jsonl"]
    code, out, _ = shell("gan_jax", "evaluate", "images.npz", *flags)
    assert code == 0 and "(10 pairs of half the samples)" in out and (tmp_path / "scores.jsonl").exists()
    code, out, err = shell("gan_jax", "evaluate", "digits", *flags)
    assert code == 0 and "warning: 11% of these images are real ones, byte for byte." in err
    assert "error: --n 0 samples of a run give no score" in shell("gan_jax", "evaluate", trained[0], "--n", 0)[2]


def test_points_are_drawn_and_scored_as_their_paper_does(shell, tmp_path, monkeypatch):
    wide = mixtures.ring(sigma=0.4)  # so that samples of no training are near to some of the modes
    monkeypatch.setitem(papers.paper("pacgan").module.MIXTURES, "ring", wide)
    small = ["--batch", 8, "--width-G", 8, "--width-D", 4, "--samples", 300, "--run", "a"]
    flags = ["--steps", 4, "--score-every", 2, "--sample-every", 2, "--best=-score/modes"]
    code, out, err = shell("pacgan.py", "ring", *small, *flags)
    assert code == 0 and "sample a --n 2500" in out, err
    rows = [row for row in read_rows(tmp_path / "a") if "score/modes" in row]
    samples = load(tmp_path / "a").sample(jax.random.key(0), 300)
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
    draws = [load(tmp_path / "a").sample(key, 300) for key in jax.random.split(jax.random.key(3), 5)]
    modes = np.mean([modes_covered(x, wide)["modes"].value for x in draws])
    assert kept["step"] == 4 and kept["scores"]["modes"]["value"] == pytest.approx(modes)
    assert cli._own_scores(json.loads((tmp_path / "a" / "config.json").read_text()), 60)[1] == 60
    assert command("sample", "a", "--n", 99, "--out", "x.png")[0] == 0
    with Image.open(tmp_path / "x.png") as picture:
        np.testing.assert_array_equal(
            np.asarray(picture), show.scatter(load(tmp_path / "a").sample(jax.random.key(0), 99))
        )
    assert "error: a makes no images but arrays of shape [2], which" in command("evaluate", "a", "--scores", "prdc")[2]
    err = shell("pacgan.py", "ring", *small, "--score-every", 2, "--scores", "prdc")[2]
    assert "error: --scores are of images, not of arrays of shape [2]: leave it out." in err


def test_scores_along_a_run_by_flags(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    flags = ["--score-every", 2, "--scores", "kernel_distance", "--score-n", 40, "--best", "score/kernel_distance"]
    assert shell("mlp.py", "small", "--steps", 4, "--run", "a", *flags)[0] == 0
    assert [row["step"] for row in read_rows(tmp_path / "a") if "score/kernel_distance" in row] == [2, 4]
    code, _, err = shell("mlp.py", "small", "--run", "b", "--score-every", 2, "--scores", "prdx")
    assert code == 2 and "There is no score 'prdx'" in err and not (tmp_path / "b").exists()


def test_list(shell):
    code, out, _ = shell("gan_jax", "list")
    head, *rows = out.splitlines()
    assert code == 0 and head.split() == ["paper:preset", "sample", "parameters", "GFLOP/round", "reproduction"]
    module, config = papers.preset("mlp:wide")
    spec = {name: [[config.batch, *x.shape], x.dtype] for name, x in module.example(config).items()}
    work = cost.flops(module.game(config), spec) / 1e9
    weights = (14 * 16 + 16 + 16 * 64 + 64) + (74 * 16 + 16 + 16 + 1)
    assert rows[1].split() == ["mlp:wide", "8x8x1", f"{weights:,}", f"{work:.2f}", "not", "run"] and len(rows) == 3
    assert rows[2].split()[:2] == ["swap:negatives", "8x8x1"]


def test_cost(shell):
    code, out, _ = shell("gan_jax", "cost", "mlp:small")
    words = [line.split() for line in out.splitlines()]
    assert code == 0 and words[0] == ["D", f"{74 * 8 + 8 + 8 + 1:,}", "parameters"]
    assert [line[0] for line in words[1:]] == ["G", "a", "memory", "pace", "expected"]
    assert words[2][-3:] == ["32", "images", "read"]
    assert words[5][-5:] == ["for", "4", "rounds,", "compilation", "included"]


def test_help(shell):
    code, out, _ = shell("mlp.py", "--help")
    assert code == 0 and "arXiv:1411.1784" in out and "--width INT" in out and "of the hidden layers" in out
    assert "recipe options" in out and "run options" in out and "--from STR" in out and "--checkpoint-every" in out
    code, out, _ = shell("gan_jax")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == [
        "usage:",
        "list",
        "cost",
        "sample",
        "translate",
        "evaluate",
        "fork",
        "replay",
    ]


def pictures(folder, spoilt=False):
    folder.mkdir()
    for i in range(3):
        Image.fromarray(np.full((8, 8), 50 * i, np.uint8)).save(folder / f"{i}.png")
    if spoilt:
        (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:40])


WORDS = {
    "mnist --data nowhere": "'nowhere' is neither a path nor a built-in set (digits): give a path that exists",
    "mnist --data dgits": "'dgits' is neither a path nor a built-in set (digits): did you mean 'digits'?",
    "faces --data empty": "'empty' has no pictures in it (.png, .jpg, .jpeg, .webp): give another folder or tar.",
    "faces --data spoilt": "'1.png' in 'spoilt' is a truncated or corrupt picture: replace or remove it.",
    "faces --data few --batch 4": "a batch of 4 is more than the 3 images there are: give --batch 3 or less.",
    "digit": "dcgan has no preset 'digit' (did you mean 'digits'?): it has digits, mnist, mnist-small, faces.",
    "digits --stpes 3": "There is no flag --stpes (did you mean '--steps'?): --help shows them all.",
    "digits --width_g=3": "There is no flag --width-g (did you mean '--width-G'?): --help shows them all.",
    "digits extra": "Unrecognized options: extra (--help shows all flags)",
    "digits --lr -0.1": "--lr is -0.1: it must be 0 or more.",
    "digits --lr nan": "--lr is nan: it must be 0 or more.",
    "digits --seed -1": "--seed is -1: it must be 0 or more.",
    "digits --steps -5": "--steps is -5: it must be 1 or more.",
    "digits --batch 0": "--batch is 0: it must be 1 or more.",
    "digits --log-every 0": "--log-every is 0: it must be 1 or more.",
    "digits --batch many": "Error parsing --batch: invalid literal for int() with base 10: 'many'",
    "digits --lr": "Missing value for argument '--lr'.",
    "digits --order random": "invalid choice 'random' for argument '--order'. Expected one of ('simultaneous',",
    "digits --size 30": "DenseGenerator does not take size 30: give a multiple of 4, as 32.",
    "digits --width-G 6": "DenseGenerator does not take width 6: give a multiple of 4, as 8.",
    "digits --size 48 --networks pytorch": "DCGAN's networks do not take size 48: give 8, 16, 32, 64 and so on.",
    "digits --channels 2": "--channels 2 is neither 1 (grey) nor 3 (colour).",
    "digits --run file/run": "HERE/file/run cannot be written (Not a directory): give another --run.",
    "digits --run few": "HERE/few is not empty and holds no run: give another --run.",
    "digits --from few": "few is not a run: it has no config.json. Give the folder that --run named.",
    "digits --best FID": "There is no metric 'FID' to choose the best checkpoint by: give one of D(G(z)) after",
}


COMMANDS = {
    "evaluate nowhere": "There is nothing to compare with: name the real images by --data.",
    "evaluate nowhere --data digits": "'nowhere' is neither a path nor a built-in set",
    "evaluate digits --data digits --n -1": "--n -1, --real 0 and --draws 5 count something: they must be 0 or more.",
    "lst": "There is no command 'lst' (did you mean 'list'?): there are list, cost, sample, translate,",
    "cost dgan:digits": "There is no paper 'dgan': `python -m gan_jax list` shows them all",
    "cost mlp:smal": "mlp has no preset 'smal' (did you mean 'small'?): it has small, wide.",
    "cost": "Missing from python -m gan_jax cost: STR title (required)",
    "sample nowhere": "nowhere is not a run: it has no config.json. Give the folder that --run named.",
    "sample RUN --out x.jpg": "--out x.jpg must end in .png or .npz.",
    "sample RUN --out file/deep/x.npz": "file/deep/x.npz cannot be written (Not a directory); choose another place.",
    "sample RUN --n 0": "--n is 0: it must be at least 1.",
    "sample RUN --n few": "Error parsing --n: invalid literal for int() with base 10: 'few'",
    "sample RUN --class 10": "y is 10, but the classes are 0 to 9.",
    "sample RUN --truncation 0": "truncation is 0.0, but the bound of |z| must be positive; 2 is mild.",
    "sample RUN --step 3": "There is no checkpoint 3 in RUN/checkpoints; there are [2, 4].",
    "sample RUN --sed 3": "Unrecognized options: --sed, 3",
    "replay RUN": "RUN stands at round 4: say up to which later round to play, by steps.",
    "replay RUN --member 0": "RUN is one training, which has no members: leave out the member.",
    "replay RUN --step 3": "There is no checkpoint 3 in RUN/checkpoints; there are [2, 4].",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_what_the_user_of_a_command_can_mend(shell, tmp_path, trained, words):
    (tmp_path / "file").touch()
    fill = lambda text: text.replace("RUN", str(trained[0]))
    code, out, err = shell("gan_jax", *fill(words).split())
    assert code == 2 and out == "" and err.count("\n") == 1 and err.startswith(f"error: {fill(COMMANDS[words])}")


def test_a_folder_of_another_run_names_the_fields(shell, trained):
    code, out, err = shell("mlp.py", "wide", "--run", trained[0], "--lr", 0.1, "--steps", 9)
    differ = "lr 0.001 → 0.1, paper mlp:small → mlp:wide, width 8 → 16"
    assert code == 2 and out == ""
    assert err == f"error: {trained[0]} holds another run ({differ}): give another --run, or the same values again.\n"


@pytest.mark.parametrize("words", WORDS)
def test_what_the_user_can_mend_is_one_line(shell, tmp_path, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    pictures(tmp_path / "few")
    pictures(tmp_path / "spoilt", spoilt=True)
    code, out, err = shell("dcgan.py", *words.split())
    *said, line = err.splitlines()
    assert code == 2 and out == "" and said == (["'few': 3 pictures."] if "--data few" in words else [])
    assert line.startswith(f"error: {WORDS[words]}".replace("HERE", str(tmp_path)))


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
    assert child.returncode == 0 and f"run has {saved + 3} rounds" in child.stdout, child.stderr
    command = [sys.executable, "-m", "gan_jax", "sample", "run", "--class", "3"]
    child = subprocess.run(command, **how)
    assert (child.returncode, child.stderr) == (2, "error: The samples of this game take no y: leave it out.\n")
