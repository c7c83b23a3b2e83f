"""gan_jax/runs/score.py: scores of runs, at the end and along a training."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax import population
from gan_jax.data import load
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.metrics import Score, extractors
from gan_jax.metrics.protocols import scorer
from gan_jax.metrics.references import reference
from gan_jax.optimizers import adam
from gan_jax.runs.folder import read_rows
from gan_jax.runs.run import Run
from gan_jax.runs.score import along, callback, score_members, score_run
from gan_jax.runs.train import train

DIGITS = load("digits")
PART = {name: leaf[:300] for name, leaf in DIGITS.items()}
NAMES = ("frechet_distance", "kernel_distance", "prdc")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def against():
    return reference(PART, "digits train", extractors.pixels())


def redraw(nets, key, n):
    """A perfect sampler but for copies: real digits at random."""
    rows = jax.random.choice(key, len(DIGITS["x"]), (n,))
    return jnp.asarray(DIGITS["x"])[rows] / 127.5 - 1


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


@pytest.fixture(scope="module")
def perfect():
    """A training that samples real digits, whatever it has learnt."""
    return train(replace(PULLED, sample=redraw), PART["x"], steps=1, batch=4, progress=False)


def test_a_run_is_scored_over_draws(perfect, against):
    found = score_run(perfect, scorer(against, NAMES), n=200)
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
        score_run(perfect, scorer(against, NAMES), n=200, draws=4)
    again = score_run(perfect, scorer(against, NAMES), n=200)
    assert again == found and score_run(perfect, scorer(against, NAMES), n=200, seed=1) != found


def test_scores_along_a_training_and_the_best_checkpoint_by_them(tmp_path, against):
    observe = callback(against, ["kernel_distance", "prdc"], n=100)
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
        callback(against, ["inception_score"], n=100)


def labelled(shift):
    """Real digits, with labels that are wrong by `shift`."""

    def sample(nets, key, n):
        rows = jax.random.choice(key, len(DIGITS["x"]), (n,))
        x, y = (jnp.asarray(DIGITS[name])[rows] for name in ("x", "y"))
        return {"x": x / 127.5 - 1, "y": (y + shift) % 10}

    return replace(PULLED, sample=sample)


@pytest.mark.filterwarnings("ignore:intra_class of:UserWarning")
def test_scores_by_class_of_a_run_take_the_labels_of_its_samples(perfect, against):
    names = ["intra_class", "classification_accuracy"]
    runs = [Run(labelled(shift), perfect.state) for shift in (0, 1)]
    right, wrong = (score_run(run, scorer(against, names), n=300) for run in runs)
    assert right["classification_accuracy"].value > 0.8 and wrong["classification_accuracy"].value < 0.1
    assert 2 * right["intra_class"].value < wrong["intra_class"].value
    start, logged = along(scorer(against, names), names, 300)
    found = start(runs[0], 1)()
    assert logged == list(found) and found["score/classification_accuracy"] > 0.8
    with pytest.raises(UserError, match="needs the classes of the generated images"):
        score_run(perfect, scorer(against, names), n=300)


@dataclass(frozen=True)
class Level:
    """What the samples of a game are about."""

    level: float = 0.0


def levelled(c: Level) -> Game:
    """One player that learns nothing of note; samples are `level`, and NaN below -1."""
    play = lambda nets, batch, key, step: {"G": Loss(jnp.square(nets["G"](batch["x"])).mean())}
    sample = lambda nets, key, n: jnp.where(c.level < -1, jnp.nan, c.level) + 0.1 * jax.random.normal(key, (n, 2))
    return Game({"G": Player(nn.Dense(1), adam(1e-3))}, play, (move("G"),), sample=sample)


def height(samples):
    """{"height": the mean of the samples}."""
    x = samples["x"]
    assert np.isfinite(x).all()
    return {"height": Score("height", float(x.mean()), {"fake": len(x)})}


def trained(levels, callbacks=()):
    """A population of a member for each level, after two rounds."""
    many = population.of(levelled, Level(), sweep={"level": levels})
    return train(many, np.zeros((8, 2), np.float32), steps=2, batch=2, callbacks=callbacks, log_every=9, progress=False)


def test_a_population_is_scored_over_its_members():
    run = trained([1.0, 2.0, 6.0])
    found = score_run(run, height, n=500)["height"]
    values = np.array([one["height"].value for one in score_members(run, height, n=500)])
    assert np.abs(values - [1, 2, 6]).max() < 0.02  # 0.1 / √1000 = 0.003
    assert found.value == values.mean() and found.source == "3 trainings" and found.protocol == {"fake": 500}
    assert found.uncertainty == values.std(ddof=1) / np.sqrt(3)
    of_one = score_run(run.member(1), height, n=500)["height"]  # the same draws
    with_draws = score_members(run, height, n=500, draws=5)
    assert with_draws[1]["height"] == of_one and of_one.source == "5 draws of samples" and of_one.uncertainty < 0.01
    assert score_run(run, height, n=500, draws=5)["height"].value == np.mean([d["height"].value for d in with_draws])
    with pytest.raises(UserError, match="3 draws of each member give no uncertainty: take 1, or 5 or more"):
        score_members(run, height, n=500, draws=3)
    with pytest.raises(UserError, match="uncertainty over trainings needs 2 or more"):
        score_run(trained([1.0]), height, n=5)


def test_a_member_that_makes_no_numbers_does_not_stop_the_others():
    rows = []
    observe = lambda run, step: lambda: rows.append(start(run, step)())
    start, names = along(height, ["height"], 100)
    trained([1.0, -5.0, 3.0], [(2, observe)])
    (found,) = rows
    assert names == list(found) == ["score/height"]
    np.testing.assert_allclose(found["score/height"], [1, np.nan, 3], atol=0.05)
