"""gan_jax/metrics/resize.py against Pillow and torch-fidelity."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax.metrics.resize import pil_bicubic, resize, tf1_bilinear

SHAPES = [((28, 28), (299, 299)), ((64, 48), (299, 299)), ((37, 53), (16, 31)), ((400, 333), (299, 299))]
SHAPES += [((5, 8), (5, 8)), ((8, 9), (1, 2)), ((1, 2), (7, 3))]


def noise(h, w, c=3):
    """Random pixels with black and white ones, where bicubic weights overshoot."""
    rng = np.random.default_rng((h, w))
    return np.where(rng.random((h, w, c)) < 0.3, rng.choice([0, 255], (h, w, c)), rng.integers(0, 256, (h, w, c)))


def ours(kind, x, out):
    return np.asarray(resize(jnp.asarray(x[None], jnp.uint8), *map(kind, x.shape[:2], out)))[0]


@pytest.mark.parametrize(("shape", "out"), SHAPES)
def test_bicubic_is_pillows_on_floats(shape, out):
    x = noise(*shape)
    channel = lambda c: np.asarray(Image.fromarray(x[..., c].astype(np.float32)).resize(out[::-1], Image.BICUBIC))
    theirs = np.stack([channel(c) for c in range(3)], -1).clip(0, 255)
    np.testing.assert_allclose(ours(pil_bicubic, x, out), theirs, atol=2e-4)  # float32 sums of 255s


@pytest.mark.parametrize(("shape", "out"), SHAPES)
def test_bicubic_is_pillows_on_bytes_to_one_grey_level(shape, out):
    """On mid greys: Pillow also cuts bytes to 0 .. 255 between its two passes, where floats overshoot freely."""
    x = np.random.default_rng(shape).integers(70, 186, (*shape, 3))
    theirs = np.asarray(Image.fromarray(x.astype(np.uint8)).resize(out[::-1], Image.BICUBIC), np.float32)
    assert np.abs(np.rint(ours(pil_bicubic, x, out)) - theirs).max() <= 1


@pytest.mark.reference
@pytest.mark.parametrize(("shape", "out"), SHAPES)
def test_bilinear_is_torch_fidelitys(shape, out, torch_fidelity):
    import torch

    x = noise(*shape)
    fidelity = torch_fidelity("interpolate_compat_tensorflow")
    planes = torch.tensor(x, dtype=torch.float32).permute(2, 0, 1)[None]
    theirs = fidelity.interpolate_bilinear_2d_like_tensorflow1x(planes, size=out, align_corners=False)
    theirs = theirs[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours(tf1_bilinear, x, out), theirs, atol=2e-4)


def test_bilinear_by_hand():
    """Doubling 0, 100 puts outputs at 0, ½, 1, 1½; the last has no right neighbour and stays."""
    np.testing.assert_array_equal(tf1_bilinear(2, 4) @ [0, 100], [0, 50, 100, 100])
    np.testing.assert_array_equal(tf1_bilinear(4, 2) @ [1, 2, 3, 4], [1, 3])  # no antialiasing


@pytest.mark.parametrize("kind", [tf1_bilinear, pil_bicubic])
def test_a_flat_image_stays_flat_and_an_equal_size_changes_nothing(kind):
    np.testing.assert_allclose(kind(33, 299).sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(kind(400, 299).sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(kind(17, 17), np.eye(17))


def test_bicubic_overshoots_and_is_cut():
    x = np.repeat([[0, 0, 0, 255, 255, 255]], 6, 0)[..., None]
    raw = pil_bicubic(6, 60) @ x[0, :, 0]
    assert raw.min() < -5 and raw.max() > 260
    out = ours(pil_bicubic, x, (60, 60))
    assert out.min() == 0 and out.max() == 255
