"""Scores on features [n, d], and what makes features of images."""

from gan_jax.metrics.extractors import Extractor, extract
from gan_jax.metrics.scores import kernel_distance, prdc

__all__ = [
    "Extractor",
    "extract",
    "kernel_distance",
    "prdc",
]
