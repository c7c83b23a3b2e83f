"""The kernel distance of features [n, d]: whole, or over subsets as KID is reported."""

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
    """The unbiased estimate of E k(x, x') + E k(y, y') − 2 E k(x, y), k(a, b) = (a·b / d + 1)³: MMD²; it may be < 0.

    Of whole sets, or the mean over subsets (rows of x, rows of y) and its standard error s / √count, which knows
    nothing of how far the sets themselves stray. Gretton et al. 2012, eq. 3, with the kernel of Bińkowski et al. 2018,
    section 4 (KID is this on Inception's features). UserError unless sets and subsets have two rows of each.
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
    """(rows of x [size], rows of y [size]) `count` times, none twice within a subset. UserError if n or m < size."""
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
