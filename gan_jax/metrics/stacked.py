"""The 1,000 modes of stacked MNIST, as a classifier of single digits reads them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gan_jax.errors import UserError
from gan_jax.metrics.extractors import classifier, extract
from gan_jax.metrics.modes import stacked_modes
from gan_jax.metrics.score import Score


def stacked_mnist(file: str | Path) -> Callable[[UInt8[np.ndarray, "n h w 3"]], dict[str, Score]]:
    """The function from stacks [n, h, w, 3] to `stacked_modes`, with each channel read by a classifier.

    Args:
        file: The classifier's .npz.

    Raises:
        UserError: There is no such file, or its images have another shape.
    """
    if not Path(file).expanduser().is_file():
        raise UserError(
            f"There is no classifier of digits at '{file}': train it by "
            f"`python benchmarks/classifier.py mnist --data DIR --out {file}`."
        )
    reader = classifier(file)

    def scores(stacks: UInt8[np.ndarray, "n h w 3"]) -> dict[str, Score]:
        n, h, w, _ = stacks.shape
        probabilities: Any = extract(reader, stacks.transpose(3, 0, 1, 2).reshape(3 * n, h, w, 1))[1]
        digits = probabilities.argmax(1).reshape(3, n).T
        named = lambda score: replace(score, protocol={**score.protocol, "classifier": reader.name})
        return {name: named(score) for name, score in stacked_modes(digits).items()}

    return scores
