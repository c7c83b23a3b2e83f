import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.errors import UserError
from gan_jax.priors import get, labelled, normal, uniform

key = jax.random.key(3)


def test_normal_is_normal():
    z = normal(4, 5)(key, 1000)
    assert z.shape == (1000, 4, 5) and z.dtype == jnp.float32
    assert stats.kstest(np.ravel(z), "norm").pvalue > 0.01


def test_truncated_normal_redraws_what_lies_outside():
    z = np.ravel(normal(20)(key, 1000, truncation=0.7))
    assert np.abs(z).max() <= 0.7
    assert stats.kstest(z, stats.truncnorm(-0.7, 0.7).cdf).pvalue > 0.01  # neither clipped nor rescaled
    assert normal(2)(key, 3, truncation=1e-3).std() > 0
    np.testing.assert_allclose(normal(20)(key, 1000, truncation=30.0).std(), 1, rtol=0.02)


@pytest.mark.parametrize("truncation", [0.0, -1.0])
def test_truncation_is_positive(truncation):
    with pytest.raises(UserError, match=f"truncation is {truncation}"):
        normal(2)(key, 3, truncation=truncation)


def test_uniform_fills_its_interval():
    z = np.ravel(uniform(20)(key, 1000))
    assert -1 <= z.min() < -0.99 and 0.99 < z.max() < 1
    z = np.ravel(uniform(20, low=-(3**0.5), high=3**0.5)(key, 1000))  # of variance 1
    assert stats.kstest(z, stats.uniform(-(3**0.5), 2 * 3**0.5).cdf).pvalue > 0.01


def test_labels_are_uniform_and_free_of_z():
    z, y = labelled(normal(3), 10)(key, 5000)
    assert z.shape == (5000, 3) and y.shape == (5000,) and y.dtype == jnp.int32
    assert stats.chisquare(np.bincount(y, minlength=10)).pvalue > 0.01
    assert stats.kruskal(*(np.asarray(z[y == label, 0]) for label in range(10))).pvalue > 0.01


def test_labels_given_leave_the_latents():
    prior = labelled(normal(3), 10)
    z, _ = prior(key, 8, truncation=0.5)
    for given, expected in ((7, np.full(8, 7)), (np.arange(8), np.arange(8))):
        same, y = prior(key, 8, truncation=0.5, y=given)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(z, same)
        assert y.dtype == jnp.int32
    assert jnp.abs(z).max() <= 0.5


def test_options_may_be_traced():
    """One program for all labels and truncations, with the numbers of the plain call."""
    prior, count = labelled(normal(3), 10), []

    @jax.jit
    def sample(y, truncation):
        count.append(1)
        return prior(key, 4, y=y, truncation=truncation)

    for y, truncation in ((3, 0.5), (7, 2.0)):
        found, expected = sample(y, truncation), prior(key, 4, y=y, truncation=truncation)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
    assert len(count) == 1
    bounds = np.array([0.1, 1e-3, 5.0, 0.7])
    z, y = sample(np.arange(4), bounds)
    assert y.tolist() == [0, 1, 2, 3] and (np.abs(z).max(1) <= bounds).all()
    for i in range(4):
        np.testing.assert_allclose(z[i], prior(key, 4, truncation=bounds[i])[0][i], rtol=1e-6)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"y": 10}, "y is 10, but the classes are 0 to 9"),
        ({"y": -1}, "y is -1, but the classes are 0 to 9"),
        ({"y": np.array([0, 3, 11, 2])}, "y is 11, but the classes are 0 to 9"),
        ({"y": np.arange(3)}, r"y has shape \[3\] for 4 samples: give one label, or one for each sample"),
        ({"y": 2.5}, "y is float32, but labels are whole numbers from 0 to 9"),
        ({"truncation": np.ones(3)}, r"truncation has shape \[3\] for 4 samples: give one bound, or one for each"),
        ({"truncation": np.array([1, 1, 0, 1])}, "truncation is 0, but the bound"),
    ],
)
def test_options_that_do_not_fit(options, words):
    with pytest.raises(UserError, match=words):
        labelled(normal(3), 10)(key, 4, **options)


def test_a_number_of_dimensions_is_a_normal_prior():
    np.testing.assert_array_equal(get(5)(key, 3), normal(5)(key, 3))
    assert get(uniform) is uniform
    for prior in (0, True, "normal"):
        with pytest.raises(UserError, match=f"prior is {prior!r}: give a function"):
            get(prior)


def test_a_prior_is_pure_and_maps_over_keys():
    keys = jax.random.split(key, 3)
    for prior in (normal(2), uniform(2), labelled(normal(2), 4)):
        many = jax.jit(jax.vmap(lambda k, p=prior: p(k, 5)))(keys)
        alone = jax.tree.map(lambda *x: jnp.stack(x), *(prior(k, 5) for k in keys))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), many, alone)
