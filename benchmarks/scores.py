"""Every score of real test images, the floor that a GAN is measured against, and of runs under the same protocol.

    python benchmarks/scores.py mnist --data ../shared/data/mnist \\
        --classifier runs/classifiers/mnist.npz --runs runs/mnist-small --out experiments/results/scores_mnist.json

Reference: training images at random, at most 5,000. Samples: as many as there are test images, at most 5,000 (sliced
Wasserstein and MS-SSIM: 1,000). A set without a test split has a fifth of it held out. Features: pixels, a network of
random weights, and the last hidden layer of a classifier of the set, where there is one, which alone serves scores that
need classes. The Fréchet distance is not of pixels. Of real images ± is from halves of them, of a run from 5 draws.
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
    """Score the test images of --data, which is called NAME, and the --runs; write all to --out.

    --held-out names another split than test, where test is of another law than train.
    """
    train, test = (sources.load(data), sources.load(data, split=held_out)) if held_out else split(data)
    n = min(len(test["x"]), MOST)
    taken: list[tuple[Extractor, tuple[str, ...], int]] = [
        (extractors.pixels(), NEIGHBOURS, n),
        (extractors.random_network(), ("frechet_distance", *NEIGHBOURS), n),
    ]
    if classifier:
        names = ("frechet_distance", *NEIGHBOURS, "inception_score", *BY_CLASS)
        taken.append((extractors.classifier(classifier), names, n))
    if test["x"].shape[1] >= 16:
        taken.append((extractors.pixels(), tuple(ON_IMAGES), min(n, OF_IMAGES)))
    floor, of_runs = {}, {str(run): {} for run in runs}
    for extractor, names, n in taken:
        against = reference(train, f"{name} train", extractor, limit=MOST)
        floor |= written(score_images(test, against, names, n=n))
        for run in runs:  # their samples have no labels
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
    """The Parzen log-likelihood of MNIST's training images as samples, which the field began with."""
    flat = lambda x: x.reshape(len(x), -1) / 255
    x = flat(train["x"][np.random.default_rng(0).permutation(len(train["x"]))])
    return {"parzen": metrics.parzen_log_likelihood(x[:10_000], x[10_000:11_000], flat(test["x"]))}


def stacked(test, classifier, n=25_600):
    """Modes of stacks of real digits, as the classifier reads them, beside what labels at random would give."""
    x = stack(test, n)["x"]
    read = lambda c: extract(extractors.classifier(classifier), x[..., c : c + 1])[1]
    digits = np.stack([np.asarray(read(c)).argmax(1) for c in range(3)], 1)
    shares = np.bincount(test["y"], minlength=10) / len(test["y"])
    found, anchor = metrics.stacked_modes(digits), metrics.perfect_stacked_modes(n, shares)
    return {f"stacked {k}": v for k, v in found.items()} | {f"stacked {k}, perfect": v for k, v in anchor.items()}


def written(scores):
    """{"name as printed": fields}: one entry a name, whatever the extractor."""
    return {f"{key}: {score.name}": vars(score) for key, score in scores.items()}


if __name__ == "__main__":
    tyro.cli(main)
