"""Scores by nearest neighbours of features [n, d]: every comparison as in float64, memory bounded by a tile."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float64

from gan_jax.errors import UserError
from gan_jax.metrics.distances import below, lower, nearest, rounded, tiles, upper
from gan_jax.metrics.features import Features, Labels, host, labels, pair
from gan_jax.metrics.score import Score


def radii(x: Features, k: int = 5) -> Float64[np.ndarray, " n"]:
    """R(x)², the squared distance from each x to its k-th neighbour in its own set."""
    return nearest(host(x), None, k)[0].max(1)


def prdc(x: Features, y: Features, k: int = 5, radii_x: Float64[np.ndarray, " n"] | None = None) -> dict[str, Score]:
    """Precision, recall, density and coverage, with R(x) the distance from x to its k-th neighbour in its own set:

    precision  P_y(∃ x: |y − x| < R(x))              recall    P_x(∃ y: |x − y| < R(y))
    density    E_y #{x: |y − x| < R(x)} / k          coverage  P_x(∃ y: |x − y| < R(x))

    Kynkäänniemi et al. 2019, eq. 1 and 2 (there with ≤); Naeem et al. 2020, section 3, and its authors' code (with <).
    `radii_x` are radii(x, k), where one x is scored against many y. UserError unless both sets have more than k rows.
    """
    if k < 1:
        raise UserError(f"k is {k}, but the neighbour that sets a radius must be the first or a later one.")
    x, y = pair(x, y, k + 1)
    with ThreadPoolExecutor() as pool:  # one's matrix products beside the other's searches
        radius_y = pool.submit(radii, y, k)
        radius_x, radius_y = radii(x, k) if radii_x is None else radii_x, radius_y.result()
    a, b = rounded(x, y)
    inside, covered, recalled = np.zeros(len(y), int), np.zeros(len(x), bool), np.zeros(len(x), bool)
    for rows in tiles(len(x)):
        for columns in tiles(len(y)):
            low = lower(a, b, rows, columns)
            tile = (low, upper(low, a, b, rows, columns), a, b, rows, columns)
            balls = below(radius_x[rows, None], *tile)
            inside[columns] += balls.sum(0)
            covered[rows] |= balls.any(1)
            recalled[rows] |= below(radius_y[None, columns], *tile).any(1)
    values = {
        "precision": (inside > 0).mean(),
        "recall": recalled.mean(),
        "density": inside.mean() / k,
        "coverage": covered.mean(),
    }
    protocol = {"real": len(x), "fake": len(y), "k": k}
    return {name: Score(name, float(value), protocol) for name, value in values.items()}


def nearest_neighbour_test(x: Features, y: Features) -> dict[str, Score]:
    """Leave-one-out accuracy of 1-NN that tells x from y: ½ if they are of one law, 1 if apart, 0 if y copies x.

    "real" and "fake" are the shares of x and of y that are told, "accuracy" their mean; nearest neighbours as near
    in both sets count ½. Lopez-Paz & Oquab 2017; leave-one-out and the two shares as in Xu et al. 2018.
    UserError unless the sets are of one size: else chance is not ½.
    """
    x, y = pair(x, y, 2)
    if len(x) != len(y):
        raise UserError(f"The 1-NN test needs two sets of one size, not {len(x)} and {len(y)}: leave some out.")
    told = []
    for own, other in ((x, y), (y, x)):
        inner, outer = nearest(own, None, 1)[0], nearest(own, other, 1)[0]
        told.append(float(((inner < outer) + (inner == outer) / 2).mean()))
    values = {"accuracy": sum(told) / 2, "real": told[0], "fake": told[1]}
    protocol = {"real": len(x), "fake": len(y)}
    return {name: Score(f"1-NN test {name}", value, protocol) for name, value in values.items()}


def nearest_neighbour_error(x_train: Features, y_train: Labels, x_test: Features, y_test: Labels) -> Score:
    """The share of x_test whose label is not that of its nearest x_train, of some equally near, any.

    Trained on labelled samples and tested on real images: Radford et al. 2015, supplement, table 3.
    UserError if labels and rows do not pair up.
    """
    x_train, x_test = pair(x_train, x_test)
    y_train, y_test = labels(x_train, y_train), labels(x_test, y_test)
    guess = y_train[nearest(x_test, x_train, 1)[1][:, 0]]
    return Score("1-NN error", float((guess != y_test).mean()), {"train": len(x_train), "test": len(x_test)})
