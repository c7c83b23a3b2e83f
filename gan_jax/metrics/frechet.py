"""The Fréchet distance between Gaussians fitted to features [n, d]: of whole sets, or class by class."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, reduce

import jax
import numpy as np
from jaxtyping import Float64

from gan_jax.errors import UserError
from gan_jax.metrics.features import Features, Labels, host, labels, pair
from gan_jax.metrics.score import Score

BLOCK = 4096  # rows


@dataclass(frozen=True)
class Moments:
    """The number of features x, their mean, and their scatter matrix Σ (x − mean)(x − mean)ᵀ.

    >>> moments(np.zeros((5, 3))).covariance.shape
    (3, 3)
    """

    n: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """scatter / (n − 1), the usual convention for this distance."""
        return self.scatter / (self.n - 1)

    @cached_property
    def root(self) -> Float64[np.ndarray, "d rank"]:
        """A with A Aᵀ = covariance, from its eigenvectors."""
        values, vectors = np.linalg.eigh(self.covariance)
        kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
        return vectors[:, kept] * np.sqrt(values[kept])


def moments(blocks: Features | Iterable[Features]) -> Moments:
    """The Moments of features.

    Args:
        blocks: Features [n, d], or blocks of them, of which one at a time is in memory.

    Raises:
        UserError: There are no features, or some are not finite.

    >>> moments(np.array([[0.0, 1.0], [2.0, 1.0]])).covariance
    array([[2., 0.],
           [0., 0.]])
    """
    blocks = [blocks] if isinstance(blocks, np.ndarray | jax.Array) else blocks
    parts = (_moments(x[start : start + BLOCK]) for x in map(host, blocks) for start in range(0, len(x), BLOCK))
    first = next(parts, None)
    if first is None:
        raise UserError("There are no features to take moments of.")
    return reduce(merge, parts, first)


def merge(a: Moments, b: Moments) -> Moments:
    """The Moments of two sets together. Chan, Golub & LeVeque 1983.

    >>> x = np.arange(6.0)[:, None]
    >>> float(merge(moments(x[:2]), moments(x[2:])).mean[0])
    2.5
    """
    if len(a.mean) != len(b.mean):
        raise UserError(f"Features to merge must be of one length, not {len(a.mean)} and {len(b.mean)}.")
    n, gap = a.n + b.n, b.mean - a.mean
    scatter = np.outer(gap * (a.n * b.n / n), gap)
    scatter += a.scatter
    scatter += b.scatter
    return Moments(n, a.mean + gap * (b.n / n), scatter)


def frechet_distance(x: Features | Moments, y: Features | Moments) -> Score:
    """‖μ_x − μ_y‖² + tr(C_x + C_y − 2 √(C_x C_y)) of means μ and covariances C. Heusel et al. 2017, eq. 6.

    tr √(C_x C_y) is computed as the sum of the singular values of A_xᵀ A_y with C = A Aᵀ, where A comes from the
    eigenvectors of C or, for n ≤ d, is the centred features. No square root of a rounding error is taken, so the result
    is accurate for covariances of any rank. It is biased upwards, the more the fewer samples there are, and strongly
    for n ≤ d: compare distances of the same n only. Dowson & Landau 1982 derive the formula.

    Args:
        x: Features of real images [n, d], or their Moments.
        y: Features of samples [m, d], or their Moments.

    Raises:
        UserError: Fewer than 2 rows, or different numbers of columns.

    >>> x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> round(frechet_distance(x, x + 3).value, 6)
    18.0
    """
    n, m = (s.n if isinstance(s, Moments) else len(s) for s in (x, y))
    if min(n, m) < 2:
        raise UserError(f"This score needs 2 samples or more in each set; there are {n} and {m}.")
    (mean_x, root_x), (mean_y, root_y) = _gaussian(x), _gaussian(y)
    if len(mean_x) != len(mean_y):
        raise UserError(f"Features to compare must be of one length, not {len(mean_x)} and {len(mean_y)}.")
    gap, cross = mean_x - mean_y, np.linalg.svd(root_x.T @ root_y, compute_uv=False).sum()
    value = gap @ gap + np.vdot(root_x, root_x) + np.vdot(root_y, root_y) - 2 * cross
    return Score("Fréchet distance", max(float(value), 0.0), {"real": n, "fake": m})


def intra_class_frechet_distance(x: Features, labels_x: Labels, y: Features, labels_y: Labels) -> Score:
    """The mean over classes of the Fréchet distance within a class (intra FID). Miyato & Koyama 2018.

    Args:
        x: Features of real images [n, d].
        labels_x: Their classes [n].
        y: Features of samples [m, d].
        labels_y: Their classes [m].

    Raises:
        UserError: A class has fewer than 2 real samples or fewer than 2 fakes.

    >>> x = np.arange(8.0)[:, None]
    >>> labels = np.repeat([0, 1], 4)
    >>> round(float(intra_class_frechet_distance(x, labels, x + 2, labels)), 6)
    4.0
    """
    x, y = pair(x, y, 2)
    labels_x, labels_y = labels(x, labels_x), labels(y, labels_y)
    classes = np.union1d(labels_x, labels_y)
    for c in classes:
        real, fake = (labels_x == c).sum(), (labels_y == c).sum()
        if min(real, fake) < 2:
            raise UserError(f"Class {c} has {real} real samples and {fake} fakes: it needs 2 or more of each.")
    within = lambda c: frechet_distance(x[labels_x == c], y[labels_y == c]).value
    protocol = {"real": len(x), "fake": len(y), "classes": len(classes)}
    return Score("intra-class Fréchet distance", float(np.mean([within(c) for c in classes])), protocol)


def _moments(x):
    mean = x.mean(0, dtype=np.float64)
    centred = x - mean
    return Moments(len(x), mean, centred.T @ centred)


def _gaussian(s):
    """The mean [d], and A [d, rank] with A Aᵀ = covariance."""
    if not isinstance(s, Moments):
        s = host(s)
        if len(s) <= s.shape[1]:
            mean = s.mean(0, dtype=np.float64)
            return mean, (s - mean).T / np.sqrt(len(s) - 1)
        s = moments(s)
    return s.mean, s.root
