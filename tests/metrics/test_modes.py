import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from gan_jax.errors import UserError
from gan_jax.metrics import kl_to_uniform, perfect_kl, perfect_stacked_modes, stacked_modes

DATA = Path(os.environ.get("GAN_JAX_DATA", "/nowhere"))
# how often each digit occurs in MNIST's training set
MNIST = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]) / 60_000


def triples(n, prior, seed=0):
    return np.random.default_rng(seed).choice(10, size=(n, 3), p=prior)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_kl_to_uniform_is_scipys_entropy_in_any_order(labels, order):
    shares = np.bincount(labels, minlength=7) / len(labels)
    expected = entropy(shares, np.full(7, 1 / 7))
    assert abs(kl_to_uniform(np.array(labels), 7).value - expected) < 1e-12
    order.shuffle(labels)
    assert abs(kl_to_uniform(np.array(labels), 7).value - expected) < 1e-12


def test_kl_to_uniform_is_0_when_even_and_log_k_when_collapsed():
    assert kl_to_uniform(np.arange(30) % 10, 10).value == pytest.approx(0, abs=1e-15)
    assert kl_to_uniform(np.full(30, 3), 10).value == pytest.approx(np.log(10))


def test_exact_stacks_are_within_their_anchor_and_of_its_protocol():
    n = 26_000
    anchor, found = perfect_stacked_modes(n, MNIST), stacked_modes(triples(n, MNIST))
    assert found["modes"] - anchor["modes"] == pytest.approx(0, abs=1e-6)
    assert abs(found["kl_to_uniform"] - anchor["kl_to_uniform"]) < 4 * anchor["kl_to_uniform"].uncertainty


def test_a_classifier_stuck_on_one_digit_of_a_channel_is_found_out():
    digits = triples(26_000, MNIST)
    digits[:, 1] = 7
    found = stacked_modes(digits)
    assert found["modes"].value == 100
    assert found["kl_to_uniform"].value == pytest.approx(np.log(10), abs=0.01)


def test_the_channels_are_distinguished():
    digits = np.array([[1, 2, 3], [3, 2, 1], [2, 1, 3], [1, 2, 3]])
    assert stacked_modes(digits)["modes"].value == 3


@pytest.mark.parametrize(
    "n, kl, spread, missing", [(26_000, 0.0236, 0.0010, 0), (25_600, 0.0239, 0.0010, 0), (2_500, 0.2273, 0.0091, 84)]
)
def test_the_anchors_of_stacked_mnist_are_those_of_a_simulation(n, kl, spread, missing):
    anchor = perfect_stacked_modes(n, MNIST)
    assert anchor["kl_to_uniform"].value == pytest.approx(kl, abs=6e-5)
    assert anchor["kl_to_uniform"].uncertainty == pytest.approx(spread, abs=6e-5)
    assert 1000 - anchor["modes"].value == pytest.approx(missing, abs=0.5)
    drawn = [stacked_modes(triples(n, MNIST, seed)) for seed in range(40)]
    kls, modes = (np.array([s[name].value for s in drawn]) for name in ("kl_to_uniform", "modes"))
    assert abs(kls.mean() - anchor["kl_to_uniform"].value) < 4 * kls.std() / np.sqrt(40)
    assert kls.std() == pytest.approx(anchor["kl_to_uniform"].uncertainty, rel=0.45)  # 4 of its standard errors
    assert abs(modes.mean() - anchor["modes"].value) <= 4 * anchor["modes"].uncertainty / np.sqrt(40)
    assert modes.std() <= 1.4 * anchor["modes"].uncertainty + 1e-9


def test_the_expected_kl_is_the_sum_over_every_outcome():
    # 3 draws of 2 classes with π = (¼, ¾): the histograms (3, 0), (2, 1), (1, 2), (0, 3)
    chances = [1 / 64, 9 / 64, 27 / 64, 27 / 64]
    kls = [entropy([k / 3, 1 - k / 3], [0.5, 0.5]) for k in (3, 2, 1, 0)]
    anchor = perfect_kl(3, np.array([0.25, 0.75]))
    assert anchor.value == pytest.approx(np.dot(chances, kls), rel=1e-13)
    assert perfect_kl(10, np.array([1.0, 0.0])).value == pytest.approx(np.log(2))


def test_the_expected_kl_is_that_of_the_textbook_for_many_draws():
    anchor = perfect_kl(100_000, np.full(10, 0.1))
    assert anchor.value == pytest.approx(9 / 200_000, rel=1e-3)  # (K − 1) / 2n, Miller 1955
    assert anchor.uncertainty == pytest.approx(np.sqrt(9 / 2) / 100_000, rel=1e-3)


@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="set GAN_JAX_DATA to the folder of real data sets")
def test_the_shares_of_the_digits_are_mnists():
    labels = np.frombuffer(gzip.decompress((DATA / "mnist/train-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
    np.testing.assert_array_equal(np.bincount(labels) / len(labels), MNIST)


@pytest.mark.parametrize(
    "labels, words", [([], "no labels"), ([0, 10], "0 to 10, but the classes are 0 to 9"), ([-1, 3], "from -1 to 3")]
)
def test_labels_that_are_none_are_refused(labels, words):
    with pytest.raises(UserError, match=words):
        kl_to_uniform(np.array(labels, int), 10)
    with pytest.raises(UserError, match=words):
        stacked_modes(np.array([labels] * 3, int).T)
