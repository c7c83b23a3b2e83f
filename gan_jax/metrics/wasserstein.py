"""The exact Wasserstein distance between two sets of points."""

import numpy as np
from jaxtyping import Array, Num

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

Points = Num[Array | np.ndarray, "_ _"]  # [n, d]


def wasserstein1(real: Points, fake: Points) -> Score:
    """W₁ = min over permutations π of the mean ‖x_i − y_π(i)‖: optimal transport between two sets of n points.

    Between two sets from one distribution it is not 0 but falls as n^(−1/d) for d > 2: compare with the distance
    between real sets. It needs O(n²) memory and O(n³) time, some seconds for n = 2,500.

    Args:
        real: Points [n, d].
        fake: Points [n, d].

    Raises:
        UserError: The sets differ in shape, are empty, or are not finite.

    >>> wasserstein1(np.array([[0.0], [1.0]]), np.array([[3.0], [1.0]])).value
    1.5
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if x.shape != y.shape or not x.size:
        raise UserError(f"W₁ needs two sets of one shape [n, d]; these have shape {list(x.shape)} and {list(y.shape)}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("Some of the points to score are not finite: the training has diverged.")
    distance = cdist(x, y)
    value = distance[linear_sum_assignment(distance)].mean()
    return Score("Wasserstein-1 distance", float(value), {"real": len(x), "fake": len(y)})
