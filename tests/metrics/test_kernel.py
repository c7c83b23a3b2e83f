"""The kernel distance against its definition, known answers and torch-fidelity."""

import itertools

import numpy as np
import pytest

from gan_jax import metrics
from gan_jax.errors import UserError
from gan_jax.metrics import kernel, random_subsets


def draw(n: int, d: int = 5, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, n, d)).normal(shift, 1, (n, d))


def kernel_distance(x, y):
    return metrics.kernel_distance(x, y).value


@pytest.fixture(params=[3, 1024])
def block(request, monkeypatch):
    """Small blocks, which must not change a result."""
    monkeypatch.setattr(kernel, "BLOCK", request.param)


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
    """Over 400 pairs of sets from one distribution the mean is 0 within 4 standard errors, and both signs occur."""
    found = np.array([kernel_distance(draw(20, 3, seed=i), draw(20, 3, seed=1000 + i)) for i in range(400)])
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(400)
    assert 0.3 < (found < 0).mean() < 0.8
    assert kernel_distance(draw(100), draw(100, shift=1.0, seed=1)) > 1


def test_subsets_give_their_mean_and_its_standard_error():
    x, y = draw(90), draw(80, shift=0.3, seed=1)
    subsets = random_subsets(90, 80, count=6, size=30, seed=2)
    values = [kernel_distance(x[rows_x], y[rows_y]) for rows_x, rows_y in subsets]
    found = metrics.kernel_distance(x, y, subsets)
    assert found.value == pytest.approx(np.mean(values), rel=1e-13)
    assert found.uncertainty == pytest.approx(np.std(values, ddof=1) / np.sqrt(6), rel=1e-10)
    assert str(found).endswith("(6 subsets); real 90, fake 80, subsets 6, size 30")
    assert all(len(set(rows.tolist())) == 30 for pair in subsets for rows in pair)
    order = np.random.default_rng(0).permutation(90)
    moved = [(np.argsort(order)[rows_x], rows_y) for rows_x, rows_y in subsets]
    assert metrics.kernel_distance(x[order], y, moved).value == pytest.approx(found.value, rel=1e-12)


@pytest.mark.reference
def test_subsets_are_torch_fidelitys(torch_fidelity):
    import torch

    theirs = torch_fidelity("metric_kid").kid_features_to_metric
    x, y = np.abs(draw(300, 40)), np.abs(draw(250, 40, shift=0.2, seed=1))
    found = theirs(torch.tensor(x), torch.tensor(y), kid_subsets=8, kid_subset_size=100, rng_seed=2020, verbose=False)
    rng = np.random.RandomState(2020)
    subsets = [tuple(rng.choice(n, 100, replace=False) for n in (300, 250)) for _ in range(8)]
    ours = metrics.kernel_distance(x, y, subsets)
    assert ours.value == pytest.approx(found["kernel_inception_distance_mean"], rel=1e-9)
    # Theirs is the spread of the subsets, with 1 / count in it.
    assert ours.uncertainty * np.sqrt(7) == pytest.approx(found["kernel_inception_distance_std"], rel=1e-9)


def test_identical_sets_are_slightly_below_0():
    x = draw(200, 16)
    assert -0.5 < kernel_distance(x, x) < 0


def test_what_cannot_be_scored_is_refused():
    x = draw(6)
    with pytest.raises(UserError, match="needs 2 samples"):
        kernel_distance(x, x[:1])
    with pytest.raises(UserError, match="not finite"):
        kernel_distance(x, np.full((3, 5), np.nan))
    with pytest.raises(UserError, match="two or more pairs"):
        metrics.kernel_distance(x, x, [(np.arange(3), np.arange(3))])
    with pytest.raises(UserError, match="Subsets of 1000 cannot be drawn from 6 and 6"):
        random_subsets(6, 6)
