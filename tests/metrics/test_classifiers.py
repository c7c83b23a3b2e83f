"""gan_jax/metrics/classifiers.py and the command that trains one, on scikit-learn's digits."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import optimised
from sklearn.linear_model import LogisticRegression

from benchmarks import classifier as command
from gan_jax import data
from gan_jax.errors import UserError
from gan_jax.metrics import classifiers, extract
from gan_jax.metrics.extractors import classifier
from gan_jax.pixels import to_float

ABOUT = {
    "data": "digits",
    "data_hash": "0" * 16,
    "classes": 10,
    "height": 8,
    "width": 8,
    "channels": 1,
    "accuracy": 0.9,
}


def split(first):
    digits = data.load("digits")
    part = slice(None, 1400) if first else slice(1400, None)
    return digits["x"][part], digits["y"][part]


@pytest.fixture(scope="module")
def trained():
    with optimised():
        return classifiers.fit(*split(True), epochs=12, batch=64)


@pytest.fixture
def file(trained, tmp_path):
    classifiers.save(tmp_path / "digits.npz", trained, ABOUT)
    return tmp_path / "digits.npz"


def test_it_learns_as_much_as_logistic_regression(trained):
    (x, y), (x_held, y_held) = split(True), split(False)
    flat = lambda x: x.reshape(len(x), -1) / 255
    linear = LogisticRegression(max_iter=1000).fit(flat(x), y).score(flat(x_held), y_held)
    assert classifiers.accuracy(trained, x_held, y_held) > max(linear, 0.92)


def test_its_features_tell_the_classes_apart(file):
    """A linear model of the features is as accurate as the network, whose probabilities are roughly calibrated."""
    x, y = split(False)
    features, probabilities = extract(classifier(file), x)
    assert features.shape == (len(x), 128) and probabilities.shape == (len(x), 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    right = (probabilities.argmax(1) == y).mean()
    assert right == pytest.approx(classifiers.accuracy(classifiers.load(file)[0], x, y))
    assert probabilities.max(1).mean() == pytest.approx(right, abs=0.05)
    learnt, classes = split(True)
    line = LogisticRegression(max_iter=1000).fit(extract(classifier(file), learnt)[0], classes)
    assert line.score(features, y) > right - 0.03


@pytest.mark.slow
def test_the_same_seed_is_the_same_classifier():
    x, y = split(True)
    fit = lambda: classifiers.fit(x[:128], y[:128], epochs=1, batch=64)
    jax.tree.map(np.testing.assert_array_equal, fit(), fit())


def test_images_move_by_two_pixels_of_28_and_mirror_if_asked():
    x = np.zeros((400, 28, 28, 1), np.uint8)
    x[:, 10, 5] = 255
    for flip, columns in ((False, {3, 4, 5, 6, 7}), (True, {3, 4, 5, 6, 7, 20, 21, 22, 23, 24})):
        n, rows, where, _ = np.nonzero(classifiers._moved(np.random.default_rng(0), x, flip))
        assert len(n) == 400 and set(rows) == {8, 9, 10, 11, 12} and set(where) == columns
    tiny = np.arange(8 * 64).astype(np.uint8).reshape(8, 8, 8, 1)
    np.testing.assert_array_equal(classifiers._moved(np.random.default_rng(0), tiny, False), tiny)


def test_an_epoch_is_every_image_once():
    rows = np.concatenate(list(classifiers._batches(np.random.default_rng(0), 103, 10)))
    assert len(rows) == 100 == len(set(rows)) and rows.max() < 103


def test_a_file_gives_back_what_was_saved_and_is_named_by_its_bytes(trained, file, tmp_path):
    weights, about = classifiers.load(file)
    assert about == ABOUT
    jax.tree.map(np.testing.assert_array_equal, weights, trained)
    classifiers.save(tmp_path / "again.npz", trained, ABOUT)
    assert classifier(file).name == classifier(tmp_path / "again.npz").name
    other = jax.tree.map(lambda w: w + 1e-6, trained)
    classifiers.save(tmp_path / "other.npz", other, ABOUT)
    assert classifier(file).name != classifier(tmp_path / "other.npz").name


def test_its_scores_are_never_called_fid(file):
    ours = classifier(file)
    assert ours.called("Fréchet distance") == "classifier Fréchet distance (digits)"
    assert ours.called("precision") == "classifier precision (digits)"
    assert ours.called("inception score") == "classifier score (digits)"
    assert ours.protocol(1) == {"extractor": ours.name, "resize": "none"}


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"no file '.*none\.npz': give the .npz of a trained classifier"):
        classifiers.load(tmp_path / "none.npz")


@pytest.mark.parametrize("how", ["text", "cut", "other arrays", "other shapes", "objects", "a list", "unsaid"])
def test_another_file(how, trained, file, tmp_path):
    whole, path = file.read_bytes(), tmp_path / "bad.npz"
    if how == "text":
        path.write_text("no archive")
    elif how == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "other arrays":
        np.savez(path, x=np.zeros((3, 8, 8)))
    elif how == "other shapes":
        classifiers.save(path, trained, ABOUT | {"height": 16})
    elif how == "objects":
        np.savez(path, about=np.array({"classes": 10}, dtype=object))
    elif how == "a list":
        np.savez(path, about=json.dumps([1]))
    else:
        classifiers.save(path, trained, {name: ABOUT[name] for name in ABOUT if name != "data"})
    with pytest.raises(UserError, match=r"'.*bad\.npz' is no classifier, or a broken one: train it again"):
        classifiers.load(path)


@pytest.mark.parametrize("shape", [(3, 28, 28, 1), (3, 8, 8, 3)])
def test_images_of_another_shape(shape, file):
    words = (
        rf"digits [0-9a-f]{{8}} was trained on images 8 x 8 x 1, and these are {' x '.join(map(str, shape[1:]))}: bring"
    )
    with pytest.raises(UserError, match=words):
        extract(classifier(file), np.zeros(shape, np.uint8))


def test_the_network_in_plain_numpy(trained):
    """The first convolution, its normalisation and the last layer, spelled out."""
    x = split(False)[0][:3]
    net = classifiers.Classifier(10)
    (_, logits), found = net.apply(trained, to_float(jnp.asarray(x)), capture_intermediates=True)
    params, stats = trained["params"], trained["batch_stats"]["BatchNorm_0"]
    padded = np.pad(x / 127.5 - 1, ((0, 0), (1, 1), (1, 1), (0, 0)))
    first = np.zeros((3, 4, 4, 32))
    for i in range(4):
        for j in range(4):
            first += padded[:, i : i + 8 : 2, j : j + 8 : 2][:, :4, :4] @ params["Conv_0"]["kernel"][i, j]
    normal = (first - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    normal = normal * params["BatchNorm_0"]["scale"] + params["BatchNorm_0"]["bias"]
    np.testing.assert_allclose(found["intermediates"]["BatchNorm_0"]["__call__"][0], normal, atol=1e-4)
    features = np.maximum(found["intermediates"]["Dense_0"]["__call__"][0], 0)
    last = params["Dense_1"]
    np.testing.assert_allclose(logits, features @ last["kernel"] + last["bias"], atol=1e-4)


def test_the_command_trains_tries_and_records(trained, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(classifiers, "fit", lambda x, y, **how: asked.append((x.shape, how)) or trained)
    for name, first in (("train", True), ("t10k", False)):
        x, y = split(first)
        write_idx(tmp_path / f"{name}-images-idx3-ubyte", x[:, :, :, 0])
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte", y.astype(np.uint8))
    out, results = tmp_path / "runs" / "digits.npz", tmp_path / "found.json"
    for name in ("digits", "again"):
        command.main(name, str(tmp_path), out, epochs=3, flip=True, results=results)
    assert asked[0] == ((1400, 8, 8, 1), {"epochs": 3, "flip": True, "seed": 0, "progress": True})
    right = classifiers.accuracy(trained, *split(False))
    assert f"right on {right:.2%} of 397 test images" in capsys.readouterr().out
    about = classifiers.load(out)[1]
    assert about == ABOUT | {"data": "again", "accuracy": right, "data_hash": about["data_hash"]}
    found = json.loads(results.read_text())["classifiers"]
    assert list(found) == ["digits", "again"]
    assert found["again"]["accuracy"] == right and found["again"]["name"] == classifier(out).name


def test_the_command_wants_labels(tmp_path):
    for name in ("train", "t10k"):
        write_idx(tmp_path / f"{name}-images-idx3-ubyte", split(True)[0][:4, :, :, 0])
    with pytest.raises(UserError, match="has no labels to learn: give data with classes"):
        command.main("digits", str(tmp_path), tmp_path / "digits.npz")


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())
