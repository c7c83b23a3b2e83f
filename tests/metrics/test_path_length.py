import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2
from scipy.stats.mstats import trimmed_stde

from gan_jax.errors import UserError
from gan_jax.metrics import lerp, perceptual_path_length, slerp
from gan_jax.metrics.path_length import _trimmed_mean

KEY = jax.random.key(0)


def squared(a, b):
    return jnp.square(a - b).sum(-1)


def normal(d):
    return lambda key, n: jax.random.normal(key, (n, d))


def trimmed_chi2(d):
    """E of a χ² between its 1 % and 99 % quantiles."""
    low, high = chi2.ppf([0.01, 0.99], d)
    return d * (chi2.cdf(high, d + 2) - chi2.cdf(low, d + 2)) / 0.98


@pytest.mark.parametrize("span", [0.0, 1.0])
def test_a_scaled_rotation_has_its_closed_form_on_straight_lines(span):
    # |3Q (b − a)|² = 18 χ²_8, whatever t and ε
    Q = jnp.linalg.qr(jax.random.normal(jax.random.key(5), (8, 8)))[0]
    score = perceptual_path_length(
        KEY, lambda z: 3 * z @ Q, normal(8), squared, 20_000, interpolation=lerp, span=span, batch=1000
    )
    assert abs(score.value - 18 * trimmed_chi2(8)) < 4 * score.uncertainty
    assert score.uncertainty < 0.01 * score.value
    assert score.protocol == {"fake": 20_000, "distance": "squared", "interpolation": "lerp"} | {
        "t": f"0 … {span:g}",
        "ε": 1e-4,
    }


def test_the_identity_goes_a_great_circle_at_the_speed_of_its_angle():
    unit = lambda key, n: (lambda z: z / jnp.linalg.norm(z, axis=-1, keepdims=True))(normal(3)(key, n))
    score = perceptual_path_length(KEY, lambda z: z, unit, squared, 20_000, epsilon=1e-2, batch=1000)
    # two points of the sphere: the angle has density sin(a) / 2, so P(angle ≤ a) = (1 − cos a) / 2
    low, high = np.arccos([1 - 2 * 0.01, 1 - 2 * 0.99])
    angles = np.linspace(low, high, 10_001)
    expected = np.mean(angles**2 * np.sin(angles)) / np.mean(np.sin(angles))
    assert abs(score.value - expected) < 4 * score.uncertainty + 1e-4 * expected  # the chord for the arc


def test_t_is_spread_over_the_whole_path():
    # G(z) = z² / 2 between 0 and 1 has speed t: E t² = 1/3 at random t, 0 at the start
    prior = lambda key, n: jnp.repeat(jnp.array([[0.0], [1.0]]), n // 2, 0)
    length = lambda span: perceptual_path_length(
        KEY, lambda z: z**2 / 2, prior, squared, 4000, interpolation=lerp, span=span, epsilon=1e-3, batch=1000
    )
    assert abs(length(1.0).value - 1 / 3) < 4 * length(1.0).uncertainty + 1e-3
    assert length(0.0).value == pytest.approx(1e-6 / 4, rel=1e-3)


def test_slerp_is_the_classic_formula_where_the_ends_are_of_one_length():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50, 6))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    t = rng.uniform(size=(50, 1))
    angle = np.arccos((a * b).sum(1, keepdims=True))  # Shoemake 1985
    classic = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    np.testing.assert_allclose(slerp(*map(jnp.float32, (3 * a, 3 * b, t))), 3 * classic, atol=3e-6)


def test_slerp_turns_the_direction_and_keeps_the_length_of_a_normal():
    a, b = jax.random.normal(KEY, (2, 100, 512))
    for t in (0.0, 0.25, 1.0):
        at = slerp(a, b, jnp.full((100, 1), t))
        length = (1 - t) * jnp.linalg.norm(a, axis=1) + t * jnp.linalg.norm(b, axis=1)
        np.testing.assert_allclose(jnp.linalg.norm(at, axis=1), length, rtol=1e-5)
    np.testing.assert_allclose(slerp(a, b, jnp.zeros((100, 1))), a, atol=1e-5)
    np.testing.assert_allclose(slerp(a, b, jnp.ones((100, 1))), b, atol=1e-5)


def test_the_standard_error_is_that_of_the_trimmed_mean():
    x = np.random.default_rng(0).gamma(1.0, size=(2000, 501))
    means, errors = np.array([_trimmed_mean(row) for row in x]).T
    assert errors.mean() == pytest.approx(means.std(), rel=0.05)
    assert errors[0] == pytest.approx(trimmed_stde(x[0], (0.01, 0.01)), rel=1e-9)
    assert means[0] == pytest.approx(np.sort(x[0])[5:-5].mean(), rel=1e-12)  # those at the two quantiles stay


def test_products_keep_more_digits_than_the_step_has():
    seen = []
    generator = lambda z: seen.append(jax.config.jax_default_matmul_precision) or z
    perceptual_path_length(KEY, generator, normal(4), squared, 200)
    assert seen == ["highest"] * 2


def test_it_is_a_function_of_its_key():
    run = lambda seed: perceptual_path_length(jax.random.key(seed), jnp.tanh, normal(4), squared, 250, batch=250).value
    assert run(0) == run(0) != run(1)


@pytest.mark.parametrize(
    "generator, n, words", [(jnp.tanh, 199, "200 pairs"), (lambda z: jnp.log(z), 200, "are not finite")]
)
def test_what_has_no_path_length_is_refused(generator, n, words):
    with pytest.raises(UserError, match=words):
        perceptual_path_length(KEY, generator, normal(4), squared, n)
