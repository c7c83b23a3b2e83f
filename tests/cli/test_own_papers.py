"""Papers of one's own: the file that is started is the one that runs, wherever it lies; `train` and `new`."""

import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT

import gan_jax
from gan_jax import cli
from gan_jax.cli.new import TEMPLATE
from gan_jax.errors import UserError
from gan_jax.runs import paper as papers

DCGAN = ROOT / "experiments" / "dcgan.py"
SMALL = ["--width-G", "4", "--width-D", "4", "--batch", "4", "--steps", "1", "--no-cache"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """(words) -> exit code, stdout, stderr of `python FILE …` or `python -m gan_jax …` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", list(words) if words[0].endswith(".py") else ["gan_jax", *words])
        try:
            cli.experiment(str(tmp_path / words[0])) if words[0].endswith(".py") else cli.main()
        except SystemExit as stop:
            return stop.code or 0, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


def copied(folder, latent):
    """dcgan.py elsewhere, under the same name, with another default."""
    (folder / "dcgan.py").write_text(re.sub(r"latent=32\)", f"latent={latent})", DCGAN.read_text()))


def test_a_copy_elsewhere_is_what_it_says(command, tmp_path):
    copied(tmp_path, 48)
    code, out, _ = command("dcgan.py", "digits", "--help")
    assert code == 0 and re.search(r"--latent N .*\(default 48\)", out) and "dcgan.py [digits|mnist|" in out
    code, out, err = command("dcgan.py", "digits", *SMALL, "--sample-every", "99")
    assert code == 0, err
    run = tmp_path / "runs" / "dcgan-digits"
    about = json.loads((run / "config.json").read_text())
    assert (about["paper"], about["config"]["latent"]) == ("dcgan.py:digits", 48)
    params = gan_jax.load(run, paper="dcgan.py").state.params["G"]
    assert [w.shape[0] for w in jax.tree.leaves(params) if 48 in w.shape] == [48]

    with pytest.raises(
        UserError, match=r"is a run of 'dcgan\.py', a paper of your own: give its file again, by --paper"
    ):
        gan_jax.load(run)
    for words in (["sample"], ["evaluate", "--n", "9"], ["replay"], ["fork", "--steps", "2"]):
        code, _, err = command(words[0], str(run), *words[1:])
        assert code == 2 and "a paper of your own: give its file again, by --paper" in err and err.count("\n") == 1
    code, _, err = command("sample", str(run), "--n", "4", "--out", "x.npz", "--paper", "dcgan.py")
    assert code == 0 and np.load(tmp_path / "x.npz")["samples"].shape == (4, 8, 8, 1), err
    code, _, err = command("sample", str(run), "--paper", str(ROOT / "experiments" / "r3gan.py"))
    assert code == 2 and "This is a run of 'dcgan.py:digits', not of 'r3gan:digits': give that paper's file." in err
    code, _, err = command("sample", str(run), "--paper", str(DCGAN))  # the shipped one is another paper
    assert code == 2 and "This is a run of 'dcgan.py:digits', not of 'dcgan:digits'" in err and err.count("\n") == 1


def test_the_shipped_one_is_found_by_its_path_too(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(DCGAN), "digits", "--help"])
    with pytest.raises(SystemExit, match="0"):
        cli.experiment(str(DCGAN))
    assert re.search(r"--latent N .*\(default 32\)", capsys.readouterr().out)
    assert papers.paper(DCGAN).shipped


def test_train_by_name_is_the_file(command, tmp_path):
    """The same run: what one has begun the other goes on with."""
    code, _, err = command("train", "dcgan:digits", *SMALL, "--sample-every", "99", "--run", "a")
    assert code == 0 and json.loads((tmp_path / "a" / "config.json").read_text())["paper"] == "dcgan:digits", err
    flags = ["digits", *SMALL, "--sample-every", "99", "--run", str(tmp_path / "a"), "--steps", "2"]
    child = subprocess.run([sys.executable, DCGAN, *flags], capture_output=True, text=True, env=os.environ)
    assert child.returncode == 0, child.stderr
    assert int(gan_jax.load(tmp_path / "a").state.step) == 2


def test_new_writes_a_paper_that_trains(command, tmp_path):
    code, out, err = command("new", "deep/mine.py")
    assert (code, out, err) == (0, "Wrote deep/mine.py. Train it:  python deep/mine.py\n", "")
    text = (tmp_path / "deep" / "mine.py").read_text()
    assert "template" not in text and "python mine.py" in text and len(text.splitlines()) <= 90
    code, _, err = command("new", "deep/mine.py")
    assert (code, err) == (2, "error: deep/mine.py is there already: give another name.\n")
    child = subprocess.run(
        [sys.executable, "deep/mine.py", "--steps", "3", "--log-every", "1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert child.returncode == 0 and (tmp_path / "runs" / "mine-small" / "samples" / "3.png").exists(), child.stderr
    code, out, err = command("train", "deep/mine.py:small", "--steps", "4")
    assert code == 0 and "python -m gan_jax sample runs/mine-small --paper deep/mine.py\n" in out, err
    assert int(gan_jax.load(tmp_path / "runs" / "mine-small", paper=tmp_path / "deep" / "mine.py").state.step) == 4


@pytest.mark.slow
def test_a_new_paper_learns_the_digits(command, tmp_path):
    """The template as it is, beside pixels drawn independently with the mean and deviation of the digits."""
    from gan_jax import data, metrics

    assert command("new", "mine.py")[0] == 0 and command("train", "mine.py")[0] == 0
    real = data.load("digits")["x"].reshape(-1, 64) / 127.5 - 1
    made = gan_jax.load(tmp_path / "runs" / "mine-small", paper="mine.py").sample(0, 1000)["x"].reshape(-1, 64)
    noise = np.random.default_rng(0).normal(real.mean(0), real.std(0), (1000, 64))
    of_made, of_noise = metrics.prdc(real, made), metrics.prdc(real, noise)
    for name, least in (("precision", 0.25), ("coverage", 0.1)):
        assert of_noise[name].value < 0.02 and of_made[name].value > least


def test_the_template_is_a_paper():
    paper = papers.paper(TEMPLATE)
    assert papers.fields.of(paper.config()) and type(paper.tiny) is type(paper.config())
    assert paper.data(paper.config())["x"].shape == (1797, 8, 8, 1)


def test_a_recipe_s_field_that_is_a_flag_of_every_run(command, tmp_path):
    (tmp_path / "mine.py").write_text(
        TEMPLATE.read_text().replace("latent: int = 16", "latent: int = 16\n    devices: int = 2")
    )
    code, _, err = command("mine.py")
    said = "error: The recipe has a field 'devices', which is a flag of every run: give it another name.\n"
    assert (code, err) == (2, said)
