"""Scores from nearest neighbours of features [n, d].

Distances are compared as in float64 (see distances.py), and memory is bounded by a tile of the distance matrix.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float64

from gan_jax.errors import UserError
from gan_jax.metrics.distances import below, lower, nearest, rounded, tiles, upper
from gan_jax.metrics.features import Features, Labels, host, labels, pair
from gan_jax.metrics.score import Score


def radii(x: Features, k: int = 5) -> Float64[np.ndarray, " n"]:
    """R(x)²: the squared distance from each x to its k-th nearest neighbour in its own set.

    >>> radii(np.array([[0.0], [1.0], [3.0]]), k=1)
    array([1., 1., 4.])
    """
    return nearest(host(x), None, k)[0].max(1)


def prdc(x: Features, y: Features, k: int = 5, radii_x: Float64[np.ndarray, " n"] | None = None) -> dict[str, Score]:
    """Precision, recall, density and coverage, where R(x) is the distance from x to its k-th neighbour in its own set::

        precision  P_y(∃ x: ‖y − x‖ < R(x))              recall    P_x(∃ y: ‖x − y‖ < R(y))
        density    E_y #{x: ‖y − x‖ < R(x)} / k          coverage  P_x(∃ y: ‖x − y‖ < R(x))

    Kynkäänniemi et al. 2019, eq. 1 and 2 (with ≤); Naeem et al. 2020, section 3, and its authors' code (with <).

    Args:
        x: Features of real images [n, d].
        y: Features of samples [m, d].
        k: Which neighbour sets the radius.
        radii_x: radii(x, k), if already known.

    Raises:
        UserError: A set has k rows or fewer.

    >>> x = np.arange(10.0)[:, None]
    >>> {name: score.value for name, score in prdc(x, x + 0.25, k=1).items()}
    {'precision': 1.0, 'recall': 1.0, 'density': 1.9, 'coverage': 1.0}
    """
    if k < 1:
        raise UserError(f"k is {k}, but the neighbour that sets a radius must be the first or a later one.")
    x, y = pair(x, y, k + 1)
    with ThreadPoolExecutor() as pool:  # the products of one run beside the searches of the other
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
    """Leave-one-out accuracy of a 1-NN classifier of x against y.

    It is ½ if both have one distribution, 1 if they are far apart, and 0 if y copies x. Ties count ½. Lopez-Paz & Oquab
    2017; leave-one-out and the accuracies on either set as in Xu et al. 2018.

    Returns:
        {"accuracy": mean of the two, "real": share of x that is recognised, "fake": share of y that is recognised}.

    Raises:
        UserError: The sets are not of the same size, so that chance is not ½.

    >>> x = np.arange(6.0)[:, None]
    >>> nearest_neighbour_test(x, x + 100)["accuracy"].value, nearest_neighbour_test(x, x)["accuracy"].value
    (1.0, 0.0)
    """
    x, y = pair(x, y, 2)
    if len(x) != len(y):
        raise UserError(f"The 1-NN test needs two sets of one size, not {len(x)} and {len(y)}: leave some out.")
    recognised = []
    for own, other in ((x, y), (y, x)):
        inner, outer = nearest(own, None, 1)[0], nearest(own, other, 1)[0]
        recognised.append(float(((inner < outer) + (inner == outer) / 2).mean()))
    values = {"accuracy": sum(recognised) / 2, "real": recognised[0], "fake": recognised[1]}
    protocol = {"real": len(x), "fake": len(y)}
    return {name: Score(f"1-NN test {name}", value, protocol) for name, value in values.items()}


def nearest_neighbour_error(x_train: Features, y_train: Labels, x_test: Features, y_test: Labels) -> Score:
    """The share of x_test whose label differs from that of its nearest x_train.

    Radford et al. 2015, supplement, table 3, train on labelled samples and test on real images.

    Args:
        x_train: Features [n, d].
        y_train: Their classes [n].
        x_test: Features [m, d].
        y_test: Their classes [m].

    Raises:
        UserError: The number of labels is not that of the rows.

    >>> nearest_neighbour_error(np.array([[0.0], [9.0]]), np.array([0, 1]), np.array([[1.0], [5.0]]), np.array([0, 0]))
    Score(name='1-NN error', value=0.5, protocol={'train': 2, 'test': 2}, uncertainty=None, source='')
    """
    x_train, x_test = pair(x_train, x_test)
    y_train, y_test = labels(x_train, y_train), labels(x_test, y_test)
    guess = y_train[nearest(x_test, x_train, 1)[1][:, 0]]
    return Score("1-NN error", float((guess != y_test).mean()), {"train": len(x_train), "test": len(x_test)})
