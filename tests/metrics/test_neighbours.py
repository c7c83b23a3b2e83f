"""gan_jax/metrics/neighbours.py against the definitions, one pair of points at a time, and other packages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from gan_jax import metrics
from gan_jax.errors import UserError
from gan_jax.metrics import distances, nearest_neighbour_error, nearest_neighbour_test


def draw(n: int, d: int = 5, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, n, d)).normal(shift, 1, (n, d))


def prdc(x, y, k=5):
    return {name: score.value for name, score in metrics.prdc(x, y, k).items()}


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


@pytest.fixture(params=[3, 2048])
def block(request, monkeypatch):
    """Small tiles, which must not change a result."""
    monkeypatch.setattr(distances, "TILE", request.param)
    monkeypatch.setattr(distances, "PAIRS", request.param)


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


def test_many_rows_and_narrow_features():
    """Distances of float32 features keep their digits under a large offset."""
    x, y = draw(1100, 3), draw(1500, 3, seed=1)
    far, near = x + 1000, y + 1000
    radius = np.sort(cdist(x, x), 1)[:, 5]
    expected = (cdist(x, y) < radius[:, None]).any(0).mean()
    assert prdc(x, y)["precision"] == expected == prdc(far, near)["precision"]
    assert prdc(x.astype(np.float32), y.astype(np.float32))["precision"] == pytest.approx(expected, abs=1e-3)


def test_what_cannot_be_scored_is_refused():
    x = draw(6)
    with pytest.raises(UserError, match="one length, not 5 and 4"):
        prdc(x, draw(6, 4))
    with pytest.raises(UserError, match="needs 6 samples or more in each set; there are 6 and 5"):
        prdc(x, x[:5])
    with pytest.raises(UserError, match="not finite"):
        prdc(x, np.full((6, 5), np.nan))
    with pytest.raises(UserError, match="k is 0"):
        prdc(x, x, 0)
    with pytest.raises(UserError, match="one size, not 6 and 5"):
        nearest_neighbour_test(x, x[:5])
    with pytest.raises(UserError, match="6 samples and 5 labels"):
        nearest_neighbour_error(x, np.zeros(5), x, np.zeros(6))


def test_each_of_the_four_says_its_protocol():
    for name, score in metrics.prdc(draw(12), draw(9)).items():
        assert score.name == name and list(score.protocol.items()) == [("real", 12), ("fake", 9), ("k", 5)]


def plain_float32(x, y, k):
    """Density and radii's comparisons as float32 products give them."""
    square = lambda a, b: (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    x, y = x.astype(np.float32), y.astype(np.float32)
    own = square(x, x)
    np.fill_diagonal(own, np.inf)
    return (square(x, y) < np.sort(own, 1)[:, k - 1 : k]).sum() / k / len(y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_near_ties_are_decided_as_in_float64(dtype):
    """Fakes within 1e-6 of the rims of the balls, inside and outside, and k-th neighbours as near as 1e-6 too."""
    rng, n, d, k = np.random.default_rng(0), 200, 256, 2
    unit = lambda: (lambda v: v / np.linalg.norm(v, axis=1, keepdims=True))(rng.normal(size=(n, d)))
    close = lambda: 1 + 1e-6 * rng.uniform(-1, 1, (n, 1))
    centres, far = 10 * rng.normal(size=(n, d)), 1.0
    x = np.concatenate([centres, *(centres + far * close() * unit() for _ in range(3))]).astype(dtype)
    y = np.concatenate([centres + far * close() * unit() for _ in range(4)]).astype(dtype)
    own, across = (cdist(x.astype(float), s.astype(float)) for s in (x, y))
    radii = np.sort(own, 1)[:, k : k + 1]
    margin = np.abs(across / radii - 1)
    assert np.sort(margin.ravel())[100] < 1e-6 and margin.min() > 1e-11  # near, but for float64 no ties
    density = (across < radii).sum() / k / len(y)
    assert prdc(x, y, k)["density"] == pytest.approx(density, rel=1e-12)
    assert abs(plain_float32(x, y, k) - density) > 1e-3


def test_exact_ties_stay_outside():
    """Whole numbers have no rounding: thousands of distances equal to a radius, none of them below it."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (300, 6)), rng.integers(0, 4, (250, 6))
    square = lambda a, b: ((a[:, None] - b) ** 2).sum(2)
    radius = np.sort(square(x, x), 1)[:, 5:6]
    inside, ties = square(x, y) < radius, square(x, y) == radius
    assert ties.sum() > 1000
    assert prdc(x, y)["density"] == pytest.approx(inside.sum() / 5 / 250, rel=1e-14)
    assert prdc(x.astype(np.float32) * 3, y.astype(np.float32) * 3)["coverage"] == inside.any(1).mean()


def test_a_generator_that_collapsed_or_copies():
    x = draw(400, 32)
    point = np.repeat(x[:1], 400, 0)
    assert prdc(x, point) == by_one_point(x, x[0])
    assert prdc(x, x.copy()) == prdc(x, x) and prdc(x.astype(np.float32), x.astype(np.float32))["recall"] == 1


def by_one_point(x, y):
    """All fakes lie on y: their radius is 0."""
    inside = np.linalg.norm(x - y, axis=1) < np.sort(cdist(x, x), 1)[:, 5]
    return {"precision": 1.0, "recall": 0.0, "density": inside.sum() / 5, "coverage": inside.mean()}


@pytest.mark.reference
@pytest.mark.parametrize(("n", "m", "d", "shift"), [(500, 400, 64, 0.05), (300, 700, 2048, 0.01)])
def test_prdc_is_that_of_the_published_package(n, m, d, shift):
    compute = pytest.importorskip("prdc").compute_prdc
    x, y = draw(n, d), draw(m, d, shift, seed=1)
    assert prdc(x, y) == pytest.approx(compute(x, y, 5), abs=1e-9)
    x, y = x.astype(np.float32), y.astype(np.float32)
    assert prdc(x, y) == pytest.approx(compute(x.astype(float), y.astype(float), 5), abs=1e-9)


@pytest.mark.reference
@pytest.mark.parametrize("k", [3, 5])
def test_precision_and_recall_are_torch_fidelitys(torch_fidelity, k):
    import torch

    theirs = torch_fidelity("metric_prc").prc_features_to_metric
    x, y = draw(400, 24), 0.8 * draw(500, 24, 0.2, seed=1)
    found = theirs(torch.tensor(y), torch.tensor(x), prc_neighborhood=k, prc_batch_size=10000, verbose=False)
    ours = prdc(x, y, k)
    assert ours["precision"] != ours["recall"]
    assert {name: ours[name] for name in ("precision", "recall")} == pytest.approx(
        {name: found[name] for name in ("precision", "recall")}, abs=1e-6
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(6, 40), st.integers(6, 40), st.integers(1, 5), st.integers(1, 6))
def test_order_and_sides(seed, n, m, k, d):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(0.5, 1, (m, d))
    found, back = prdc(x, y, k), prdc(y, x, k)
    assert prdc(rng.permutation(x), rng.permutation(y), k) == found
    assert (found["precision"], found["recall"]) == (back["recall"], back["precision"])
    same = prdc(x, x, k)
    assert same["precision"] == same["recall"] == same["coverage"] == 1


def test_density_and_coverage_have_sides():
    x, y = draw(80), 0.3 * draw(80, seed=1)
    assert all(prdc(x, y)[name] != prdc(y, x)[name] for name in ("density", "coverage"))


def test_the_1nn_test_by_hand(block):
    x, y = draw(30, 3), draw(30, 3, 0.7, seed=1)
    z, label = np.concatenate([x, y]), np.arange(60) < 30
    far = cdist(z, z)
    np.fill_diagonal(far, np.inf)
    right = label[far.argmin(1)] == label
    found = {name: score.value for name, score in nearest_neighbour_test(x, y).items()}
    assert found == {"accuracy": right.mean(), "real": right[:30].mean(), "fake": right[30:].mean()}


def test_the_1nn_test_knows_chance_distance_copies_and_collapse():
    value = lambda x, y, name="accuracy": nearest_neighbour_test(x, y)[name].value
    assert value(draw(1000), draw(1000, seed=1)) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2000))
    assert value(draw(50), draw(50, shift=100.0, seed=1)) == 1
    x = draw(50)
    assert value(x, x) == value(x, x.copy()) == 0
    collapsed = draw(50)[:1] + 1e-3 * draw(50, seed=2)
    assert value(draw(50), collapsed, "fake") > 0.9 and value(draw(50), collapsed, "real") < 1
    same = np.zeros((6, 2))
    assert value(same, same) == 0.5


def test_the_1nn_error_is_scikit_learns(block):
    from sklearn.neighbors import KNeighborsClassifier

    x, test, rng = draw(150, 4), draw(100, 4, seed=1), np.random.default_rng(0)
    y, y_test = (np.digitize(s[:, 0] + rng.normal(0, 0.3, len(s)), [-0.5, 0.5]) for s in (x, test))
    right = KNeighborsClassifier(1).fit(x, y).score(test, y_test)
    found = nearest_neighbour_error(x, y, test, y_test)
    assert found.value == pytest.approx(1 - right, abs=1e-12) and 0.1 < found.value < 0.5
    assert nearest_neighbour_error(x, y, x, y).value == 0
    assert str(found).endswith("train 150, test 100")


def test_radii_made_beforehand_change_nothing():
    x, y = (np.random.default_rng(seed).normal(size=(60, 3)).astype(np.float32) for seed in (0, 1))
    given = [metrics.prdc(x, y, 3, metrics.radii(x, k)) for k in (3, 5)]
    assert given[0] == metrics.prdc(x, y, 3) != given[1]
