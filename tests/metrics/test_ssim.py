import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_jax.errors import UserError
from gan_jax.metrics import ms_ssim, ms_ssim_diversity
from gan_jax.metrics.ssim import C1, C2, WEIGHTS, _terms, scales


def pictures(n, h, w, c, seed=0):
    """Smooth random images and noisy versions of them, as whole numbers in 0 … 255."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w] / 10
    phase = rng.uniform(0, 6, size=(4, n, 1, 1, c))
    a = 128 + 60 * np.sin(y[None, :, :, None] + phase[0]) + 60 * np.cos(2 * x[None, :, :, None] + phase[1])
    b = a + rng.normal(scale=np.linspace(1, 60, n)[:, None, None, None], size=a.shape)
    return [np.clip(np.rint(image), 0, 255).astype(np.uint8) for image in (a, b)]


def by_scipy(a, b):
    """The definition with scipy's convolution in float64 and a loop over images and channels."""
    from scipy.signal import convolve2d

    result = []
    for x, y in zip(a.astype(np.float64), b.astype(np.float64), strict=True):
        total, count = 1.0, scales(*x.shape[:2])
        for scale in range(count):
            size = min(11, *x.shape[:2])
            line = np.exp(-((np.arange(size) - size / 2 + 0.5) ** 2) / (2 * (1.5 * size / 11) ** 2))
            window = np.outer(line, line) / np.outer(line, line).sum()
            terms = []
            for channel in range(x.shape[2]):
                u, v = x[..., channel], y[..., channel]
                blur = lambda image, window=window: convolve2d(image, window, mode="valid")
                mu, nu = blur(u), blur(v)
                uu, vv, uv = blur(u * u) - mu**2, blur(v * v) - nu**2, blur(u * v) - mu * nu
                term = (2 * uv + C2) / (uu + vv + C2)
                terms.append(term if scale < count - 1 else term * (2 * mu * nu + C1) / (mu**2 + nu**2 + C1))
            total *= max(np.mean(terms), 0) ** (WEIGHTS[scale] * sum(WEIGHTS) / sum(WEIGHTS[:count]))
            if scale < count - 1:
                x, y = (sum(z[i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4 for z in (x, y))
        result.append(total)
    return np.array(result)


@pytest.mark.reference
def test_five_scales_are_pytorch_msssims():
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("pytorch_msssim")
    a, b = pictures(5, 176, 192, 1)
    theirs = reference.ms_ssim(
        *(torch.from_numpy(x).double().permute(0, 3, 1, 2) for x in (a, b)), data_range=255, size_average=False
    )
    ours = np.asarray(ms_ssim(a, b))
    assert 0.2 < ours.min() < 0.8 < ours.max() < 1
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-5)  # float32, and variances are differences of squares


@pytest.mark.reference
def test_a_single_scale_is_scikit_images_where_the_window_fits():
    metrics = pytest.importorskip("skimage.metrics")
    a, b = pictures(4, 32, 40, 3)
    for x, y in zip(a.astype(np.float64), b.astype(np.float64), strict=True):
        _, theirs = metrics.structural_similarity(
            x,
            y,
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        luminance, structure = _terms(x[None].astype(np.float32), y[None].astype(np.float32))
        np.testing.assert_allclose(
            (luminance * structure)[0], theirs[5:-5, 5:-5], rtol=0, atol=6e-5
        )  # float32, place by place


@pytest.mark.parametrize("shape, count", [((176, 192, 3), 5), ((64, 64, 3), 5), ((32, 32, 3), 5), ((28, 28, 1), 3)])
def test_small_images_and_colours_are_as_defined(shape, count):
    a, b = pictures(4, *shape)
    assert scales(*shape[:2]) == count
    np.testing.assert_allclose(ms_ssim(a, b), by_scipy(a, b), rtol=1e-4)


def test_the_scales_are_those_that_halve_evenly():
    assert [scales(*size) for size in [(256, 256), (48, 16), (28, 28), (8, 8), (7, 7), (32, 30)]] == [5, 5, 3, 4, 1, 2]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(6)))
def test_it_is_symmetric_1_of_equal_images_and_pair_by_pair(seed, order):
    a, b = pictures(6, 32, 32, 1, seed)
    whole = np.asarray(ms_ssim(a, b))
    np.testing.assert_allclose(ms_ssim(b[order], a[order]), whole[order], rtol=1e-4)
    np.testing.assert_allclose(ms_ssim(a, a), 1, rtol=1e-5)
    assert (whole < 1).all() and (whole >= 0).all()


def test_batches_are_one_whole(monkeypatch):
    images, _ = pictures(12, 16, 16, 1)
    whole = ms_ssim_diversity(images)
    monkeypatch.setattr("gan_jax.metrics.ssim.BATCH", 4)
    assert ms_ssim_diversity(images).value == pytest.approx(whole.value, rel=1e-5)


def test_diversity_is_the_mean_over_pairs_that_share_no_image():
    images, _ = pictures(60, 32, 32, 1)
    score = ms_ssim_diversity(images, pairs=20, seed=4)
    rows = np.random.default_rng(4).permutation(60)[:40]
    each = by_scipy(images[rows[::2]], images[rows[1::2]])
    assert score.value == pytest.approx(each.mean(), rel=1e-4)
    assert score.uncertainty == pytest.approx(each.std(ddof=1) / np.sqrt(20), rel=1e-3)
    assert score.protocol == {"fake": 60, "size": "32 x 32", "pairs": 20, "scales": 5}
    assert ms_ssim_diversity(images).protocol["pairs"] == 30


def test_its_standard_error_is_that_of_the_mean_over_sets():
    images, _ = pictures(2000, 16, 16, 1)
    sets = [ms_ssim_diversity(part) for part in np.split(images, 50)]
    spread = np.std([s.value for s in sets], ddof=1)
    assert np.mean([s.uncertainty for s in sets]) == pytest.approx(spread, rel=0.4)  # 4 standard errors of a deviation


def test_a_collapsed_class_is_found_out():
    images, _ = pictures(40, 32, 32, 1)
    assert ms_ssim_diversity(np.repeat(images[:1], 40, 0)).value == pytest.approx(1, abs=1e-5)
    assert ms_ssim_diversity(images).value < 0.5


def test_images_of_two_shapes_are_refused():
    with pytest.raises(UserError, match=r"one shape; these have shape \[2, 8, 8, 1\] and \[2, 8, 9, 1\]"):
        ms_ssim(np.zeros((2, 8, 8, 1)), np.zeros((2, 8, 9, 1)))


@pytest.mark.parametrize("value", [-1.0, 256.0, np.nan])
def test_images_of_another_range_are_refused(value):
    with pytest.raises(UserError, match="needs images in 0 … 255"):
        ms_ssim_diversity(np.full((4, 8, 8, 1), value))


@pytest.mark.parametrize(
    "n, pairs, words", [(10, 6, "6 pairs need 12 images or more; there are 10"), (3, None, "2 pairs")]
)
def test_too_few_images_for_the_pairs_are_refused(n, pairs, words):
    with pytest.raises(UserError, match=words):
        ms_ssim_diversity(np.zeros((n, 16, 16, 1)), pairs)
