"""gan_jax/metrics/extractors.py: features, their names, and how images are fed."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import gan_jax.metrics as metrics
from gan_jax.errors import UserError
from gan_jax.metrics import extractors, inception_v3
from gan_jax.metrics.extractors import Extractor, extract, inception, pixels, random_network


def images(n, h=12, w=12, c=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c), np.uint8)


def test_pixels_are_the_images_in_a_row():
    x = images(5)
    features, probabilities = extract(pixels(), x)
    np.testing.assert_allclose(features, x.reshape(5, -1) / 127.5 - 1, atol=1e-6)
    assert probabilities is None and features.dtype == np.float32


@pytest.mark.parametrize("batch", [4, 7, 64])
def test_features_do_not_depend_on_how_images_are_fed(batch):
    x, extractor = images(20), random_network()
    whole, _ = extract(extractor, x, batch=20)
    one_by_one = np.concatenate([extract(extractor, x[i : i + 1], batch=1)[0] for i in range(3)])
    np.testing.assert_allclose(one_by_one, whole[:3], atol=1e-5)
    for feed in (x, [x[:3], x[3:3], x[3:14], x[14:]], iter(np.split(x, 4))):
        features, _ = extract(extractor, feed, batch=batch)
        assert features.shape == (20, 64)
        np.testing.assert_allclose(features, whole, atol=1e-5)


def test_one_compilation():
    shapes = []

    def network(weights, x):
        shapes.append(x.shape)
        return x.mean((1, 2)) * weights, None

    extractor = Extractor("mean", network, jnp.ones(3))
    extract(extractor, images(20), batch=8)
    extract(extractor, images(9), batch=8)
    assert shapes == [(8, 12, 12, 3)]


def test_the_random_network_is_its_seed_and_differs_between_images():
    x = images(8, 40, 32)
    a, b, other = (extract(random_network(seed), x)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - other).max() > 0.1
    distances = np.linalg.norm(a[:, None] - a, axis=2) + 1e9 * np.eye(8)
    assert distances.min() > 0.1


def test_the_random_network_sees_pillows_bicubic():
    """Images resized by Pillow give the same features up to its rounding."""
    x = images(3, 64, 64) // 2 + 64
    small = np.stack([np.asarray(Image.fromarray(image).resize((32, 32), Image.BICUBIC)) for image in x])
    features, expected = extract(random_network(), x)[0], extract(random_network(), small)[0]
    np.testing.assert_allclose(features, expected, atol=0.02)
    assert np.abs(features - features.mean(0)).max() > 0.1


def test_grey_images_are_colour_images_of_equal_channels():
    grey = images(4, c=1)
    np.testing.assert_array_equal(extract(random_network(), grey)[0], extract(random_network(), grey.repeat(3, 3))[0])


def test_what_a_protocol_says():
    assert pixels().protocol(1) == {"extractor": "pixels", "resize": "none"}
    name = {"extractor": "random network 3", "resize": "pil_bicubic 32"}
    assert random_network(3).protocol(3) == name
    assert random_network(3).protocol(1) == name | {"grey": "repeated to 3 channels"}


@pytest.fixture
def unread(monkeypatch):
    """Without Inception's weights, which the names do not need."""
    monkeypatch.setattr(inception_v3, "load", lambda file: {})


def test_only_inceptions_2048_are_called_fid(unread):
    fid = inception("weights.pth")
    assert (fid.called("Fréchet distance"), fid.called("kernel distance")) == ("FID", "KID")
    assert fid.called("precision") == "precision" and fid.called("inception score") == "inception score"
    assert fid.protocol(3) == {"extractor": "inception-v3 2048", "resize": "tf1_bilinear 299"}
    assert inception("weights.pth", "pil_bicubic").protocol(1)["resize"] == "pil_bicubic 299"
    assert inception("weights.pth", tap="768").called("Fréchet distance") == "Fréchet distance (inception-v3 768)"
    assert pixels().called("Fréchet distance") == "Fréchet distance (pixels)"
    assert random_network().called("kernel distance") == "kernel distance (random network 0)"


def test_inceptions_options(unread):
    with pytest.raises(UserError, match=r"has no 'lanczos': give one of tf1_bilinear, pil_bicubic"):
        inception("weights.pth", resize="lanczos")
    with pytest.raises(UserError, match=r"has no 'pool3': give one of 64, 192, 768, 2048"):
        inception("weights.pth", tap="pool3")


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        (np.zeros((3, 8, 8, 1), np.float32), r"images \[n, h, w, c\] uint8; these are float32 \(3, 8, 8, 1\)"),
        (np.zeros((3, 8, 8), np.uint8), r"uint8 \(3, 8, 8\)"),
        ([images(2), images(2, 8)], r"one shape, not \(12, 12, 3\) and \(8, 12, 3\)"),
        ([], "There are no images"),
        (images(0), "There are no images"),
        (images(2, c=4), r"takes images of 1 channel \(grey\) or 3; these have 4"),
    ],
)
def test_what_are_no_images(feed, words):
    with pytest.raises(UserError, match=words):
        extract(random_network(), feed)


SHARDED = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from gan_jax.metrics import classifiers
from gan_jax.metrics.extractors import Extractor, extract, random_network
from gan_jax.pixels import to_float
assert jax.device_count() == 8
x = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
sharding = NamedSharding(mesh, PartitionSpec("data"))
seen, net = [], classifiers.Classifier(10)
weights = jax.jit(net.init)(jax.random.key(0), to_float(x))
def network(weights, images):
    features, logits = net.apply(weights, to_float(images))
    jax.debug.inspect_array_sharding(features, callback=seen.append)
    return features, logits
for extractor in (random_network(), Extractor("classifier", network, weights)):
    alone, shared = extract(extractor, x, batch=16), extract(extractor, x, batch=16, sharding=sharding)
    for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(shared), strict=True):
        np.testing.assert_allclose(many, one, atol=1e-5)
assert [len(s.device_set) for s in seen] == [1, 8] and not seen[1].is_fully_replicated, seen
"""


def test_eight_devices_give_what_one_gives(environment):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SHARDED], check=True, env=environment | flags)


def test_the_names_are_public():
    for name in ("Extractor", "extract"):
        assert getattr(metrics, name) is getattr(extractors, name) and name in metrics.__all__
