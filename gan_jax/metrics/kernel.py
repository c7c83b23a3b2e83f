"""The kernel distance between features [n, d]: of whole sets, or over subsets as KID is reported."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Int, Integer

from gan_jax.errors import UserError
from gan_jax.metrics.features import Features, pair
from gan_jax.metrics.score import Score

BLOCK = 1024  # rows
Rows = Integer[np.ndarray | jax.Array, " _"]


def kernel_distance(x: Features, y: Features, subsets: Sequence[tuple[Rows, Rows]] | None = None) -> Score:
    """The unbiased estimate of MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y) with k(a, b) = (a·b / d + 1)³.

    It may be negative. On Inception's features it is KID. Gretton et al. 2012, eq. 3; the kernel is that of Bińkowski
    et al. 2018, section 4.

    Args:
        x: Features of real images [n, d].
        y: Features of samples [m, d].
        subsets: Pairs (rows of x, rows of y), such as `random_subsets`. The score is then the mean over subsets, with
            the standard error s / √count, which does not include the variance of the sets themselves.

    Raises:
        UserError: Fewer than two rows in a set or subset, or subsets of different sizes.

    >>> x = np.array([[0.0], [2.0]])
    >>> kernel_distance(x, x).value  # (1 + 1) − (1 + 1 + 1 + 125) / 2
    -62.0
    """
    x, y = (s.astype(np.float64, copy=False) for s in pair(x, y, 2))
    protocol = {"real": len(x), "fake": len(y)}
    if subsets is None:
        return Score("kernel distance", _estimate(x, y), protocol)
    sizes = {(len(rows_x), len(rows_y)) for rows_x, rows_y in subsets}
    if len(subsets) < 2 or len(sizes) != 1 or min(min(size) for size in sizes) < 2:
        raise UserError("Subsets must be two or more pairs (rows of x, rows of y), two rows or more, all of one size.")
    values = np.array([_estimate(x[np.asarray(rows_x)], y[np.asarray(rows_y)]) for rows_x, rows_y in subsets])
    (size,) = sizes
    return Score(
        "kernel distance",
        float(values.mean()),
        protocol | {"subsets": len(values), "size": size[0] if size[0] == size[1] else size},
        float(values.std(ddof=1) / np.sqrt(len(values))),
        f"{len(values)} subsets",
    )


def random_subsets(
    n: int, m: int, count: int = 100, size: int = 1000, seed: int = 0
) -> list[tuple[Int[np.ndarray, " size"], Int[np.ndarray, " size"]]]:
    """`count` random pairs (rows of x [size], rows of y [size]), drawn without replacement within a subset.

    Raises:
        UserError: n or m is less than `size`.

    >>> [(i.tolist(), j.tolist()) for i, j in random_subsets(3, 4, count=1, size=2)]
    [([1, 2], [1, 0])]
    """
    if min(n, m) < size:
        raise UserError(
            f"Subsets of {size} cannot be drawn from {n} and {m} samples: take smaller ones, or more samples."
        )
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.choice(n, size, replace=False)
    return [(draw(n), draw(m)) for _ in range(count)]


def _estimate(x, y) -> float:
    own = lambda a: (_kernel_sum(a, a) - _kernel(np.einsum("nd,nd->n", a, a), a).sum()) / (len(a) * (len(a) - 1))
    return float(own(x) + own(y) - 2 * _kernel_sum(x, y) / (len(x) * len(y)))


def _kernel(products, x):
    t = products / x.shape[1] + 1
    return t * t * t


def _kernel_sum(x, y) -> float:
    return sum(_kernel(x[start : start + BLOCK] @ y.T, x).sum() for start in range(0, len(x), BLOCK))
