"""Scores of features [n, d]: how a set of fakes y lies to a set of real x.

Computed in float64, a block of rows at a time.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Num

from gan_jax.errors import UserError

Features = Num[np.ndarray, "_ _"]
BLOCK = 1024  # rows


def prdc(real: Features, fake: Features, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage, with R(x) the distance from x to its k-th neighbour in its own set:

    precision  P_y(∃ x: |y − x| < R(x))              recall    P_x(∃ y: |x − y| < R(y))
    density    E_y #{x: |y − x| < R(x)} / k          coverage  P_x(∃ y: |x − y| < R(x))

    Kynkäänniemi et al. 2019, eq. 1 and 2 (there with ≤); Naeem et al. 2020, section 3. UserError unless both sets
    have more than k rows.
    """
    x, y = _pair(real, fake, k + 1)
    radius_x, radius_y = _radii(x, k), _radii(y, k)
    inside, recalled, covered = np.zeros(len(y), int), [], []
    for rows, near in zip(_blocks(len(x)), _distances(x, y), strict=True):  # near [block, m] = |x − y|²
        balls = near < radius_x[rows, None]
        inside += balls.sum(0)
        covered.append(balls.any(1))
        recalled.append((near < radius_y).any(1))
    return {
        "precision": float((inside > 0).mean()),
        "recall": float(np.concatenate(recalled).mean()),
        "density": float(inside.mean() / k),
        "coverage": float(np.concatenate(covered).mean()),
    }


def kernel_distance(real: Features, fake: Features) -> float:
    """The unbiased estimate of E k(x, x') + E k(y, y') − 2 E k(x, y) on whole sets, k(a, b) = (a·b / d + 1)³.

    Gretton et al. 2012, eq. 3, with the kernel of Bińkowski et al. 2018, section 4 (KID is this on Inception's
    features). It may be below 0. UserError unless both sets have two rows.
    """
    x, y = _pair(real, fake, 2)
    own = lambda a: (_kernel_sum(a, a) - _kernel(np.einsum("nd,nd->n", a, a), a).sum()) / (len(a) * (len(a) - 1))
    return float(own(x) + own(y) - 2 * _kernel_sum(x, y) / (len(x) * len(y)))


def _kernel(products, x):
    t = products / x.shape[1] + 1
    return t * t * t


def _kernel_sum(x, y) -> float:
    return sum(_kernel(x[rows] @ y.T, x).sum() for rows in _blocks(len(x)))


def _distances(x, y) -> Iterator[Float64[np.ndarray, "block m"]]:
    """|x − y|² block by block of x; exactly 0 from a row to itself."""
    square = lambda a: np.einsum("nd,nd->n", a, a)
    for rows in _blocks(len(x)):
        block = np.maximum(square(x[rows])[:, None] + square(y) - 2 * x[rows] @ y.T, 0)
        if x is y:
            np.fill_diagonal(block[:, rows], 0)
        yield block


def _radii(x, k):
    """[n]: the squared distance of each row to its k-th neighbour, itself left out."""
    return np.concatenate([np.partition(block, k, axis=1)[:, k] for block in _distances(x, x)])


def _blocks(n):
    return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def _pair(real, fake, least):
    """Both as float64. UserError for sets that cannot be compared."""
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if x.shape[1] != y.shape[1]:
        raise UserError(f"Features to compare must be of one length, not {x.shape[1]} and {y.shape[1]}.")
    if min(len(x), len(y)) < least:
        raise UserError(f"This score needs {least} samples or more in each set; there are {len(x)} and {len(y)}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("Some of the features to score are not finite: leave those samples out, or say how many.")
    return x, y
