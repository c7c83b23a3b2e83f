"""The pool of past fakes: filled first, then each image is exchanged with probability ½."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import pool

exchange = jax.jit(pool.exchange)


def images(*values):
    return jnp.asarray(values, jnp.float32)[:, None, None, None] * jnp.ones((1, 2, 2, 1))


def numbers(x):
    return np.asarray(x)[:, 0, 0, 0].tolist()


def test_it_fills_before_it_is_used():
    past = pool.empty(5, (2, 2, 1))
    for i in (0, 2):
        shown, past = exchange(past, images(i + 1, i + 2), jax.random.key(i))
        assert numbers(shown) == [i + 1, i + 2] and int(past["held"]) == i + 2
    assert numbers(past["images"]) == [1, 2, 3, 4, 0]
    shown, past = exchange(past, images(5, 6), jax.random.key(9))  # the last free place, then a full pool
    assert numbers(shown)[0] == 5 and int(past["held"]) == 5
    assert sorted([*numbers(past["images"]), numbers(shown)[1]]) == [1, 2, 3, 4, 5, 6] or numbers(shown)[1] == 6


def by_hand(past, x, key):
    """The same with a list, image by image, and the same random numbers."""
    past, shown, size = list(past), [], 4
    for value, (k_coin, k_row) in zip(x, jax.random.split(key, (len(x), 2)), strict=True):
        if len(past) < size:
            past.append(value)
            shown.append(value)
        elif jax.random.bernoulli(k_coin):
            row = int(jax.random.randint(k_row, (), 0, size))
            shown.append(past[row])
            past[row] = value
        else:
            shown.append(value)
    return shown, past


def test_it_is_the_rule_of_the_paper():
    past, plain, fresh = pool.empty(4, (2, 2, 1)), [], iter(range(1, 1000))
    swapped = 0
    for t in range(40):
        x, key = [next(fresh) for _ in range(3)], jax.random.key(t)
        shown, past = exchange(past, images(*x), key)
        theirs, plain = by_hand(plain, x, key)
        assert numbers(shown) == theirs and numbers(past["images"])[: len(plain)] == plain
        swapped += sum(a != b for a, b in zip(theirs, x, strict=True))
    assert 35 < swapped < 80  # half of 116


def test_half_are_exchanged_and_every_place_is_used():
    n, past = 400, {"images": images(*range(8)), "held": jnp.int32(8)}
    shown, after = jax.vmap(partial(pool.exchange, past, images(99)))(jax.random.split(jax.random.key(0), n))
    seen = np.asarray(shown)[:, 0, 0, 0, 0]
    assert (seen == 99).mean() == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)
    counts = np.bincount(seen[seen != 99].astype(int), minlength=8)
    assert counts.min() > 5 and len(counts) == 8
    after = np.asarray(after["images"])[:, :, 0, 0, 0]
    assert ((after == 99).sum(1) == (seen != 99)).all()  # an image shown from the pool is replaced by the new one


def test_a_pool_of_size_0_changes_nothing():
    empty = pool.empty(0, (2, 2, 1))
    shown, after = exchange(empty, images(3, 4), jax.random.key(0))
    assert numbers(shown) == [3, 4] and after["images"].shape == (0, 2, 2, 1)
