"""The Fréchet distance against closed forms, scipy's square root and other ways to the same number."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from gan_jax.errors import UserError
from gan_jax.metrics import Moments, frechet, frechet_distance, intra_class_frechet_distance, merge, moments


def draw(n, d, seed=0):
    """Correlated features with a mean that is not 0."""
    rng = np.random.default_rng((seed, n, d))
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d) + rng.normal(size=d)


def gaussian(mean, covariance, n=1000):
    return Moments(n, np.asarray(mean, float), np.asarray(covariance, float) * (n - 1))


def by_sqrtm(x, y):
    """scipy's square root of C_x C_y on the span of the set of lower rank: there the product has full rank."""
    mean, cov = (lambda s: s.mean(0)), (lambda s: np.cov(s, rowvar=False))
    small = min(x, y, key=lambda s: np.linalg.matrix_rank(s - s.mean(0)))
    _, values, span = np.linalg.svd(small - small.mean(0), full_matrices=False)
    span = span[values > 1e-10 * values[0]]
    root = sqrtm((span @ cov(x) @ span.T) @ (span @ cov(y) @ span.T))
    return ((mean(x) - mean(y)) ** 2).sum() + np.trace(cov(x)) + np.trace(cov(y)) - 2 * np.trace(root).real


@pytest.mark.parametrize(("n", "m", "d"), [(400, 500, 32), (900, 700, 64), (20, 300, 64), (40, 30, 64), (2, 9, 16)])
def test_it_is_scipys(n, m, d):
    """Of full rank, and of rank n − 1 < d in one set or both."""
    x, y = draw(n, d), draw(m, d, seed=1)
    assert frechet_distance(x, y).value == pytest.approx(by_sqrtm(x, y), rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(25, 600, 96), (30, 30, 300)])
def test_it_needs_no_covariance_when_there_are_few_rows(n, m, d):
    """tr √(C_x C_y) is the sum of the singular values of X Yᵀ / √((n − 1)(m − 1)), centred."""
    x, y = draw(n, d), draw(m, d, seed=1)
    a, b = x - x.mean(0), y - y.mean(0)
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt((n - 1) * (m - 1))
    spread = (a**2).sum() / (n - 1) + (b**2).sum() / (m - 1)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + spread - 2 * cross
    assert frechet_distance(x, y).value == pytest.approx(expected, rel=1e-9)


def test_gaussians_with_a_closed_form():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    p, q, gap = rng.uniform(0.1, 3, 6), rng.uniform(0.1, 3, 6), rng.normal(size=6)
    p[:2] = 0  # of rank 4
    diagonal = lambda s: (turn * s) @ turn.T
    found = frechet_distance(gaussian(0 * gap, diagonal(p)), gaussian(gap, diagonal(q)))
    assert found.value == pytest.approx((gap**2).sum() + ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(), rel=1e-12)
    # 2 x 2, not commuting: tr √M = √(tr M + 2 √det M).
    a, b = np.array([[2.0, 1.0], [1.0, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    cross = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a + b) - 2 * cross
    assert frechet_distance(gaussian([0, 0], a), gaussian([0, 0], b)).value == pytest.approx(expected, rel=1e-12)
    # Supports at right angles: nothing in common.
    flat = frechet_distance(gaussian([0, 0], np.diag([1.0, 0])), gaussian([0, 0], np.diag([0, 4.0])))
    assert flat.value == pytest.approx(5, rel=1e-15)


def test_samples_of_known_gaussians_come_near():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (20_000, 4)), rng.normal(0.5, 2, (20_000, 4))
    assert frechet_distance(x, y).value == pytest.approx(4 * 0.25 + 4, rel=0.03)


def test_equal_sets_and_order():
    x, y = draw(50, 80), draw(60, 80, seed=1)
    assert frechet_distance(x, x).value == pytest.approx(0, abs=1e-11 * np.trace(np.cov(x, rowvar=False)))
    found = frechet_distance(x, y)
    assert frechet_distance(y, x).value == pytest.approx(found.value, rel=1e-11)
    assert frechet_distance(x[::-1], y).value == pytest.approx(found.value, rel=1e-11)
    assert str(found).startswith("Fréchet distance ") and str(found).endswith("; real 50, fake 60")


@pytest.mark.reference
def test_it_is_torch_fidelitys(torch_fidelity):
    import torch

    fid = torch_fidelity("metric_fid")
    x, y = draw(300, 48), draw(400, 48, seed=1)
    stats = [fid.fid_features_to_statistics(torch.tensor(s)) for s in (x, y)]
    found = fid.fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
    assert frechet_distance(x, y).value == pytest.approx(found, rel=1e-9)


def test_moments_are_numpys_far_from_0():
    """At 1e6 from 0, Σ x xᵀ − n μ μᵀ keeps four digits of a variance of 1; these keep all that float64 inputs have."""
    x = draw(5000, 20)
    found = moments(x + 1e6)
    centred = (x + 1e6) - 1e6
    np.testing.assert_allclose(found.covariance, np.cov(centred, rowvar=False), rtol=1e-9, atol=1e-9)
    naive = ((x + 1e6).T @ (x + 1e6) - 5000 * np.outer(found.mean, found.mean)) / 4999
    assert np.abs(naive - found.covariance).max() > 1e-4


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 40))
def test_streaming_is_whole(seed, sizes, block):
    x = draw(sum(sizes), 7, seed) + 100
    parts = np.split(x, np.cumsum(sizes)[:-1])
    old, frechet.BLOCK = frechet.BLOCK, block
    try:
        found, backwards = moments(iter(parts)), moments(parts[::-1])
    finally:
        frechet.BLOCK = old
    for of in (found, backwards, moments(x)):
        assert of.n == len(x)
        np.testing.assert_allclose(of.mean, x.mean(0), rtol=1e-13)
        np.testing.assert_allclose(of.scatter, (x - x.mean(0)).T @ (x - x.mean(0)), rtol=1e-9, atol=1e-9)


def test_moments_can_stand_for_features():
    x, y = draw(50, 12), draw(60, 12, seed=1)
    found = frechet_distance(x, y)
    halves = merge(moments(x[:20]), moments(x[20:]))
    for a, b in ((halves, y), (x, moments(y)), (halves, moments(y))):
        other = frechet_distance(a, b)
        assert other.value == pytest.approx(found.value, rel=1e-12) and other.protocol == found.protocol


@pytest.mark.slow
def test_moments_at_full_size():
    """50,000 x 2,048 float32, a hundred spreads from 0, against one block in float64."""
    x = np.random.default_rng(0).standard_normal((50_000, 2048), np.float32) + np.float32(100)
    found, z = moments(x), x.astype(np.float64)
    np.testing.assert_allclose(found.mean, z.mean(0), rtol=1e-13)
    z -= z.mean(0)
    np.testing.assert_allclose(found.scatter, z.T @ z, rtol=1e-9, atol=1e-6)


def test_features_on_8_devices(environment):
    code = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from gan_jax import metrics
x, y = np.random.default_rng(0).normal(size=(2, 160, 24)).astype(np.float32)
rows = NamedSharding(jax.make_mesh((8,), ("data",)), PartitionSpec("data"))
apart = [jax.device_put(jnp.asarray(s), rows) for s in (x, y)]
assert len(apart[0].sharding.device_set) == 8
one = lambda f: (f(x, y), f(*apart))
for f in (metrics.frechet_distance, metrics.kernel_distance):
    a, b = one(f)
    assert abs(a.value - b.value) <= 1e-14 * abs(a.value) and a.protocol == b.protocol
for f in (metrics.prdc, metrics.nearest_neighbour_test):
    a, b = one(f)
    assert a == b
"""
    own = environment | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    subprocess.run([sys.executable, "-c", code], check=True, env=own)
    assert os.environ.get("XLA_FLAGS") != own["XLA_FLAGS"]


def test_the_mean_over_classes():
    x, y = draw(120, 5), draw(90, 5, seed=1)
    of_x, of_y = np.arange(120) % 3 * 7, np.arange(90) % 3 * 7
    found = intra_class_frechet_distance(x, of_x, y, of_y)
    each = [by_sqrtm(x[of_x == c], y[of_y == c]) for c in (0, 7, 14)]
    assert found.value == pytest.approx(np.mean(each), rel=1e-9)
    assert found.value != pytest.approx(frechet_distance(x, y).value, rel=1e-2)
    assert list(found.protocol.items()) == [("real", 120), ("fake", 90), ("classes", 3)]


def test_what_cannot_be_scored_is_refused():
    x = draw(6, 5)
    for bad, words in (
        ((x, x[:, :4]), "one length, not 5 and 4"),
        ((moments(x), x[:, :4]), "one length, not 5 and 4"),
        ((x, x[:1]), "needs 2 samples or more in each set; there are 6 and 1"),
        ((moments(x[:1]), moments(x)), "needs 2 samples or more in each set; there are 1 and 6"),
        ((x, x * np.nan), "not finite"),
        ((moments(x), x * np.nan), "not finite"),
    ):
        with pytest.raises(UserError, match=words):
            frechet_distance(*bad)
    with pytest.raises(UserError, match="no features"):
        moments([])
    with pytest.raises(UserError, match="one length, not 5 and 4"):
        moments([x, x[:, :4]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    for bad, words in (
        ((x, labels, x, np.zeros(6, int)), "Class 1 has 3 real samples and 0 fakes"),
        ((x, labels, x, np.array([0, 0, 0, 1, 1, 2])), "Class 2 has 0 real samples and 1 fakes"),
        ((x, labels, x, labels[:5]), "6 samples and 5 labels"),
    ):
        with pytest.raises(UserError, match=words):
            intra_class_frechet_distance(*bad)
