import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from gan_jax.errors import UserError
from gan_jax.metrics import wasserstein1


def points(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def w1(x, y):
    return wasserstein1(x, y).value


def test_a_translated_set_is_as_far_as_it_was_moved():
    x, way = points(200, 3), np.array([3.0, -4.0, 12.0])
    assert w1(x, np.random.default_rng(1).permutation(x) + way) == pytest.approx(13, rel=1e-12)
    assert w1(x, x[::-1]) == 0


def test_on_a_line_it_is_the_gap_of_the_sorted_points():
    x, y = points(300, 1), 2 * points(300, 1, seed=1) + 1
    assert w1(x, y) == pytest.approx(np.abs(np.sort(x, 0) - np.sort(y, 0)).mean(), rel=1e-12)
    assert w1(x, y) == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_it_is_the_least_of_all_permutations_and_a_metric(n, d, seed):
    x, y, z = (points(n, d, seed=[seed, i]) for i in range(3))
    length = lambda order: np.mean([np.sqrt(((x[i] - y[j]) ** 2).sum()) for i, j in enumerate(order)])
    assert w1(x, y) == pytest.approx(min(map(length, itertools.permutations(range(n)))), rel=1e-12)
    assert w1(x, y) == pytest.approx(w1(y, x), rel=1e-12)
    assert w1(x, z) <= w1(x, y) + w1(y, z) + 1e-12


def test_concentric_rings_are_as_far_as_their_radii():
    angle = 2 * np.pi * np.arange(90) / 90
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert w1(ring, 3 * ring[::-1]) == pytest.approx(2, rel=1e-12)


def test_two_sets_of_one_distribution_get_closer_with_more_points():
    """The distance between sets from one distribution falls as n^(-1/3) in three dimensions."""
    floor = lambda n: np.mean([w1(points(n, 3, seed=[i, 0]), points(n, 3, seed=[i, 1])) for i in range(20)])
    assert floor(64) / floor(512) == pytest.approx(2, rel=0.1)


def test_its_protocol_and_what_cannot_be_scored():
    score = wasserstein1(points(5, 2).astype(np.float32), points(5, 2))
    assert score.name == "Wasserstein-1 distance" and score.protocol == {"real": 5, "fake": 5}
    for x, y in ((points(5, 2), points(4, 2)), (points(5, 2), points(5, 3)), (points(0, 2), points(0, 2))):
        with pytest.raises(UserError, match="needs two sets of one shape"):
            wasserstein1(x, y)
    with pytest.raises(UserError, match="diverged"):
        wasserstein1(points(5, 2), np.full((5, 2), np.inf))
