import numpy as np
import pytest

from gan_jax.data.sources import load
from gan_jax.data.synthetic import stack
from gan_jax.errors import UserError


def test_a_stack_is_three_digits_and_says_which():
    source = load("digits")
    stacked = stack(source, 500, seed=3)
    assert stacked["x"].shape == (500, 8, 8, 3) and stacked["x"].dtype == np.uint8
    assert stacked["y"].shape == (500,) and stacked["y"].dtype == np.int32
    labels = {image.tobytes(): label for image, label in zip(source["x"], source["y"], strict=True)}
    for image, label in zip(stacked["x"], stacked["y"], strict=True):
        assert label == int("".join(str(labels[image[..., channel].tobytes()]) for channel in range(3)))


def test_a_stack_is_a_function_of_its_seed_and_reaches_every_mode():
    source = load("digits")
    first, again, other = stack(source, 26_000, 0), stack(source, 26_000, 0), stack(source, 26_000, 1)
    np.testing.assert_array_equal(first["x"], again["x"])
    assert (first["y"] != other["y"]).any()
    assert len(np.unique(first["y"])) == 1000


def test_only_grey_labelled_digits_are_stacked():
    for source in ({"x": load("digits")["x"]}, stack(load("digits"), 10)):
        with pytest.raises(UserError, match="made of grey digits"):
            stack(source, 5)
