"""Bytes and floats: the same bits by every route, and every byte comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.errors import UserError
from gan_jax.pixels import to_bytes, to_float

BYTES = np.arange(256, dtype=np.uint8)
ROUTES = {
    "NumPy": lambda f: f,
    "JAX": lambda f: lambda x: np.asarray(f(jnp.asarray(x))),
    "jit": lambda f: lambda x: np.asarray(jax.jit(f)(x)),
    "jit of constants": lambda f: lambda x: np.asarray(jax.jit(lambda: f(jnp.asarray(x)))()),
    "float64 allowed": lambda f: lambda x: _wide(f, x),
}


def _wide(f, x):
    with jax.enable_x64(True):
        return np.asarray(jax.jit(f)(x))


@pytest.mark.parametrize("back", ROUTES)
@pytest.mark.parametrize("there", ROUTES)
def test_all_bytes_come_back_by_every_route(there, back):
    x = ROUTES[there](to_float)(BYTES)
    assert x.dtype == np.float32 and (x[0], x[-1]) == (-1, 1)
    np.testing.assert_array_equal(x, to_float(BYTES))
    np.testing.assert_allclose(x, np.arange(256) / 127.5 - 1, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(ROUTES[back](to_bytes)(x), BYTES)


@pytest.mark.parametrize("route", ROUTES)
def test_half_way_values_round_the_same(route):
    half = ((2 * np.arange(255) - 254) / 255).astype(np.float32)  # between byte k and k + 1
    x = np.concatenate([half, np.nextafter(half, np.float32(-2)), np.nextafter(half, np.float32(2))])
    found = ROUTES[route](to_bytes)(x)
    np.testing.assert_array_equal(found, to_bytes(x))
    exact = 127.5 * (x.astype(np.float64) + 1)
    assert np.abs(found - exact).max() < 0.5 + 1e-4
    assert ROUTES[route](to_bytes)(np.zeros(1, np.float32)) == 128


def test_the_nearest_byte_of_any_float():
    x = np.random.default_rng(0).uniform(-1.2, 1.2, 10_000)
    near = np.abs(127.5 * (x[:, None] + 1) - np.arange(256)).argmin(1)
    np.testing.assert_array_equal(to_bytes(x), near)
    for dtype in (np.float16, jnp.bfloat16):
        low = x.astype(dtype)
        np.testing.assert_array_equal(to_bytes(low), to_bytes(low.astype(np.float32)))


def test_what_is_in_the_right_type_stays_as_it_is():
    for x in (np.ones(3), np.arange(3), jnp.ones(3, jnp.bfloat16)):
        assert to_float(x) is x
    assert to_bytes(BYTES) is BYTES


@pytest.mark.parametrize("xp", [np, jnp])
def test_what_has_no_bytes_is_refused(xp):
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(UserError, match=r"not finite .* diverged"):
            to_bytes(xp.asarray([0.0, bad]))
    with pytest.raises(UserError, match="These images are int32: give uint8"):
        to_bytes(xp.arange(3, dtype=np.int32))
