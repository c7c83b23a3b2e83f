"""Sound, tokens and video, each a paper in one file outside the package: no line of gan_jax knows them."""

import dataclasses
import io
import wave
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from toy import bits

import gan_jax
from gan_jax.errors import UserError
from gan_jax.runs.experiment import Options, run
from gan_jax.runs.folder import describe, read_rows
from gan_jax.runs.paper import paper
from gan_jax.runs.pictures import page
from gan_jax.runs.score import score_run

HERE = Path(__file__).parent / "own_papers"
SHAPES = {"sound": (64, 1), "tokens": (4,), "video": (3, 4, 4, 1)}
SUFFIXES = {"sound": {"wav", "png"}, "tokens": {"txt"}, "video": {"gif", "png"}}
OPTIONS = {"log_every": 1, "sample_every": 1, "checkpoint_every": 1, "score_every": 2}


@pytest.fixture(scope="module", params=SHAPES)
def trained(request, tmp_path_factory):
    """(Paper, Config, Options, folder) after two rounds."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param) / "run"
    found = paper(HERE / f"{name}.py")
    options = Options(run=str(folder), **OPTIONS)
    run(found, title(found), found.tiny, options)
    return found, found.tiny, options, folder


def title(found):
    return found.title(next(iter(found.presets)))


def opened(content, suffix):
    """Shape of what a file holds."""
    if suffix == "wav":
        with wave.open(io.BytesIO(content)) as file:
            return (file.getnframes(), file.getnchannels())
    return (len(content.splitlines()),) if suffix == "txt" else Image.open(io.BytesIO(content)).size


def test_it_trains_draws_and_is_scored(trained):
    found, config, _, folder = trained
    pages = {path.name for path in (folder / "samples").iterdir()}
    suffixes = SUFFIXES[found.name]
    assert pages == {f"{name}.{suffix}" for name in ("real", 1, 2) for suffix in suffixes}
    for suffix in suffixes:
        assert min(opened((folder / "samples" / f"2.{suffix}").read_bytes(), suffix)) > 0
    (score,) = found.scores(config)({name: np.asarray(x)[:8] for name, x in found.data(config).items()})
    assert any(f"score/{score}" in row for row in read_rows(folder))
    assert describe(folder)["paper"].startswith(f"{found.name}.py")


def test_it_samples_with_labels_and_resumes(trained):
    found, config, _, folder = trained
    with pytest.raises(UserError, match="a paper of your own: give its file again"):
        gan_jax.load(folder)
    loaded = gan_jax.load(folder, paper=found.file)
    labels = np.array([1, 0, 1, 1, 0])
    samples = loaded.sample(3, 5, y=labels)
    assert samples["x"].shape == (5, *SHAPES[found.name]) and (samples["y"] == labels).all()
    assert (loaded.sample(3, 4, y=1)["y"] == 1).all()
    with pytest.raises(UserError, match="y has 3 values for 5 samples"):
        loaded.sample(0, 5, y=[0, 1, 0])
    with pytest.raises(UserError, match="classes are 0 to"):
        loaded.sample(0, 2, y=[0, 7])
    assert set(page(found.show, loaded, samples)) == SUFFIXES[found.name]
    scored = score_run(loaded, found.scores(config), n=config.samples)
    assert all(np.isfinite(score.value) for score in scored.values())


def test_going_on_is_exact(trained, tmp_path):
    found, config, options, _ = trained
    longer = dataclasses.replace(config, steps=4)
    (on,) = run(found, title(found), longer, options)
    (straight,) = run(found, title(found), longer, dataclasses.replace(options, run=str(tmp_path / "straight")))
    assert int(on.state.step) == 4 and bits(on.state) == bits(straight.state)


def test_a_population_of_two(trained, tmp_path):
    found, config, options, _ = trained
    many = dataclasses.replace(options, run=str(tmp_path / "two"), seeds=2)
    (both,) = run(found, title(found), config, many)
    assert both.sample(0, 3, y=0)["x"].shape == (2, 3, *SHAPES[found.name])
    made = jax.tree.map(np.asarray, both.sample(0, found.show.n_members))
    suffixes = SUFFIXES[found.name]
    each = suffixes if found.show.members else {f"{i}.{suffix}" for i in (0, 1) for suffix in suffixes}
    assert page(found.show, both, made).keys() == each
    assert {row.get("member") for row in read_rows(tmp_path / "two")} == {0, 1, None}
