"""Scores of features [n, d], images, points and labels, and what makes features of images."""

from gan_jax.metrics.classification import classification_accuracy_score
from gan_jax.metrics.extractors import Extractor, classifier, extract, inception, pixels, random_network
from gan_jax.metrics.frechet import Moments, frechet_distance, intra_class_frechet_distance, merge, moments
from gan_jax.metrics.inception import inception_score
from gan_jax.metrics.kernel import kernel_distance, random_subsets
from gan_jax.metrics.neighbours import nearest_neighbour_error, nearest_neighbour_test, prdc
from gan_jax.metrics.score import Score, over_draws, over_halves

__all__ = [
    "Extractor",
    "Moments",
    "Score",
    "classification_accuracy_score",
    "classifier",
    "extract",
    "frechet_distance",
    "inception",
    "inception_score",
    "intra_class_frechet_distance",
    "kernel_distance",
    "merge",
    "moments",
    "nearest_neighbour_error",
    "nearest_neighbour_test",
    "over_draws",
    "over_halves",
    "pixels",
    "prdc",
    "random_network",
    "random_subsets",
]
