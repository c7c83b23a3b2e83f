"""Scores of features [n, d], images, points and labels, and extractors that make features of images.

`protocols` scores images by the names of scores, against a `references.Reference`.
"""

from gan_jax.metrics.classification import classification_accuracy_score
from gan_jax.metrics.extractors import Extractor, extract
from gan_jax.metrics.frechet import Moments, frechet_distance, intra_class_frechet_distance, merge, moments
from gan_jax.metrics.inception_score import inception_score
from gan_jax.metrics.kernel import kernel_distance, random_subsets
from gan_jax.metrics.mixtures import modes_covered, perfect_modes
from gan_jax.metrics.modes import kl_to_uniform, perfect_kl, perfect_stacked_modes, stacked_modes
from gan_jax.metrics.neighbours import nearest_neighbour_error, nearest_neighbour_test, prdc, radii
from gan_jax.metrics.parzen import parzen_bandwidth, parzen_log_likelihood
from gan_jax.metrics.path_length import lerp, perceptual_path_length, slerp
from gan_jax.metrics.pyramid import sliced_distance, sliced_wasserstein
from gan_jax.metrics.score import Score, over_draws, over_halves, over_members
from gan_jax.metrics.ssim import ms_ssim, ms_ssim_diversity
from gan_jax.metrics.wasserstein import wasserstein1

__all__ = [
    "Extractor",
    "Moments",
    "Score",
    "classification_accuracy_score",
    "extract",
    "frechet_distance",
    "inception_score",
    "intra_class_frechet_distance",
    "kernel_distance",
    "kl_to_uniform",
    "lerp",
    "merge",
    "modes_covered",
    "moments",
    "ms_ssim",
    "ms_ssim_diversity",
    "nearest_neighbour_error",
    "nearest_neighbour_test",
    "over_draws",
    "over_halves",
    "over_members",
    "parzen_bandwidth",
    "parzen_log_likelihood",
    "perceptual_path_length",
    "perfect_kl",
    "perfect_modes",
    "perfect_stacked_modes",
    "prdc",
    "radii",
    "random_subsets",
    "slerp",
    "sliced_distance",
    "sliced_wasserstein",
    "stacked_modes",
    "wasserstein1",
]
