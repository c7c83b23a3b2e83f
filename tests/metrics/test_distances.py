"""gan_jax/metrics/distances.py: bounds hold for every pair, and comparisons are those of float64."""

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from gan_jax.metrics import distances
from gan_jax.metrics.distances import exact, lower, nearest, rounded, tiles, upper


def sets(d, kind):
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(70, d)), rng.normal(0.3, 1, (50, d))
    if kind == "far":
        return x + 1e6, y + 1e6
    if kind == "small":
        return 1e-30 * x, 1e-30 * y
    if kind == "uneven":  # an outlier a million times as long as the others
        x[0] *= 1e6
    if kind == "tiny rows":
        x[1], x[2:], y = -x[0], 1e-25 * x[2:], 1e-25 * y  # their squares underflow in float32
    if kind == "float32":
        return 1e18 * x.astype(np.float32), 1e18 * y.astype(np.float32)
    return x, y


@pytest.mark.parametrize("d", [1, 7, 2048])
@pytest.mark.parametrize("kind", ["plain", "far", "small", "uneven", "tiny rows", "float32"])
def test_every_distance_lies_between_its_bounds(d, kind):
    x, y = sets(d, kind)
    a, b = rounded(x, y)
    rows, columns = slice(0, 70), slice(0, 50)
    low = lower(a, b, rows, columns)
    high = upper(low, a, b, rows, columns)
    i, j = np.indices(low.shape).reshape(2, -1)
    true = exact(a, b, i, j).reshape(low.shape)
    np.testing.assert_allclose(true, cdist(x.astype(float), y.astype(float), "sqeuclidean"), rtol=1e-12)
    assert (low <= true * a.scale**2).all() and (true * a.scale**2 <= high).all()
    centred = [s - x.mean(0, dtype=float) for s in (x, y)]
    norms = [((c * a.scale) ** 2).sum(1) for c in centred]
    assert (high - low <= 5 * (d + 64) * 2.0**-24 * (norms[0][:, None] + norms[1]) + 1e-30).all()


@pytest.mark.parametrize("tile", [2, 16, 4096])
@pytest.mark.parametrize("k", [1, 4])
def test_nearest_is_a_full_search(monkeypatch, tile, k):
    monkeypatch.setattr(distances, "TILE", tile)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(83, 3)), rng.normal(size=(61, 3))
    for other in (y, x, None):
        far = cdist(x, x if other is None else other, "sqeuclidean")
        if other is None:
            np.fill_diagonal(far, np.inf)
        found, which = nearest(x, other, k)
        order = np.argsort(far, 1)[:, :k]
        np.testing.assert_allclose(np.sort(found, 1), np.take_along_axis(far, order, 1), rtol=1e-13)
        assert (np.sort(which, 1) == np.sort(order, 1)).all()


def test_tiles_cover_all_rows_once_and_are_never_short():
    for n in (1, 5, 2047, 2048, 5000, 10_000):
        cut = tiles(n, least=2100)
        assert [i for rows in cut for i in range(rows.start, rows.stop)] == list(range(n))
        assert all(rows.stop - rows.start >= min(n, 2100) for rows in cut)


def test_memory_is_bounded_by_a_tile(monkeypatch):
    """3,000 x 3,000 distances would be 36 MB in float32; a tile of 128 to 255 is .25 MB at most."""
    monkeypatch.setattr(distances, "TILE", 128)
    x = np.random.default_rng(0).normal(size=(3000, 8))
    tracemalloc.start()
    nearest(x, None, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6
