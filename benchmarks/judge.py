"""Whether samples of digits are good, by a classifier of real ones and by precision and recall of pixels.

    python benchmarks/judge.py runs/a runs/b runs/c --data digits --out experiments/results/digits.json

A run is good if, of 1,000 samples, at least 9 classes in 10 have 3 % or more, the classifier's mean top probability is
0.8 or more, and precision and recall (k = 5, pixels, against 1,000 of the real images of its training set) are 0.5 or
more. The classifier must have an accuracy of 97 % on held-out real images. Its mean top probability on those, on their
shuffled pixels and on noise is reported as well, since the probabilities of an overconfident classifier mean nothing.
"""

import contextlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import Float

from benchmarks.record import hardware, mean_se, record
from gan_jax import data as sources
from gan_jax.errors import UserError
from gan_jax.metrics import prdc
from gan_jax.pixels import to_float
from gan_jax.runs import paper as papers
from gan_jax.runs.folder import describe, read_rows
from gan_jax.runs.load import load

SAMPLES = 1000
ACCURACY, CLASSES, SHARE, TOP, OVERLAP = 0.97, 0.9, 0.03, 0.8, 0.5


@dataclass(frozen=True)
class Judge:
    """A classifier of real images, how it did on its tests, and real images to compare with."""

    classifier: Any
    trial: dict[str, float]
    reference: Float[np.ndarray, "n d"]

    def __call__(self, samples) -> dict[str, Any]:
        """Scores of samples [n, h, w, c] in [-1, 1], and whether they are good."""
        x = np.asarray(samples, np.float32).reshape(len(samples), -1)
        probability = self.classifier.predict_proba(x)
        shares = np.bincount(probability.argmax(1), minlength=probability.shape[1]) / len(x)
        found = {
            "classes": int((shares >= SHARE).sum()),
            "top_probability": float(probability.max(1).mean()),
            **{name: score.value for name, score in prdc(self.reference, x, k=5).items()},
        }
        good = (
            self.trial["accuracy"] >= ACCURACY
            and found["classes"] >= CLASSES * len(shares)
            and found["top_probability"] >= TOP
            and min(found["precision"], found["recall"]) >= OVERLAP
        )
        return found | {"shares": shares.round(4).tolist(), "good": bool(good)}


def fit(train: sources.Set, held_out: sources.Set) -> Judge:
    """A perceptron with one hidden layer on the pixels of {"x": uint8 [n, h, w, c], "y": [n]}."""
    from sklearn.neural_network import MLPClassifier

    x, x_held = flat(train), flat(held_out)
    epochs = max(10, 90_000 // len(x))
    classifier: Any = MLPClassifier(256, batch_size=128, max_iter=epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        classifier.fit(x, train["y"])
    rng = np.random.default_rng(0)
    top = lambda images: float(classifier.predict_proba(images).max(1).mean())
    trial = {
        "accuracy": float(classifier.score(x_held, held_out["y"])),
        "top_on_held_out": top(x_held),
        "top_on_shuffled_pixels": top(rng.permuted(x_held, axis=1)),
        "top_on_noise": top(rng.uniform(-1, 1, x_held.shape)),
    }
    return Judge(classifier, trial, x[rng.permutation(len(x))[:SAMPLES]])


def flat(data: sources.Set) -> Float[np.ndarray, "n d"]:
    """Pixels of each image in a row, in [-1, 1]."""
    return to_float(np.asarray(data["x"]).reshape(len(data["x"]), -1))


def split(name: str) -> tuple[sources.Set, sources.Set]:
    """(train, held out): the published split, or 4/5 and 1/5 at random of data without one."""
    data = sources.load(name)
    with contextlib.suppress(UserError):  # it has no such split
        return data, sources.load(name, split="test")
    order = np.random.default_rng(0).permutation(len(data["x"]))
    part = lambda rows: {field: leaf[rows] for field, leaf in data.items()}
    return part(order[len(order) // 5 :]), part(order[: len(order) // 5])


def main(
    runs: tyro.conf.Positional[tuple[Path, ...]],
    /,
    out: Path,
    data: str = "digits",
    trained_on: str = "",
    notes: str = "",
) -> None:
    """Score RUN … against the real images of --data, and write the scores to --out.

    --trained-on names the hardware that they were trained on, if it is another machine's.
    """
    train, held_out = split(data)
    judge = fit(train, held_out)
    found = [judge(load(folder).sample(0, SAMPLES)["x"]) for folder in runs]
    about = [describe(folder) for folder in runs]
    paper, steps = about[0]["paper"], about[0]["config"]["steps"]
    recipe = papers.preset(paper)[1].steps
    scores = {name: mean_se([float(row[name]) for row in found]) for name in found[0] if name not in ("shares", "good")}
    record(
        out,
        paper=paper,
        ran=f"{steps:,} of the recipe's {recipe:,} rounds",
        share=steps / recipe,
        published=None,
        scores=scores,
        headline="coverage",
        seeds=[row["config"]["seed"] for row in about],
        finding=f"good in {sum(row['good'] for row in found)} of {len(found)} seeds",
        seconds=mean_se([read_rows(folder)[-1]["seconds"] for folder in runs]),
        runs=[row | {"config": of["config"]} for row, of in zip(found, about, strict=True)],
        classifier=judge.trial,
        held_out=judge(to_float(held_out["x"][:SAMPLES])),
        protocol=" ".join(__doc__.split("\n\n")[2].split()),
        hardware=trained_on or hardware(),
        notes=notes,
    )
    for name, value in scores.items():
        print(f"{name:<16} {value['mean']:.3f} ± {value['se'] or 0:.3f}")
    print(f"{sum(row['good'] for row in found)} of {len(found)} are good; {out} has the rest.")


if __name__ == "__main__":
    tyro.cli(main)
