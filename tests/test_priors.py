import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.errors import UserError
from gan_jax.priors import labelled, normal, uniform

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


def test_one_label_on_the_same_latents():
    prior = labelled(normal(3), 10)
    z, _ = prior(key, 8, truncation=0.5)
    same, y = prior(key, 8, truncation=0.5, label=7)
    np.testing.assert_array_equal(y, np.full(8, 7, np.int32))
    np.testing.assert_array_equal(z, same)
    assert jnp.abs(z).max() <= 0.5
    for label in (10, -1):
        with pytest.raises(UserError, match=f"label is {label}, but the classes are 0 to 9"):
            prior(key, 8, label=label)


def test_a_prior_is_pure_and_maps_over_keys():
    keys = jax.random.split(key, 3)
    for prior in (normal(2), uniform(2), labelled(normal(2), 4)):
        many = jax.jit(jax.vmap(lambda k, p=prior: p(k, 5)))(keys)
        alone = jax.tree.map(lambda *x: jnp.stack(x), *(prior(k, 5) for k in keys))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), many, alone)
