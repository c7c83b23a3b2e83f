"""What a person sees: few, aligned rows, and a word when one side wins; where compiled programs are kept."""

import os
import subprocess
import sys

import jax
import pytest
from conftest import ROOT

from gan_jax.training.cache import keep_programs
from gan_jax.training.report import Report

pytestmark = pytest.mark.usefixtures("no_curves")

ROW = {
    "seconds": 1.0,
    "epoch": 2.0,
    "D(x)": 0.56,
    "D(G(z)) after": 0.45,
    "grad/D": 3.0,
    "loss/D": 1.31,
    "loss/G": 0.91,
    "lr/D": 5e-4,
}


def shown(capsys, rows, steps, **how):
    with Report(steps, **how) as report:
        for row in rows:
            report.row(row)
    return capsys.readouterr().out.splitlines()


def test_about_ten_aligned_rows(capsys):
    rows = [ROW | {"step": t, "images_per_second": 6400.0 + t} for t in range(100, 6001, 100)]
    lines = shown(capsys, rows, 6000)
    assert len(lines) == 12 and len({len(line) for line in lines}) == 1 and len(lines[0]) <= 100
    assert lines[0].split() == ["round", "loss", "D", "loss", "G", "D(G(z))", "D(x)", "images/s"]
    assert lines[-1].split() == ["6,000", "100%", "1.31", "0.91", "0.45", "0.56", "12,400"]


def test_every_number_of_every_row(capsys):
    rows = [ROW | {"step": t, "loss/G se": 0.1} for t in range(1, 5)]
    lines = shown(capsys, rows, 4, verbose=True)
    assert len(lines) == 4 and all("grad/D 3" in line and "lr/D 0.0005" in line and " se" not in line for line in lines)


def test_nothing_is_shown_without_progress(capsys):
    assert shown(capsys, [ROW | {"step": 4}], 4, progress=False, header="what is trained") == []


def test_a_word_when_d_wins(capsys):
    sure = {"D(x)": 0.99, "D(G(z)) after": 0.01}
    won = [ROW | sure | {"step": t} for t in (1, 2, 3, 4)]
    said = [line for line in shown(capsys, won, 100) if "D wins" in line]
    assert len(said) == 1 and "since round 1" in said[0]
    logits = [ROW | {"D(x)": 7.0, "D(G(z)) after": -3.0, "step": t} for t in range(1, 9)]
    fair = [ROW | (sure if t % 3 else {}) | {"step": t} for t in range(1, 9)]
    assert not any("wins" in line for rows in (logits, fair) for line in shown(capsys, rows, 100))


def test_games_of_other_players_have_their_losses_as_columns(capsys):
    rows = [{"step": t, "loss/G": 3.0, "loss/D_A": 0.2, "loss/D_B": 0.3, "cycle/A": 0.1} for t in (1, 2)]
    assert shown(capsys, rows, 2)[0].split() == ["round", "loss", "D_A", "loss", "D_B", "loss", "G", "images/s"]


@pytest.fixture
def unset():
    """JAX's own cache folder is not set, until the test ends."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("own", "configured", "given", "expected"),
    [
        ({"GAN_JAX_CACHE": "{tmp}/mine"}, None, None, "{tmp}/mine/programs/"),
        ({"HOME": "{tmp}", "GAN_JAX_CACHE": ""}, None, None, "{tmp}/.cache/gan_jax/programs/"),
        ({}, "{tmp}/theirs", None, "{tmp}/theirs"),
        ({}, "{tmp}/theirs", "{tmp}/given", "{tmp}/given/"),
        ({"GAN_JAX_CACHE": "/proc/nowhere"}, None, None, "None"),
    ],
    ids=["GAN_JAX_CACHE", "home", "already set", "given", "not writable"],
)
def test_where_programs_are_kept(tmp_path, monkeypatch, unset, own, configured, given, expected):
    at = lambda path: path and path.format(tmp=tmp_path)
    for name, value in own.items():
        monkeypatch.setenv(name, at(value))
    if configured:
        jax.config.update("jax_compilation_cache_dir", at(configured))
    returned = str(keep_programs(at(given)))
    assert returned == str(jax.config.jax_compilation_cache_dir) and returned.startswith(at(expected))


GOES_ON = """
import pathlib, sys
from gan_jax.training.report import Report
with Report(10**6) as report:
    for t in range(1, 5000):
        report.write("x" * 99)
pathlib.Path(sys.argv[1]).write_text("done")
"""


def test_a_reader_that_has_gone_ends_no_training(tmp_path):
    command = f"\"{sys.executable}\" -c '{GOES_ON}' {tmp_path}/end 2>/dev/null | head -2"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    said = subprocess.run(command, shell=True, env=env, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["x" * 99] * 2 and (tmp_path / "end").read_text() == "done"
