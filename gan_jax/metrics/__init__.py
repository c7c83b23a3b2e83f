"""Scores on features [n, d], on images [n, h, w, c], on points and on labels."""

from gan_jax.metrics.mixtures import draw, embedded, grid, modes_covered, perfect_modes, ring
from gan_jax.metrics.modes import kl_to_uniform, perfect_kl, perfect_stacked_modes, stacked_modes
from gan_jax.metrics.parzen import parzen_bandwidth, parzen_log_likelihood
from gan_jax.metrics.path_length import lerp, perceptual_path_length, slerp
from gan_jax.metrics.pyramid import sliced_distance, sliced_wasserstein
from gan_jax.metrics.scores import kernel_distance, prdc
from gan_jax.metrics.ssim import ms_ssim, ms_ssim_diversity

__all__ = [
    "draw",
    "embedded",
    "grid",
    "kernel_distance",
    "kl_to_uniform",
    "lerp",
    "modes_covered",
    "ms_ssim",
    "ms_ssim_diversity",
    "parzen_bandwidth",
    "parzen_log_likelihood",
    "perceptual_path_length",
    "perfect_kl",
    "perfect_modes",
    "perfect_stacked_modes",
    "prdc",
    "ring",
    "slerp",
    "sliced_distance",
    "sliced_wasserstein",
    "stacked_modes",
]
