import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KernelDensity

from gan_jax.errors import UserError
from gan_jax.metrics import parzen_bandwidth, parzen_log_likelihood
from gan_jax.metrics.parzen import SIGMAS, log_densities

RNG = np.random.default_rng(0)


def by_sklearn(samples, x, sigma):
    """With a single leaf: its tree computes small densities from bounds and may be nats off (4.9 of −19 here)."""
    return KernelDensity(bandwidth=sigma, rtol=0, leaf_size=len(samples)).fit(samples).score_samples(x)


def test_densities_are_scikit_learns():
    samples, x = RNG.uniform(size=(700, 12)), RNG.uniform(size=(300, 12))  # more x than a block
    ours = log_densities(samples, x, SIGMAS)
    for i, sigma in enumerate(SIGMAS):
        np.testing.assert_allclose(ours[:, i], by_sklearn(samples, x, sigma), rtol=1e-11)


def test_the_score_is_that_of_the_bandwidth_that_is_best_on_validation():
    samples, test = RNG.uniform(size=(300, 4, 3, 1)), RNG.uniform(size=(90, 12))
    flat = samples.reshape(300, 12)
    validation = flat[:80] + RNG.normal(scale=0.17, size=(80, 12))  # nearer to the samples than test x are
    best_on = lambda x: max(SIGMAS, key=lambda sigma: by_sklearn(flat, x, sigma).mean())
    best = best_on(validation)
    assert SIGMAS[0] < best < best_on(test) < SIGMAS[-1]
    assert parzen_bandwidth(samples, validation) == best
    score, each = parzen_log_likelihood(samples, validation, test), by_sklearn(flat, test, best)
    assert score.value == pytest.approx(each.mean(), rel=1e-9)
    assert score.uncertainty == pytest.approx(each.std() / np.sqrt(90), rel=1e-9)
    assert score.source == "90 test examples"
    assert score.protocol == {"real": 90, "fake": 300, "σ": "of 10 in 0.1 … 1 on 80"}


def test_the_grid_of_sigmas_is_that_of_2014():
    np.testing.assert_allclose(SIGMAS, np.logspace(-1, 0, 10))


def test_one_sample_is_one_gaussian_even_far_away():
    x = np.array([[100.0, 0.0]])
    assert log_densities(np.zeros((1, 2)), x, (0.1,))[0, 0] == pytest.approx(
        -(100**2) / 0.02 - np.log(2 * np.pi * 0.01)
    )


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)))
def test_the_order_of_samples_and_examples_does_not_matter(order):
    samples, validation, test = np.random.default_rng(1).uniform(size=(3, 12, 5))
    first = parzen_log_likelihood(samples, validation, test)
    again = parzen_log_likelihood(samples[order], validation[order], test[order])
    assert again.value == pytest.approx(first.value, rel=1e-12)


def test_it_misleads_as_theis_et_al_say():
    """A smoothed copy of the training set beats the truth."""
    from sklearn.cluster import KMeans

    truth = lambda n: RNG.normal(size=(n, 12)) * 0.2 + 0.5
    train, validation, test = truth(1000), truth(200), truth(400)
    means = KMeans(100, n_init=1, random_state=0).fit(train).cluster_centers_
    exact = parzen_log_likelihood(truth(100), validation, test)
    assert parzen_log_likelihood(means, validation, test) - exact > 3 * exact.uncertainty


@pytest.mark.parametrize(
    "sets, words",
    [
        (((5, 3), (5, 3), (5, 4)), r"of one length, and some of each; these are \[\[5, 3\], \[5, 3\], \[5, 4\]\]"),
        (((0, 3), (5, 3), (5, 3)), "some of each"),
    ],
)
def test_sets_that_do_not_compare_are_refused(sets, words):
    with pytest.raises(UserError, match=words):
        parzen_log_likelihood(*(np.zeros(shape) for shape in sets))


def test_numbers_that_are_none_are_refused():
    with pytest.raises(UserError, match="not finite"):
        parzen_log_likelihood(np.full((4, 2), np.nan), np.zeros((4, 2)), np.zeros((4, 2)))
