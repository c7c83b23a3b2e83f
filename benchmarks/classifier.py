"""A classifier for scores on small images, trained on a CPU in minutes.

    python benchmarks/classifier.py mnist --data DIR --out runs/classifiers/mnist.npz
    python benchmarks/classifier.py cifar10 --data DIR --epochs 9 --flip --out runs/classifiers/cifar10.npz

It is trained on the training split and tested on the test split. --results FILE collects the accuracies, one entry per
name.
"""

import json
import time
from pathlib import Path

import numpy as np
import tyro

from benchmarks.record import record
from gan_jax import data as sources
from gan_jax.errors import UserError
from gan_jax.metrics import classifiers
from gan_jax.metrics.extractors import classifier


def main(
    name: tyro.conf.Positional[str],
    /,
    data: str,
    out: Path,
    epochs: int = 5,
    flip: bool = False,
    seed: int = 0,
    results: Path | None = None,
) -> None:
    """Train on --data, test on its test split, and write the classifier to --out."""
    in_memory = lambda split: {name: np.asarray(leaf) for name, leaf in sources.load(data, split=split).items()}
    train, test = in_memory("train"), in_memory("test")
    if "y" not in train:
        raise UserError(f"'{data}' has no labels to learn: give data with classes.")
    began, cpu = time.perf_counter(), time.process_time()
    weights = classifiers.fit(train["x"], train["y"], epochs=epochs, flip=flip, seed=seed, progress=True)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    _, height, width, channels = train["x"].shape
    about = {
        "data": name,
        "data_hash": sources.content_hash(train),
        "classes": int(train["y"].max()) + 1,
        "height": height,
        "width": width,
        "channels": channels,
        "accuracy": classifiers.accuracy(weights, test["x"], test["y"]),
    }
    classifiers.save(out, weights, about)
    print(f"{classifier(out).name}: right on {about['accuracy']:.2%} of {len(test['x']):,} test images; {out}")
    if results is not None:
        found = json.loads(results.read_text())["classifiers"] if results.exists() else {}
        run = {"name": classifier(out).name, "epochs": epochs, "flip": flip, "seed": seed}
        mine = about | run | {"seconds": seconds, "cpu_seconds": cpu}
        what = "test accuracy of the classifiers whose features are used for scores"
        record(results, what=what, classifiers=found | {name: mine})


if __name__ == "__main__":
    tyro.cli(main)
