"""gan_jax/metrics/inception_v3.py against torch-fidelity's network with the same weights, drawn at random."""

import hashlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.errors import UserError
from gan_jax.metrics import inception_v3
from gan_jax.metrics.extractors import extract, inception
from gan_jax.metrics.resize import resize, tf1_bilinear


@pytest.fixture(scope="module")
def reference(tmp_path_factory, torch_fidelity):
    """(torch-fidelity's network, the file of its weights): each layer keeps its signal near 1."""
    import torch

    fidelity = torch_fidelity("feature_extractor_inceptionv3")
    file = tmp_path_factory.mktemp("weights") / inception_v3.FILE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: None)
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = fidelity.FeatureExtractorInceptionV3("fid", list(inception_v3.TAPS))
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith("weight") and tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("running_var", "bn.weight")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.2)
    torch.save(network.state_dict(), file)
    return network, file


@pytest.fixture
def weights(reference, monkeypatch):
    _, file = reference
    monkeypatch.setattr(inception_v3, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest()[:8])
    return inception_v3.load(file)


@pytest.mark.reference
def test_every_tap_is_torch_fidelitys(reference, weights):
    import torch

    network, _ = reference
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    names = inception_v3.TAPS
    theirs = dict(zip(names, network(torch.tensor(images).permute(0, 3, 1, 2)), strict=True))
    x = resize(jnp.asarray(images), tf1_bilinear(32, 299), tf1_bilinear(32, 299))
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(inception_v3.InceptionV3().apply)({"params": weights}, x)
    assert ours.keys() == names.keys()
    for name, width in names.items():
        expected = theirs[name].numpy()
        assert ours[name].shape == (2, width)
        assert 0.05 < expected.std() < 100, name  # a dead or exploding layer would prove nothing
        np.testing.assert_allclose(ours[name], expected, rtol=1e-4, atol=1e-4 * expected.std(), err_msg=name)


@pytest.mark.reference
def test_the_extractor_is_torch_fidelitys_on_grey_images(reference, weights):
    """Bytes of another size, grey repeated to three channels, and the probabilities of its inception score."""
    import torch

    network, file = reference
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 20, 1), np.uint8)
    features, probabilities = extract(inception(file), images, batch=2)
    grey = torch.tensor(images).permute(0, 3, 1, 2).repeat(1, 3, 1, 1)
    theirs = dict(zip(inception_v3.TAPS, network(grey), strict=True))
    np.testing.assert_allclose(features, theirs["2048"], rtol=1e-4, atol=1e-4 * theirs["2048"].std())
    np.testing.assert_allclose(probabilities, theirs["logits_unbiased"].softmax(1), rtol=1e-3, atol=1e-7)


@pytest.mark.reference
def test_the_weights_are_all_the_network_has(weights):
    shapes = jax.eval_shape(inception_v3.InceptionV3().init, jax.random.key(0), jnp.zeros((1, 299, 299, 3)))["params"]
    assert jax.tree.map(jnp.shape, weights) == jax.tree.map(jnp.shape, shapes)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"no file '.*none\.pth': give the weights of FID's Inception, pt_incep"):
        inception_v3.load(tmp_path / "none.pth")


def test_another_file_is_not_opened(tmp_path):
    file = tmp_path / inception_v3.FILE
    file.write_bytes(b"something else")
    with pytest.raises(
        UserError, match=r"is not the published pt_inception.*its sha256 begins with f41f3fa6, not 6726825d;"
    ):
        inception_v3.load(file)


def test_without_pytorch(tmp_path, monkeypatch):
    file = tmp_path / inception_v3.FILE
    file.write_bytes(b"something else")
    monkeypatch.setattr(inception_v3, "SHA256", "f41f3fa6")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="is read with PyTorch, which is missing: pip install torch"):
        inception_v3.load(file)


def test_what_executes_is_not_loaded(tmp_path, monkeypatch):
    """A pickle of the right hash that would call a function is refused by PyTorch itself."""
    torch = pytest.importorskip("torch")
    file = tmp_path / inception_v3.FILE
    torch.save({"fc.weight": Bomb()}, file)
    monkeypatch.setattr(inception_v3, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest()[:8])
    with pytest.raises(UserError, match="holds other things than the weights of") as caught:
        inception_v3.load(file)
    assert "weights_only" in str(caught.value.__cause__)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a file was executed",))
