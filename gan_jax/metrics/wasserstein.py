"""The Wasserstein distance of two sets of points, exactly."""

import numpy as np
from jaxtyping import Array, Num
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

Points = Num[Array | np.ndarray, "_ _"]  # [n, d]


def wasserstein1(real: Points, fake: Points) -> Score:
    """W₁ = min over permutations π of the mean |x_i − y_π(i)|: the optimal transport between two sets of n points.

    Of two sets from one distribution it is not 0 but falls as n^(−1/d), d > 2: compare with what real sets get among
    each other. Takes n² numbers and O(n³) time: some seconds for n = 2,500. UserError for sets that are not of one
    shape, empty, or not finite.
    """
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if x.shape != y.shape or not x.size:
        raise UserError(
            f"W₁ pairs off as many samples as real points, of one width; these are {list(x.shape)} and {list(y.shape)}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("Some of the points to score are not finite: the training has diverged.")
    distance = cdist(x, y)
    value = distance[linear_sum_assignment(distance)].mean()
    return Score("Wasserstein-1 distance", float(value), {"real": len(x), "fake": len(y)})
