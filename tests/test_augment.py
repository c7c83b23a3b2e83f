"""Crops and mirror images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment import cut, flip
from gan_jax.errors import UserError

PLACES = np.stack(np.meshgrid(np.arange(5), np.arange(6), indexing="ij"), -1).astype(np.float32)  # [5, 6, 2]


def test_a_crop_is_a_window_and_each_picture_has_its_own():
    n, x = 500, jnp.asarray(PLACES)[None].repeat(500, 0)
    found = np.asarray(jax.jit(cut, static_argnums=2)(jax.random.key(0), x, 4))
    assert found.shape == (n, 4, 4, 2)
    corners = found[:, 0, 0].astype(int)
    for (i, j), window in zip(corners, found, strict=True):
        np.testing.assert_array_equal(window, PLACES[i : i + 4, j : j + 4])
    ways, counts = np.unique(corners, axis=0, return_counts=True)
    assert ways.tolist() == [[i, j] for i in range(2) for j in range(3)] and counts.min() > 50  # 83 ± 8


def test_a_whole_picture_is_not_cut():
    x = jnp.asarray(PLACES)[None, :, :5]
    np.testing.assert_array_equal(cut(jax.random.key(1), x, 5), x)


def test_a_crop_of_a_smaller_picture():
    with pytest.raises(UserError, match="squares of 6 pixels, but the pictures are 6x5: give 5 or less"):
        cut(jax.random.key(0), jnp.asarray(PLACES)[None], 6)


def test_half_are_mirrored():
    x = jnp.asarray(PLACES)[None].repeat(400, 0)
    found = np.asarray(flip(jax.random.key(0), x))
    mirrored = (found == PLACES[:, ::-1]).all((1, 2, 3))
    assert (mirrored | (found == PLACES).all((1, 2, 3))).all() and 160 < mirrored.sum() < 240
