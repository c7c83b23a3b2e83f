import numpy as np
import pytest

from gan_jax.errors import UserError
from gan_jax.metrics import inception_score


def probabilities(n, c, seed=0):
    p = np.exp(2 * np.random.default_rng(seed).normal(size=(n, c)))
    return p / p.sum(1, keepdims=True)


def test_known_answers():
    sure = np.eye(4)[np.arange(40) % 4]
    assert inception_score(sure).value == pytest.approx(4, rel=1e-12) and inception_score(sure).uncertainty < 1e-12
    assert inception_score(np.full((20, 4), 0.25)).value == pytest.approx(1, rel=1e-12)
    assert inception_score(np.repeat(np.eye(4)[:1], 20, 0)).value == pytest.approx(1, rel=1e-12)


def test_it_is_its_definition():
    p = probabilities(103, 7)
    each = []
    for i in range(10):
        part = p[i * 103 // 10 : (i + 1) * 103 // 10]
        each.append(np.exp(np.mean([sum(q * np.log(q / part.mean(0))) for q in part])))
    found = inception_score(p)
    assert found.value == pytest.approx(np.mean(each), rel=1e-12)
    assert found.uncertainty == pytest.approx(np.std(each, ddof=1) / np.sqrt(10), rel=1e-10)
    assert str(found).endswith("(10 splits); fake 103, classes 7, splits 10")


def test_one_split_has_no_uncertainty_and_no_order():
    p = probabilities(50, 5)
    found = inception_score(p, splits=1)
    assert found.uncertainty is None and found.source == ""
    assert inception_score(p[::-1], splits=1).value == pytest.approx(found.value, rel=1e-13)


@pytest.mark.reference
def test_it_is_torch_fidelitys(torch_fidelity):
    import torch

    theirs = torch_fidelity("metric_isc").isc_features_to_metric
    logits = 2 * np.random.default_rng(0).normal(size=(1003, 20))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found, ours = theirs(torch.tensor(logits), splits=10, shuffle=False), inception_score(p)
    assert ours.value == pytest.approx(found["inception_score_mean"], rel=1e-10)
    assert 3 * ours.uncertainty == pytest.approx(found["inception_score_std"], rel=1e-8)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(UserError, match="5 samples cannot be cut into 10 splits"):
        inception_score(probabilities(5, 3))
    for bad in (2 * probabilities(20, 3), probabilities(20, 3) * np.nan, np.array([[2.0, -1.0]] * 20)):
        with pytest.raises(UserError, match="needs the probabilities of a classifier"):
            inception_score(bad)
