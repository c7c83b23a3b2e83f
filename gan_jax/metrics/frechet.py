"""The Fréchet distance of features [n, d], as Gaussians: of the whole sets, or class by class."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import jax
import numpy as np
from jaxtyping import Float64

from gan_jax.errors import UserError
from gan_jax.metrics.features import Features, Labels, host, labels, pair
from gan_jax.metrics.score import Score

BLOCK = 4096  # rows


@dataclass(frozen=True)
class Moments:
    """How many features there were, their mean, and their sum of squares about it, Σ (x − mean)(x − mean)ᵀ."""

    n: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """With n − 1, as the distance has always been computed."""
        return self.scatter / (self.n - 1)


def moments(blocks: Features | Iterable[Features]) -> Moments:
    """Of features [n, d], whole or a block at a time; one block is all that is held. UserError if there are none."""
    blocks = [blocks] if isinstance(blocks, np.ndarray | jax.Array) else blocks
    parts = (_moments(x[start : start + BLOCK]) for x in map(host, blocks) for start in range(0, len(x), BLOCK))
    first = next(parts, None)
    if first is None:
        raise UserError("There are no features to take moments of.")
    return reduce(merge, parts, first)


def merge(a: Moments, b: Moments) -> Moments:
    """Of both sets together. Chan, Golub & LeVeque 1983."""
    if len(a.mean) != len(b.mean):
        raise UserError(f"Features to merge must be of one length, not {len(a.mean)} and {len(b.mean)}.")
    n, gap = a.n + b.n, b.mean - a.mean
    scatter = np.outer(gap * (a.n * b.n / n), gap)
    scatter += a.scatter
    scatter += b.scatter
    return Moments(n, a.mean + gap * (b.n / n), scatter)


def frechet_distance(x: Features | Moments, y: Features | Moments) -> Score:
    """|μ_x − μ_y|² + tr (C_x + C_y − 2 √(C_x C_y)). Dowson & Landau 1982; Heusel et al. 2017, eq. 6.

    tr √(C_x C_y) is the sum of the singular values of A_xᵀ A_y, where C = A Aᵀ by eigenvectors: no root of a
    rounding error is taken, so it is right for covariances of any rank. The expected value falls with n, most
    of all for n ≤ d. UserError unless both sets have 2 rows, of one length.
    """
    if not (isinstance(x, Moments) or isinstance(y, Moments)):
        x, y = pair(x, y, 2)
    x, y = (s if isinstance(s, Moments) else moments(s) for s in (x, y))
    if len(x.mean) != len(y.mean):
        raise UserError(f"Features to compare must be of one length, not {len(x.mean)} and {len(y.mean)}.")
    if min(x.n, y.n) < 2:
        raise UserError(f"This score needs 2 samples or more in each set; there are {x.n} and {y.n}.")
    gap, cross = x.mean - y.mean, np.linalg.svd(_factor(x).T @ _factor(y), compute_uv=False).sum()
    value = gap @ gap + np.trace(x.covariance) + np.trace(y.covariance) - 2 * cross
    return Score("Fréchet distance", max(float(value), 0.0), {"real": x.n, "fake": y.n})


def intra_class_frechet_distance(x: Features, labels_x: Labels, y: Features, labels_y: Labels) -> Score:
    """The mean over classes of the Fréchet distance within a class. Miyato & Koyama 2018 (intra FID).

    UserError if a class that x has lacks 2 samples in x or y, or if y has others.
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


def _factor(m):
    """A [d, rank] with A Aᵀ = C."""
    values, vectors = np.linalg.eigh(m.covariance)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] * np.sqrt(values[kept])
