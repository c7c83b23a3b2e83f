import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, entropy

from gan_jax.errors import UserError
from gan_jax.metrics.mixtures import modes_covered, perfect_modes
from gan_jax.metrics.modes import expected_kl
from gan_jax.mixtures import draw, embedded, grid, ring

MIXTURES = [ring(), grid(), embedded(), embedded(within=27.0)]


@pytest.mark.parametrize("mixture, shape", list(zip(MIXTURES, [(8, 2), (25, 2), (10, 1200), (10, 1200)], strict=True)))
def test_an_exact_sample_has_the_moments_of_its_mixture(mixture, shape):
    n = 4000
    x = np.asarray(draw(jax.random.key(1), mixture, n), np.float64)
    assert x.shape == (n, shape[1]) and mixture.centres.shape == shape
    nearest = np.argmin([np.abs(x - c).mean(1) for c in mixture.centres], 0)
    assert abs(np.bincount(nearest, minlength=len(mixture.centres)) / n - 1 / shape[0]).max() < 4 / np.sqrt(
        n * shape[0]
    )
    noise = x - mixture.centres[nearest]
    assert noise[:, : mixture.noisy].std() == pytest.approx(mixture.sigma, rel=0.05)
    assert abs(noise[:, : mixture.noisy].mean()) < 4 * mixture.sigma / np.sqrt(n * mixture.noisy)
    assert not noise[:, mixture.noisy :].any()


def test_the_ring_and_the_grid_are_pacgans():
    np.testing.assert_allclose(ring().centres[:3], [[1, 0], [0.5**0.5, 0.5**0.5], [0, 1]], atol=1e-15)
    assert sorted(map(tuple, grid().centres)) == [(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]
    assert (ring().sigma, grid().sigma) == (0.01, 0.05)


@pytest.mark.parametrize("mixture", MIXTURES, ids=lambda mixture: f"{mixture.name} {mixture.within:g}")
def test_exact_samples_are_within_their_anchor_and_of_its_protocol(mixture):
    n = 2500
    anchor, scores = perfect_modes(mixture, n), modes_covered(draw(jax.random.key(0), mixture, n), mixture)
    assert list(scores) == list(anchor)
    for name in ("modes", "high_quality"):
        assert abs(scores[name] - anchor[name]) <= 4 * anchor[name].uncertainty + 1e-9
    if anchor["high_quality"].value > 0.5:
        assert abs(scores["reverse_kl"] - anchor["reverse_kl"]) < 4 * anchor["reverse_kl"].uncertainty


def test_the_anchors_are_closed_forms():
    for mixture, kl, spread in ((ring(), 0.0014, 0.0008), (grid(), 0.0049, 0.0014)):
        anchor = perfect_modes(mixture, 2500)
        assert anchor["modes"].value == pytest.approx(len(mixture.centres), abs=1e-9)
        assert anchor["high_quality"].value == pytest.approx(1 - np.exp(-4.5), rel=1e-12)  # 98.89 %
        assert anchor["high_quality"].uncertainty == pytest.approx(0.0021, abs=5e-5)
        assert anchor["reverse_kl"].value == pytest.approx(kl, abs=5e-5)
        assert anchor["reverse_kl"].uncertainty == pytest.approx(spread, abs=5e-5)
    for within in (26.0, 26.5, 28.0):
        share = perfect_modes(embedded(within), 100)["high_quality"].value
        assert share == pytest.approx(chi2.cdf(within**2, 700), rel=1e-9)
    assert perfect_modes(embedded(), 2500)["high_quality"].value < 1e-100


def test_the_anchor_counts_the_modes_that_few_samples_find():
    anchor = perfect_modes(grid(), 40)["modes"]
    found = [modes_covered(draw(jax.random.key(i), grid(), 40), grid())["modes"].value for i in range(300)]
    assert abs(np.mean(found) - anchor.value) < 4 * anchor.uncertainty / np.sqrt(300)
    assert np.std(found) == pytest.approx(anchor.uncertainty, rel=0.17)  # 4 of its standard errors


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.floats(0, 6)), min_size=1, max_size=30), st.randoms())
def test_samples_are_counted_one_by_one_in_any_order(placed, order):
    """Each a known number of σ outwards from a known centre of the ring."""

    def scores():
        far = np.array([1 + 0.01 * steps for _, steps in placed])[:, None]
        return {
            name: s.value for name, s in modes_covered(far * ring().centres[[m for m, _ in placed]], ring()).items()
        }

    good = [mode for mode, steps in placed if steps < 3 - 1e-9]
    borderline = any(abs(steps - 3) <= 1e-9 for _, steps in placed)
    first = scores()
    if not borderline:
        assert first["modes"] == len(set(good))
        assert first["high_quality"] == pytest.approx(len(good) / len(placed))
        shares = np.bincount(good, minlength=8) / max(len(good), 1)
        assert first["reverse_kl"] == (pytest.approx(entropy(shares, np.full(8, 1 / 8)), abs=1e-12) if good else np.inf)
    order.shuffle(placed)
    assert scores() == pytest.approx(first, abs=1e-12)


def test_a_collapsed_sampler_is_found_out():
    x = np.asarray(draw(jax.random.key(0), ring(), 2500))
    scores = modes_covered(x[x[:, 0] > 0.5], ring())  # 3 modes of 8
    assert scores["modes"].value == 3
    assert scores["high_quality"].value == pytest.approx(1 - np.exp(-4.5), abs=0.015)
    assert scores["reverse_kl"].value == pytest.approx(np.log(8 / 3), abs=0.01)
    far = modes_covered(x + 10, ring())
    assert far["modes"].value == far["high_quality"].value == 0 and far["reverse_kl"].value == np.inf


def test_no_samples_have_no_expected_kl():
    assert expected_kl(0, np.full(8, 1 / 8)) == (np.inf, 0)


@pytest.mark.parametrize(
    "samples, words",
    [
        (np.zeros((5, 3)), r"ring of 8 needs samples \[n, 2\]; these have shape \[5, 3\]"),
        (np.zeros((0, 2)), r"shape \[0, 2\]"),
        (np.full((5, 2), np.nan), "diverged"),
    ],
)
def test_samples_that_cannot_be_scored_are_refused(samples, words):
    with pytest.raises(UserError, match=words):
        modes_covered(samples, ring())
