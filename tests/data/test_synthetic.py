import numpy as np
import pytest
from scipy.stats import chisquare, ks_2samp, kstest, norm
from sklearn.datasets import make_swiss_roll

from gan_jax.data.sources import content_hash, load
from gan_jax.data.synthetic import mixture, stack, swiss_roll
from gan_jax.errors import UserError
from gan_jax.mixtures import embedded, grid, ring


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


def test_a_mixture_is_drawn_exactly_and_the_same_each_time():
    n, m = 50_000, grid()
    x, again, other = (mixture(m, n, seed)["x"] for seed in (0, 0, 1))
    assert x.shape == (n, 2) and x.dtype == np.float32
    np.testing.assert_array_equal(x, again)
    assert (x != other).any() and (x != x.astype(np.float16)).any()
    nearest = np.argmin([np.square(x - c).sum(1) for c in m.centres], 0)
    assert chisquare(np.bincount(nearest, minlength=25)).pvalue > 1e-3
    noise = (x - m.centres[nearest]) / m.sigma
    assert kstest(noise.ravel(), norm.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(noise.T)[0, 1]) < 4 / np.sqrt(n)


def test_a_mixture_stays_what_it_was():
    """The content hash of a set is part of a run's identity."""
    assert content_hash(mixture(ring(), 1000)) == "f2bd89b874704884"
    assert content_hash(swiss_roll(1000)) == "687ac4c783fd7456"


def test_a_mixture_embedded_in_more_dimensions_varies_where_it_says():
    x = mixture(embedded(), 200)["x"]
    constant = x[:, 700:]
    assert x.shape == (200, 1200) and (constant == constant[:, :1]).all()
    assert np.unique(constant).tolist() == sorted(embedded().centres[:, 0])
    assert kstest((x[:, :700] - constant[:, :1]).ravel(), norm.cdf).pvalue > 1e-3


def test_the_swiss_roll_is_scikit_learns():
    x, theirs = swiss_roll(20_000)["x"], make_swiss_roll(20_000, noise=0.25, random_state=0)[0][:, [0, 2]]
    assert x.shape == (20_000, 2) and x.dtype == np.float32 and (x != swiss_roll(20_000, seed=1)["x"]).any()
    for way in ([1, 0], [0, 1], [0.6, 0.8], [0.8, -0.6]):
        assert ks_2samp(x @ way, theirs @ way).pvalue > 1e-3
    radius = lambda x: np.sqrt(np.square(x).sum(1))
    assert ks_2samp(radius(x), radius(theirs)).pvalue > 1e-3
    t = 1.5 * np.pi * (1 + 2 * np.arange(9000) / 9000)
    curve = np.stack([t * np.cos(t), t * np.sin(t)], 1)
    off = np.sqrt(np.square(x[:1000, None] - curve).sum(2).min(1))  # |N(0, .25²)|, across the curve
    assert np.sqrt(np.square(off).mean()) == pytest.approx(0.25, rel=0.08)
