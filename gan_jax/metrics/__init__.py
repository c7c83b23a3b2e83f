"""Scores on features [n, d], class labels [n] and class probabilities [n, c]."""

from gan_jax.metrics.classification import classification_accuracy_score
from gan_jax.metrics.frechet import (
    Moments,
    frechet_distance,
    intra_class_frechet_distance,
    merge,
    moments,
)
from gan_jax.metrics.inception import inception_score
from gan_jax.metrics.kernel import (
    kernel_distance,
    random_subsets,
)
from gan_jax.metrics.neighbours import (
    nearest_neighbour_error,
    nearest_neighbour_test,
    prdc,
)
from gan_jax.metrics.score import Score

__all__ = [
    "Moments",
    "Score",
    "classification_accuracy_score",
    "frechet_distance",
    "inception_score",
    "intra_class_frechet_distance",
    "kernel_distance",
    "merge",
    "moments",
    "nearest_neighbour_error",
    "nearest_neighbour_test",
    "prdc",
    "random_subsets",
]
