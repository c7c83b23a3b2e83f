import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import wasserstein_distance

from gan_jax.errors import UserError
from gan_jax.metrics import sliced_distance, sliced_wasserstein
from gan_jax.metrics.pyramid import pyramid


def images(n, h, w, c, seed=0, blur=1.0):
    noise = np.random.default_rng(seed).normal(size=(n, h, w, c))
    smooth = ndimage.gaussian_filter(noise, (0, blur, blur, 0))
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(32, 48, 3), (64, 64, 1)])
def test_the_pyramid_is_scipys_convolution(shape):
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 256
    blur = lambda x: ndimage.convolve(x, kernel, mode="mirror")
    x = images(3, *shape).astype(np.float64)
    levels = pyramid(x, 3)
    for level in levels[:-1]:
        small = blur(x)[:, ::2, ::2]
        large = np.zeros_like(x)
        large[:, ::2, ::2] = small
        np.testing.assert_allclose(level, x - blur(large) * 4, atol=2e-4)  # float32 of values to 255
        x = small
    np.testing.assert_allclose(levels[-1], x, atol=2e-4)


def test_the_distance_is_scipys_along_each_direction():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 5)), rng.gamma(2, size=(200, 5))
    directions = np.random.default_rng(3).normal(size=(40, 5))
    directions /= np.sqrt((directions**2).sum(1, keepdims=True))
    expected = np.mean([wasserstein_distance(x @ theta, y @ theta) for theta in directions])
    assert sliced_distance(x, y, 40, seed=3) == pytest.approx(expected, rel=1e-12)


def test_the_distance_of_known_pairs():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 3))
    assert sliced_distance(x, x[rng.permutation(300)]) == pytest.approx(0, abs=1e-15)
    # a shift by v: E |θ·v| = |v| / 2 on the sphere of three dimensions; deviation |v| / √12 over directions
    error = 5 / np.sqrt(12 * 4000)
    assert sliced_distance(x, x + np.array([3, 0, 4]), 4000) == pytest.approx(2.5, abs=4 * error)
    # twice as wide a normal: E |θ·x| = √(2/π), at each direction
    wide = rng.normal(size=(20_000, 3))
    assert sliced_distance(wide, 2 * wide, 30) == pytest.approx(np.sqrt(2 / np.pi), rel=0.03)


def by_hand(real, fake, levels, seed):
    """The whole score computed again, with every patch cut out by itself and scipy's distance along each direction."""
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 256
    blur = lambda x: ndimage.convolve(x, kernel, mode="mirror")
    rng, sets = np.random.default_rng(seed), []
    for x in (real, fake):
        x, found, n = x.astype(np.float64), [], len(x)
        sides = [[side // 2**level - 6 for side in x.shape[1:3]] for level in range(levels)]
        corners = [[rng.integers(side, size=(n, 128)) for side in pair] for pair in sides]
        for level in range(levels):
            small = blur(x)[:, ::2, ::2]
            large = np.zeros_like(x)
            large[:, ::2, ::2] = small
            detail, x = (x - 4 * blur(large), small) if level < levels - 1 else (x, None)
            top, left = corners[level]
            cut = [detail[i, a : a + 7, b : b + 7] for i in range(n) for a, b in zip(top[i], left[i], strict=True)]
            patches = np.stack(cut).transpose(0, 3, 1, 2)
            patches = patches - patches.mean((0, 2, 3), keepdims=True)
            found.append((patches / patches.std((0, 2, 3), keepdims=True)).reshape(len(cut), -1))
        sets.append(found)
    values = []
    for x, y in zip(*sets, strict=True):
        directions = np.random.default_rng(seed).normal(size=(512, x.shape[1]))
        directions /= np.sqrt((directions**2).sum(1, keepdims=True))
        values.append(1e3 * np.mean([np.abs(np.sort(x @ d) - np.sort(y @ d)).mean() for d in directions]))
    return values


def test_the_score_is_its_definition():
    real, fake = images(10, 32, 32, 3), images(10, 32, 32, 3, seed=1, blur=1.5)
    scores = sliced_wasserstein(real, fake, seed=5)
    expected = by_hand(real, fake, 2, 5)
    np.testing.assert_allclose([scores["32"].value, scores["16"].value], expected, rtol=1e-4)
    assert scores["mean"].value == pytest.approx(np.mean(expected), rel=1e-4)
    assert scores["32"].protocol == {"real": 10, "fake": 10, "size": "32 x 32"} | {
        "patches": 128,
        "projections": 512,
    }
    assert str(scores["16"]).startswith("sliced Wasserstein ×10³ (16) ")


def test_blocks_of_images_are_one_whole(monkeypatch):
    real, fake = images(9, 32, 32, 1), images(9, 32, 32, 1, seed=1)
    whole = sliced_wasserstein(real, fake)
    monkeypatch.setattr("gan_jax.metrics.pyramid.BLOCK", 4)
    for level, score in sliced_wasserstein(real, fake).items():
        assert score.value == pytest.approx(whole[level].value, rel=1e-5)


def test_blurred_fakes_are_found_out_at_the_level_of_their_blur():
    real, same = (images(25, 32, 32, 1, seed, blur=0.6) for seed in (0, 1))
    floor = sliced_wasserstein(real, same)
    blurred = ndimage.gaussian_filter(same.astype(float), (0, 1, 1, 0)).astype(np.uint8)
    scores = sliced_wasserstein(real, blurred)
    assert scores["32"].value > 2 * floor["32"].value and scores["32"].value > 1.5 * scores["16"].value
    assert sliced_wasserstein(real, real)["mean"].value < 2 * floor["mean"].value


def test_brightness_and_contrast_of_a_whole_set_are_not_seen():
    real, fake = images(10, 16, 16, 3), images(10, 16, 16, 3, seed=1)
    shifted = 10 + 0.5 * fake.astype(np.float32)
    for level, score in sliced_wasserstein(real, fake).items():
        assert score.value == pytest.approx(sliced_wasserstein(real, shifted)[level].value, rel=1e-4)


def test_constant_fakes_have_a_score():
    real = images(10, 32, 32, 1)
    grey = sliced_wasserstein(real, np.full_like(real, 128))
    assert all(np.isfinite(score.value) for score in grey.values())
    assert grey["mean"].value > 5 * sliced_wasserstein(real, images(10, 32, 32, 1, seed=1))["mean"].value


def test_the_levels_go_down_to_16_pixels_evenly():
    names = lambda *shape: list(sliced_wasserstein(images(2, *shape), images(2, *shape, seed=1)))
    assert names(28, 28, 1) == ["28", "mean"]
    assert names(64, 48, 1) == ["64 x 48", "32 x 24", "mean"]


@pytest.mark.parametrize(
    "real, fake, words",
    [
        ((3, 16, 16, 1), (4, 16, 16, 1), r"one shape; they have shapes \[3, 16, 16, 1\] and \[4, 16, 16, 1\]"),
        ((3, 8, 8, 1), (3, 8, 8, 1), "16 x 16 pixels or more"),
    ],
)
def test_sets_that_do_not_compare_are_refused(real, fake, words):
    with pytest.raises(UserError, match=words):
        sliced_wasserstein(np.zeros(real, np.uint8), np.zeros(fake, np.uint8))


def test_images_that_are_no_numbers_are_refused():
    real = images(3, 16, 16, 1)
    with pytest.raises(UserError, match="diverged"):
        sliced_wasserstein(real, np.full(real.shape, np.nan))
