"""Scores on features [n, d], and what makes features of images."""

from gan_jax.metrics.extractors import Extractor, classifier, extract, inception, pixels, random_network
from gan_jax.metrics.scores import kernel_distance, prdc

__all__ = [
    "Extractor",
    "classifier",
    "extract",
    "inception",
    "kernel_distance",
    "pixels",
    "prdc",
    "random_network",
]
