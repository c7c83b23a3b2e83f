"""What `sample` writes, and what `evaluate` compares with."""

import json

import numpy as np
import pytest

from gan_jax.cli.sample import _write_page
from gan_jax.data import content_hash
from gan_jax.errors import UserError
from gan_jax.runs import paper as papers

PAGE = {"png": b"picture", "wav": b"sound"}
MEMBERS = {"0.wav": b"first", "1.wav": b"second"}
CASES = [
    (None, PAGE, {"samples.png": b"picture", "samples.wav": b"sound"}),
    ("deep/x.wav", PAGE, {"deep/x.wav": b"sound"}),
    ("x.wav", MEMBERS, {"x.0.wav": b"first", "x.1.wav": b"second"}),
]


@pytest.mark.parametrize("out, files, expected", CASES)
def test_a_page_is_written_under_its_suffix(tmp_path, monkeypatch, out, files, expected):
    monkeypatch.chdir(tmp_path)
    written = _write_page(None if out is None else tmp_path / out, files)
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == expected and len(written) == len(expected)


@pytest.mark.parametrize("out", ["x.mp3", "x", "png"])
def test_another_suffix_names_those_there_are(tmp_path, out):
    with pytest.raises(UserError, match=rf"^--out .*{out} must end in \.npz or \.png or \.wav\.$"):
        _write_page(tmp_path / out, PAGE)
    assert not list(tmp_path.iterdir())


def test_labels_are_written_beside_the_samples(mlp_run, shell, tmp_path):
    assert shell("gan_jax", "sample", mlp_run[0], "--n", 5, "--class", 3, "--out", "x.npz")[0] == 0
    found = np.load(tmp_path / "x.npz")
    assert found["samples"].shape == (5, 8, 8, 1) and found["y"].tolist() == [3] * 5


def test_a_run_is_compared_with_what_it_was_trained_on(shell, tmp_path, monkeypatch):
    """Not with what its data source holds: here the digits and their mirror images."""
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    small = ["--width-G", 4, "--width-D", 4, "--batch", 4, "--steps", 1, "--sample-every", 99, "--flip"]
    assert shell("dcgan.py", "digits", *small, "--run", "r")[0] == 0
    words = ["gan_jax", "evaluate", "r", "--scores", "kernel_distance", "--n", 20]
    code, _, err = shell(*words, real=True)
    assert code == 0, err
    (row,) = [json.loads(line) for line in (tmp_path / "r" / "scores.jsonl").read_text().splitlines()]
    protocol = row["scores"]["kernel_distance"]["protocol"]
    paper, config = papers.configured("dcgan:digits", {"flip": True})
    assert protocol["real"] == 2 * 1797 and protocol["reference"].endswith(content_hash(paper.data(config))[:8])
    said = shell(*words, "--split", "test", real=True)[2]
    assert said == "error: 'digits' has no split 'test', only train.\n"
