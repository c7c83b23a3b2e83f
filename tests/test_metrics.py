"""gan_jax/metrics/scores.py against the definitions, spelled out pair by pair, and against known answers."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gan_jax.errors import UserError
from gan_jax.metrics import kernel_distance, prdc, scores


def draw(n: int, d: int = 5, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, n, d)).normal(shift, 1, (n, d))


def by_hand(x, y, k):
    """The four scores, one pair of points at a time."""
    dist = lambda a, b: float(np.sqrt(((a - b) ** 2).sum()))
    ball = lambda s, i: sorted(dist(s[i], s[j]) for j in range(len(s)) if j != i)[k - 1]
    hit = [[dist(b, a) < ball(x, i) for i, a in enumerate(x)] for b in y]
    back = [[dist(a, b) < ball(y, j) for j, b in enumerate(y)] for a in x]
    return {
        "precision": sum(map(any, hit)) / len(y),
        "recall": sum(map(any, back)) / len(x),
        "density": sum(map(sum, hit)) / (k * len(y)),
        "coverage": sum(any(row[i] for row in hit) for i in range(len(x))) / len(x),
    }


@pytest.fixture(params=[3, 1024])
def block(request, monkeypatch):
    """A result does not depend on how it was cut."""
    monkeypatch.setattr(scores, "BLOCK", request.param)


@pytest.mark.parametrize(("n", "m", "k", "shift"), [(12, 17, 3, 0.5), (20, 9, 1, 1.5), (8, 8, 5, 0.0)])
def test_prdc_is_its_definition(block, n, m, k, shift):
    x, y = draw(n, 2), draw(m, 2, shift, seed=1)
    assert prdc(x, y, k) == pytest.approx(by_hand(x, y, k), abs=1e-15)


def test_prdc_of_points_on_a_line(block):
    """Real points at 0, 1, 3, 7; with k = 1 their radii are 1, 1, 2, 4."""
    x, y = np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([[2.5], [2.75], [100.0]])
    # 2.5 lies in the balls of 3 alone (1.5 from 1, 4.5 from 7), so does 2.75; radii of y: .25, .25, 97.25.
    expected = {"precision": 2 / 3, "recall": 1 / 4, "density": 2 / 3, "coverage": 1 / 4}
    y_reaches = np.abs(x - y.T) < [0.25, 0.25, 97.25]
    expected["recall"] = y_reaches.any(1).mean()
    assert prdc(x, y, k=1) == pytest.approx(expected)
    # A distance equal to a radius is outside: 2 is 1 from 1 and from 3.
    assert prdc(x[:2], np.array([[2.0], [-1.0]]), k=1) == dict.fromkeys(("precision", "density", "coverage"), 0.0) | {
        "recall": 1.0
    }


def test_prdc_of_equal_and_of_far_sets(block):
    x = draw(60)
    same = prdc(x, x)
    assert same["precision"] == same["recall"] == same["coverage"] == 1.0
    # x lies in its own ball, and on average in those of the points that have it among their k − 1 nearest.
    assert same["density"] == pytest.approx(1.0)
    assert prdc(x, x + 100) == dict.fromkeys(("precision", "recall", "density", "coverage"), 0.0)
    collapsed = np.repeat(x[:1], 60, 0) + 1e-6 * draw(60, seed=2)
    found = prdc(x, collapsed)
    assert found["precision"] == 1.0 and found["recall"] <= 1 / 60 and found["coverage"] < 0.5


def test_prdc_knows_no_order_no_place_no_scale_and_swaps_its_sides():
    x, y = draw(80), draw(70, shift=0.4, seed=1)
    rng, found = np.random.default_rng(3), prdc(x, y)
    assert prdc(rng.permutation(x), rng.permutation(y)) == found
    assert prdc(3 * x + 1, 3 * y + 1) == pytest.approx(found, abs=1e-12)
    assert prdc(y, x)["recall"] == found["precision"] and prdc(y, x)["precision"] == found["recall"]


def kernel_by_hand(x, y):
    k = lambda a, b: (a @ b / len(a) + 1) ** 3
    mean = lambda pairs: np.mean([k(a, b) for a, b in pairs])
    return mean(itertools.permutations(x, 2)) + mean(itertools.permutations(y, 2)) - 2 * mean(itertools.product(x, y))


@pytest.mark.parametrize(("n", "m", "d"), [(2, 2, 1), (7, 10, 3)])
def test_kernel_distance_is_its_definition(block, n, m, d):
    x, y = draw(n, d), draw(m, d, 0.5, seed=1)
    assert kernel_distance(x, y) == pytest.approx(kernel_by_hand(x, y), rel=1e-12)
    assert kernel_distance(y, x) == pytest.approx(kernel_distance(x, y), rel=1e-12)
    assert kernel_distance(x[::-1], y) == pytest.approx(kernel_distance(x, y), rel=1e-12)


def test_kernel_distance_of_constant_sets(block):
    """x = 0 and y = 1 everywhere: 1 + 8 − 2."""
    assert kernel_distance(np.zeros((5, 4)), np.ones((6, 4))) == pytest.approx(7.0, rel=1e-14)
    assert kernel_distance(np.ones((5, 4)), np.ones((6, 4))) == pytest.approx(0.0, abs=1e-13)


def test_kernel_distance_is_unbiased():
    """Over 400 pairs of samples of one law: its mean is 0 within 4 standard errors, its sign either."""
    found = np.array([kernel_distance(draw(20, 3, seed=i), draw(20, 3, seed=1000 + i)) for i in range(400)])
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(400)
    assert 0.3 < (found < 0).mean() < 0.8
    assert kernel_distance(draw(100), draw(100, shift=1.0, seed=1)) > 1


def test_many_rows_and_narrow_features():
    """float32 in, float64 within: large offsets do not drown the distances."""
    x, y = draw(1100, 3), draw(1500, 3, seed=1)
    far, near = x + 1000, y + 1000
    radius = np.sort(cdist(x, x), 1)[:, 5]
    expected = (cdist(x, y) < radius[:, None]).any(0).mean()
    assert prdc(x, y)["precision"] == expected == prdc(far, near)["precision"]
    assert prdc(x.astype(np.float32), y.astype(np.float32))["precision"] == pytest.approx(expected, abs=1e-3)


def test_what_cannot_be_scored_is_said():
    x = draw(6)
    with pytest.raises(UserError, match="one length, not 5 and 4"):
        prdc(x, draw(6, 4))
    with pytest.raises(UserError, match="needs 6 samples or more in each set; there are 6 and 5"):
        prdc(x, x[:5])
    with pytest.raises(UserError, match="needs 2 samples"):
        kernel_distance(x, x[:1])
    with pytest.raises(UserError, match="not finite"):
        kernel_distance(x, np.full((3, 5), np.nan))
