"""gan_jax/evaluate.py: scores of runs and images under one protocol, at the end and along a training."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax import metrics
from gan_jax.data import load
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.metrics import extractors
from gan_jax.optimizers import adam
from gan_jax.runs import score as evaluate
from gan_jax.runs.run import Run, read_rows
from gan_jax.training.loop import train

DIGITS = load("digits")
PART = {name: leaf[:300] for name, leaf in DIGITS.items()}
OTHER = {name: leaf[300:600] for name, leaf in DIGITS.items()}
NAMES = ("frechet_distance", "kernel_distance", "prdc")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def against():
    return evaluate.reference(PART, "digits train", extractors.pixels())


def redraw(nets, key, n):
    """A perfect sampler but for copies: real digits at random."""
    rows = jax.random.choice(key, len(DIGITS["x"]), (n,))
    return jnp.asarray(DIGITS["x"])[rows] / 127.5 - 1


PERFECT = Game({}, lambda nets, batch, key, step: {}, (), sample=redraw)


def perfect():
    return Run(PERFECT, train_state())


def train_state():
    return jax.tree.map(jnp.asarray, train(PULLED, PART["x"], steps=1, batch=4, progress=False).state)


def pull(nets, batch, key, step):
    """One player, drawn to the mean digit."""
    return {"G": Loss(jnp.square(nets["G"](jnp.ones((1, 1))).reshape(8, 8, 1) - batch["x"]).mean())}


PULLED = Game(
    {"G": Player(nn.Dense(64), adam(1e-2))},
    pull,
    (move("G"),),
    sample=lambda nets, key, n: jnp.clip(
        nets["G"](jnp.ones((n, 1))).reshape(n, 8, 8, 1) + 0.1 * jax.random.normal(key, (n, 8, 8, 1)), -1, 1
    ),
)


def test_a_run_is_scored_over_draws(against):
    found = evaluate.score_run(perfect(), evaluate.scorer(against, NAMES), n=200)
    assert list(found) == ["frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"]
    assert all(score.source == "5 draws of samples" and score.uncertainty > 0 for score in found.values())
    assert abs(found["kernel_distance"].value) < 0.02 and found["precision"].value > 0.8
    about = {"real": 300, "fake": 200, "k": 5, "extractor": "pixels", "resize": "none"}
    assert found["recall"].protocol == about | {
        "reference": f"digits train {against.protocol['reference'][-8:]}",
        "images": "8 x 8 x 1",
    }
    assert str(found["recall"]).startswith("recall (pixels) 0.")
    with pytest.raises(UserError, match="4 draws give no uncertainty: take 5 or more"):
        evaluate.score_run(perfect(), evaluate.scorer(against, NAMES), n=200, draws=4)
    again = evaluate.score_run(perfect(), evaluate.scorer(against, NAMES), n=200)
    assert again == found and evaluate.score_run(perfect(), evaluate.scorer(against, NAMES), n=200, seed=1) != found


def test_images_are_scored_over_halves(against):
    found = evaluate.score_images(OTHER, against, (*NAMES, "intra_class", "ms_ssim", "nearest_neighbour_test"))
    x, y = (data["x"].reshape(300, -1) / np.float32(127.5) - 1 for data in (PART, OTHER))
    np.testing.assert_allclose(found["frechet_distance"].value, metrics.frechet_distance(x, y).value, rtol=1e-5)
    np.testing.assert_allclose(found["precision"].value, metrics.prdc(x, y)["precision"].value, atol=1e-12)
    assert found["intra_class"].protocol["classes"] == 10
    assert all(score.source == "10 pairs of half the samples" and score.uncertainty > 0 for score in found.values())
    assert found["ms_ssim"].name == "MS-SSIM"  # of images, whatever the extractor
    assert evaluate.score_images(OTHER, against, ["prdc"], n=100)["recall"].protocol["fake"] == 100


def test_scores_against_other_references_refuse_to_be_compared(against):
    there = evaluate.reference(OTHER, "digits train", extractors.pixels())
    one, other = (evaluate.score_images(OTHER, to, ["frechet_distance"])["frechet_distance"] for to in (against, there))
    with pytest.raises(UserError, match=r"differ in protocol \(reference digits train"):
        print(one - other)


def test_real_features_are_extracted_once(cache, monkeypatch, against):
    (file,) = cache.iterdir()
    monkeypatch.setattr(metrics, "extract", lambda *args, **kw: pytest.fail("extracted again"))
    again = evaluate.reference(PART, "digits train", extractors.pixels())
    np.testing.assert_array_equal(again.real.features, against.real.features)
    pixels = again.real.images.reshape(300, -1) / np.float32(127.5) - 1
    np.testing.assert_allclose(pixels, again.real.features, atol=2e-7)
    for damaged in (b"", file.read_bytes()[:-100]):
        file.write_bytes(damaged)
        monkeypatch.undo()
        monkeypatch.setenv("GAN_JAX_CACHE", str(cache))
        np.testing.assert_array_equal(
            evaluate.reference(PART, "digits train", extractors.pixels()).real.features, against.real.features
        )
    monkeypatch.setenv("GAN_JAX_CACHE", "/dev/null/nowhere")
    assert len(evaluate.reference(PART, "digits train", extractors.pixels(), 100).real) == 100


def test_copies_are_found(against):
    assert evaluate.copied(against.real, PART["x"]) == 1
    assert evaluate.copied(against.real, OTHER["x"]) == 0


@pytest.mark.parametrize(
    "names, data, words",
    [
        (["frechet"], OTHER, r"no score 'frechet' \(did you mean 'frechet_distance'\?\)"),
        (["inception_score"], OTHER, "needs a classifier's probabilities: give a classifier as --extractor"),
        (["intra_class"], {"x": OTHER["x"]}, "needs the classes of the generated images"),
        (["prdc"], {"x": OTHER["x"][:8]}, "needs 6 samples or more in each set; there are 300 and 4"),
        (
            ["prdc"],
            {"x": np.zeros((20, 8, 8, 3), np.uint8)},
            "Samples of 8 x 8 x 3 cannot be scored against .* 8 x 8 x 1",
        ),
        (["sliced_wasserstein"], OTHER, "16"),
    ],
)
def test_what_cannot_be_scored_is_told(against, names, data, words):
    with pytest.raises(UserError, match=words):
        evaluate.score_images(data, against, names)


def test_scores_along_a_training_and_the_best_checkpoint_by_them(tmp_path, against):
    observe = evaluate.callback(against, ["kernel_distance", "prdc"], n=100)
    how = {"batch": 16, "callbacks": [(10, *observe)], "log_every": 10, "checkpoint_every": 10, "progress": False}
    run = train(PULLED, PART["x"], steps=60, run=tmp_path / "run", best="-score/kernel_distance", **how)
    rows = [row for row in read_rows(run.folder) if "score/precision" in row]
    assert [row["step"] for row in rows] == list(range(10, 70, 10))
    distances = [row["score/kernel_distance"] for row in rows]
    kept = {int(path.name) for path in (run.folder / "checkpoints").iterdir()}
    assert kept == {50, 60, rows[int(np.argmax(distances))]["step"]} and np.argmax(distances) < 4
    with pytest.raises(UserError, match=r"no metric 'score/kernel'.*score/kernel_distance"):
        train(PULLED, PART["x"], steps=1, run=tmp_path / "typo", best="score/kernel", **how)
    with pytest.raises(UserError, match="needs a classifier's probabilities"):
        evaluate.callback(against, ["inception_score"], n=100)


def test_extractors_by_name():
    assert evaluate.extractor("pixels").name == "pixels" and evaluate.extractor("random").name == "random network 0"
    with pytest.raises(UserError, match="--extractor pixel is none of pixels, random"):
        evaluate.extractor("pixel")
    with pytest.raises(UserError, match="--resize pil_bicubic is for the Inception network"):
        evaluate.extractor("pixels", "pil_bicubic")
    assert [evaluate.stem(s) for s in ("digits", "../a/b.tar.gz", "x/y/", "tfds:mnist", "f.npz")] == [
        "digits", "b", "y", "tfds:mnist", "f"
    ]  # fmt: skip


def test_scores_are_written_as_json(against):
    found = evaluate.score_images(OTHER, against, ["prdc"])
    back = json.loads(json.dumps({name: vars(score) for name, score in found.items()}))
    assert {name: metrics.Score(**score) for name, score in back.items()} == found
