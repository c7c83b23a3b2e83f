"""Scores of real test images, the floor for any GAN, and of runs under the same protocol.

    python benchmarks/scores.py mnist --data ../shared/data/mnist \\
        --classifier runs/classifiers/mnist.npz --runs runs/mnist-small --out experiments/results/scores_mnist.json

Reference: random training images, at most 5,000. Samples: as many as there are test images, at most 5,000 (sliced
Wasserstein and MS-SSIM: 1,000). Of data without a test split, a fifth is held out. Features: pixels, a network with
random weights, and the last hidden layer of a classifier of the data if one is given, which scores with classes need.
There is no Fréchet distance of pixels. The standard error is over halves of the real images, or over 5 draws of a run.
"""

from pathlib import Path

import numpy as np
import tyro

from benchmarks.judge import split
from benchmarks.record import record
from gan_jax import data as sources
from gan_jax import metrics
from gan_jax.data.synthetic import stack
from gan_jax.metrics import Extractor, extract, extractors
from gan_jax.metrics.protocols import ON_IMAGES, score_images, scorer
from gan_jax.metrics.references import reference
from gan_jax.runs.folder import describe
from gan_jax.runs.load import load
from gan_jax.runs.score import score_run

MOST, OF_IMAGES = 5000, 1000
NEIGHBOURS = ("kernel_distance", "prdc", "nearest_neighbour_test")
BY_CLASS = ("intra_class", "classification_accuracy")


def main(
    name: tyro.conf.Positional[str],
    /,
    data: str,
    out: Path,
    classifier: str = "",
    runs: tuple[Path, ...] = (),
    held_out: str = "",
    notes: str = "",
) -> None:
    """Score the test images of --data, called NAME in the result, and the --runs; write the scores to --out.

    --held-out names a split to use in place of test, where test images are distributed differently from train.
    """
    train, test = (sources.load(data), sources.load(data, split=held_out)) if held_out else split(data)
    n = min(len(test["x"]), MOST)
    protocols: list[tuple[Extractor, tuple[str, ...], int]] = [
        (extractors.pixels(), NEIGHBOURS, n),
        (extractors.random_network(), ("frechet_distance", *NEIGHBOURS), n),
    ]
    if classifier:
        names = ("frechet_distance", *NEIGHBOURS, "inception_score", *BY_CLASS)
        protocols.append((extractors.classifier(classifier), names, n))
    if test["x"].shape[1] >= 16:
        protocols.append((extractors.pixels(), tuple(ON_IMAGES), min(n, OF_IMAGES)))
    floor, of_runs = {}, {str(run): {} for run in runs}
    for extractor, names, n in protocols:
        against = reference(train, f"{name} train", extractor, limit=MOST)
        floor |= written(score_images(test, against, names, n=n))
        for run in runs:  # the samples have no labels
            unlabelled = [name for name in names if name not in BY_CLASS]
            of_runs[str(run)] |= written(score_run(load(run), scorer(against, unlabelled), n=n))
        print(f"{len(floor)} scores, {extractor.name} done", flush=True)
    if name == "mnist":
        floor |= written(historical(train, test)) | written(stacked(test, classifier))
    record(
        out,
        what=f"scores of {name}: real images ({held_out or 'test'}), and runs",
        floor=floor,
        runs=[{"run": run, "paper": describe(Path(run))["paper"], "scores": found} for run, found in of_runs.items()],
        protocol=" ".join(__doc__.split("\n\n")[2].split()),
        notes=notes,
    )


def historical(train, test):
    """The Parzen log-likelihood of MNIST's training images as samples."""
    flat = lambda x: x.reshape(len(x), -1) / 255
    x = flat(train["x"][np.random.default_rng(0).permutation(len(train["x"]))])
    return {"parzen": metrics.parzen_log_likelihood(x[:10_000], x[10_000:11_000], flat(test["x"]))}


def stacked(test, classifier, n=25_600):
    """Modes of stacked real digits by the classifier, and the same of labels drawn at random."""
    x = stack(test, n)["x"]
    read = lambda c: extract(extractors.classifier(classifier), x[..., c : c + 1])[1]
    digits = np.stack([np.asarray(read(c)).argmax(1) for c in range(3)], 1)
    shares = np.bincount(test["y"], minlength=10) / len(test["y"])
    found, anchor = metrics.stacked_modes(digits), metrics.perfect_stacked_modes(n, shares)
    return {f"stacked {k}": v for k, v in found.items()} | {f"stacked {k}, perfect": v for k, v in anchor.items()}


def written(scores):
    """{"key: name": fields of the Score}; the name says which extractor was used."""
    return {f"{key}: {score.name}": vars(score) for key, score in scores.items()}


if __name__ == "__main__":
    tyro.cli(main)
