"""Scores on features [n, d]."""

from gan_jax.metrics.scores import kernel_distance, prdc

__all__ = ["kernel_distance", "prdc"]
