"""Hostile files of classifiers, weights and cached features."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import GREY

from gan_jax.errors import UserError
from gan_jax.metrics import classifiers, extractors, inception_v3, references


class Bomb:
    """Makes a folder of that name when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


pytestmark = pytest.mark.usefixtures("alarm")

DEEP = "[" * 100_000


def test_a_classifier_of_anything(tmp_path):
    path = tmp_path / "a.npz"
    sizes = {"classes": 10, "height": 8, "width": 8, "channels": 1}
    sound = {"data": "digits", "data_hash": "", "accuracy": 0.9} | sizes
    huge = [sound | {name: n} for name in sizes for n in (10**12, 10**30, -1, 0.5, "x", None, [1])]
    for about in (DEEP, "[]", "3", "{}", *map(json.dumps, huge)):
        np.savez(path, about=about)
        with pytest.raises(UserError, match="is no classifier, or a broken one"):
            classifiers.load(path)
    np.savez(path, about=json.dumps(sound), **{"/".join("a" * 30_000): np.zeros(1)})
    with pytest.raises(UserError, match="is no classifier"):
        classifiers.load(path)
    like = jax.eval_shape(classifiers.Classifier(10).init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    classifiers.save(path, jax.tree.map(lambda x: np.zeros(x.shape, "U1"), like), sound)
    with pytest.raises(UserError, match="is no classifier"):
        classifiers.load(path)
    classifiers.save(path, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like), sound)
    assert classifiers.load(path)[1] == sound


def test_inception_s_weights_do_not_run(tmp_path, monkeypatch, little):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    for content in ({"fc.weight": Bomb(str(tmp_path / "hit"))}, {"fc.weight": torch.zeros(3)}, [1]):
        torch.save(content, path)
        monkeypatch.setattr(inception_v3, "SHA256", inception_v3.hashlib.sha256(path.read_bytes()).hexdigest()[:8])
        with pytest.raises(UserError, match="holds other things than the weights of"):
            inception_v3.load(path)
    assert not (tmp_path / "hit").exists()
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"would fill 1.02e\+03 GiB"):
        inception_v3.load(path)


def test_kept_features_that_are_not_those(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path))
    sound = references.reference({"x": GREY}, "grey", extractors.pixels())
    (kept,) = tmp_path.iterdir()
    for features in (np.zeros((5, 20), np.float32), np.zeros((6, 20), "U1"), np.zeros(6, np.float32), np.array([{}])):
        np.savez(kept, features=features, probabilities=np.zeros(0))
        found = references.reference({"x": GREY}, "grey", extractors.pixels())
        assert np.array_equal(found.real.features, sound.real.features)
