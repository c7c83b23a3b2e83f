"""Resampling against SciPy's upfirdn, and its two halves against each other."""

import jax.numpy as jnp
import numpy as np
from scipy.signal import upfirdn

from gan_jax.nn.resample import downsample, upsample

rng = np.random.default_rng(0)
FILTER = np.array([1, 3, 3, 1]) / 8


def along(x, axis, up, down):
    """Zeros between, [1, 3, 3, 1] / 8 · up, then every down-th, placed so that the picture stays where it is."""
    n = x.shape[axis] * up // down
    y = upfirdn(up * FILTER, x, up, axis=axis)  # place 0 is the first tap on the first pixel
    return y.take(range(1, 1 + n) if up > 1 else range(2, 2 + 2 * n, 2), axis)


def test_as_scipy():
    x = rng.normal(size=(2, 6, 4, 3))
    np.testing.assert_allclose(upsample(jnp.asarray(x)), along(along(x, 1, 2, 1), 2, 2, 1), atol=1e-6)
    np.testing.assert_allclose(downsample(jnp.asarray(x)), along(along(x, 1, 1, 2), 2, 1, 2), atol=1e-6)


def test_a_quarter_of_the_adjoint():
    x, y = rng.normal(size=(1, 3, 5, 2)), rng.normal(size=(1, 6, 10, 2))
    np.testing.assert_allclose(
        np.vdot(y, upsample(jnp.asarray(x))), 4 * np.vdot(downsample(jnp.asarray(y)), x), rtol=1e-5
    )


def test_a_ramp_stays_a_ramp():
    """Linear interpolation between the centres of pixels, away from the edge."""
    ramp = jnp.arange(6.0)[None, :, None, None] * jnp.ones((1, 1, 6, 1))
    np.testing.assert_allclose(upsample(ramp)[0, 2:-2, 5, 0], np.arange(2, 10) / 2 - 0.25, rtol=1e-6)
    np.testing.assert_allclose(downsample(ramp)[0, 1:-1, 1, 0], [2.5], rtol=1e-6)
