"""The batch plan: exact epochs, a pure function of (seed, step), the same on every NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_jax.data import batch_indices, check_enough, gather, rounds
from gan_jax.data.plan import permutation
from gan_jax.errors import UserError

MASK = 2**64 - 1


def stream(seed, n, batch, slices, steps):
    return np.concatenate([batch_indices(seed, t, n, batch, slices).ravel() for t in range(steps)])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    n=st.integers(1, 40),
    batch=st.integers(1, 17),
    slices=st.integers(1, 4),
    epochs=st.integers(1, 5),
)
def test_every_epoch_holds_every_example_once(seed, n, batch, slices, epochs):
    read = stream(seed, n, batch, slices, rounds(epochs, n, batch, slices))
    assert len(read) - slices * batch < epochs * n <= len(read)
    for epoch in range(epochs):
        assert sorted(read[epoch * n : (epoch + 1) * n]) == list(range(n))


@settings(max_examples=60, deadline=None)
@given(step=st.integers(0, 10**9), n=st.integers(1, 50), batch=st.integers(1, 20), slices=st.integers(1, 5))
def test_slices_are_successive_batches(step, n, batch, slices):
    plan = batch_indices(7, step, n, batch, slices)
    assert plan.dtype == np.int32
    alone = [batch_indices(7, step * slices + s, n, batch)[0] for s in range(slices)]
    np.testing.assert_array_equal(plan, alone)


def philox(key, count):
    """Words of Philox4x64-10 (Salmon et al. 2011, table 2 and section 3.3) in plain integers."""
    words = []
    for block in range(1, -(-count // 4) + 1):
        c, (k0, k1) = [block, 0, 0, 0], key
        for _ in range(10):
            p0, p1 = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [(p1 >> 64) ^ c[1] ^ k0, p1 & MASK, (p0 >> 64) ^ c[3] ^ k1, p0 & MASK]
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
        words += c
    return words[:count]


@pytest.mark.parametrize("seed, epoch, n", [(0, 0, 10), (0, 1, 10), (3, 2, 101), (2**63, 7, 33)])
def test_the_permutation_is_the_order_of_philox_words(seed, epoch, n):
    words = philox((seed, epoch), n)
    assert permutation(seed, epoch, n).tolist() == sorted(range(n), key=words.__getitem__)


def test_golden_permutation():
    assert permutation(0, 0, 10).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


def test_epochs_and_seeds_have_their_own_order():
    orders = [tuple(permutation(seed, epoch, 100)) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == 16


def test_the_plan_cannot_be_spoilt():
    first = batch_indices(1, 0, 5, 5)
    again = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(batch_indices(1, 0, 5, 5), again)
    with pytest.raises(ValueError, match="read-only"):
        permutation(1, 0, 5)[0] = 0


def test_rounds_of_whole_and_broken_epochs():
    assert rounds(50, 60_000, 256) == 11_719
    assert rounds(1, 100, 10, 5) == 2
    assert rounds(0.5, 100, 10) == 5


def test_gather_takes_the_plan_s_rows():
    data = {"x": np.arange(7 * 4, dtype=np.uint8).reshape(7, 2, 2, 1), "y": np.arange(7, dtype=np.int32)}
    plan = batch_indices(0, 3, 7, 4, 2)
    batch = jax.jit(gather)(data, plan)
    assert batch["x"].shape == (2, 4, 2, 2, 1) and batch["y"].dtype == jnp.int32
    np.testing.assert_array_equal(batch["y"], plan)
    np.testing.assert_allclose(batch["x"], data["x"][plan] / 127.5 - 1, atol=1e-7)


def test_a_batch_larger_than_the_set():
    data = {"x": np.zeros((5, 2, 2, 1), np.uint8)}
    check_enough(data, 5)
    with pytest.raises(UserError, match=r"a batch of 6 is more than the 5 images there are: give --batch 5"):
        check_enough(data, 6)
