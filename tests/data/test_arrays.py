"""What comes from Python into a training: taken, converted, or refused in one sentence."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from pictures import COLOUR, GREY, LABELS, png, write
from sklearn.datasets import load_digits

from gan_jax.data import OnDisk, as_data, chunks, load
from gan_jax.errors import UserError

rng = np.random.default_rng(0)
POINTS = rng.normal(0, 100, (6, 2))
IMAGES = rng.uniform(-1, 1, (6, 8, 8, 3))


def refuses(data, words):
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        as_data(data)
    assert "\n" not in str(caught.value) and str(caught.value)[-1] in ".?"


KINDS = {
    "bytes": (COLOUR, "uint8", (6, 5, 4, 3)),
    "grey bytes without a channel": (GREY[..., 0], "uint8", (6, 5, 4, 1)),
    "flattened bytes": (GREY.reshape(6, -1), "uint8", (6, 20)),
    "bytes of sound": (GREY[:, :, 0], "uint8", (6, 5, 1)),
    "floats": (IMAGES, "float32", (6, 8, 8, 3)),
    "half precision": (IMAGES.astype(np.float16), "float32", (6, 8, 8, 3)),
    "bfloat16": (jnp.asarray(IMAGES, jnp.bfloat16), "float32", (6, 8, 8, 3)),
    "points": (POINTS, "float32", (6, 2)),
    "lists": (POINTS.tolist(), "float32", (6, 2)),
    "sound": (rng.normal(0, 3, (6, 100, 1)), "float32", (6, 100, 1)),
    "series": (rng.normal(0, 3, (6, 24, 5)), "float32", (6, 24, 5)),
    "counts in a series": (rng.integers(0, 99, (6, 24, 5)).astype(float), "float32", (6, 24, 5)),
    "one-hot words": (np.eye(32)[rng.integers(0, 32, (6, 32))], "float32", (6, 32, 32)),
    "tokens": (rng.integers(0, 50_000, (6, 12)), "int32", (6, 12)),
    "small tokens": (rng.integers(-1, 9, (6, 12), np.int8), "int32", (6, 12)),
    "notes": (rng.integers(0, 128, (6, 16, 4)), "int32", (6, 16, 4)),
    "video": (rng.uniform(-1, 1, (6, 4, 8, 8, 3)), "float32", (6, 4, 8, 8, 3)),
    "many channels": (rng.normal(0, 9, (6, 8, 8, 16)), "float32", (6, 8, 8, 16)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_every_kind(kind):
    x, dtype, shape = KINDS[kind]
    found = as_data(x)
    assert set(found) == {"x"} and found["x"].dtype == dtype and found["x"].shape == shape
    np.testing.assert_array_equal(found["x"].ravel(), np.asarray(x).astype(dtype).ravel())
    assert as_data(found)["x"] is found["x"] or np.shares_memory(as_data(found)["x"], found["x"])


def test_a_dict_a_pair_and_several_sets():
    for data in ({"x": COLOUR, "y": LABELS}, (COLOUR, LABELS), (COLOUR, LABELS.tolist())):
        found = as_data(data)
        np.testing.assert_array_equal(found["x"], COLOUR)
        np.testing.assert_array_equal(found["y"], LABELS)
        assert found["y"].dtype == np.int32  # bytes would be scaled like pixels
    found = as_data({"A": {"x": GREY[:3]}, "B": {"x": GREY, "y": LABELS.astype(np.int64)}})
    assert len(found["A"]["x"]) == 3 and found["B"]["y"].dtype == np.int32
    conditions = as_data({"x": POINTS, "y": rng.normal(size=(6, 3)), "mask": np.ones((6, 2))})
    assert conditions["y"].dtype == conditions["mask"].dtype == np.float32
    assert as_data((POINTS, rng.integers(-1, 2, (6, 40))))["y"].dtype == np.int32  # attributes


def test_a_path_is_loaded(tmp_path):
    np.testing.assert_array_equal(as_data("digits")["x"], load("digits")["x"])
    np.testing.assert_array_equal(as_data(write(tmp_path, {"a.png": png(GREY[0])}))["x"], GREY[:1])
    refuses("digit", "'digit' is neither a path nor a built-in set (digits): did you mean 'digits'?")


def test_counts_agree():
    refuses((rng.uniform(-1, 1, (64, 8, 8, 1)), np.arange(10)), "x has 64 examples and y has 10: give one for each.")
    refuses({"A": {"x": POINTS}, "B": (POINTS, LABELS)}, "The data set has the arrays A, B")
    refuses({"A": {"x": POINTS}, "B": {"x": POINTS, "y": LABELS[:5]}}, "B/x has 6 examples and B/y has 5")
    refuses({"x": POINTS, "mask": POINTS[:5]}, "x has 6 examples and mask has 5")


def test_names():
    refuses({}, "The data set is empty: give an array")
    refuses({"A": {}, "B": {"x": POINTS}}, "The set A is empty")
    refuses({"images": POINTS}, "The data set has the arrays images: name the examples x and their labels y.")
    refuses({"A": POINTS, "B": POINTS}, '(sets that are not paired are {"A": {"x": …}, …})')
    refuses({"x": POINTS, "labels": LABELS}, "The data set has the arrays x, labels: name the labels y.")
    refuses({0: POINTS}, "The data set has the keys [0], which must be words")
    refuses((POINTS, LABELS, LABELS), "The data set is a tuple of 3: give (images, labels)")
    refuses(((POINTS, LABELS), (POINTS, LABELS)), "The data set is a tuple of 2: give (images, labels)")


def test_what_is_no_array_of_numbers():
    refuses([[1.0], [1.0, 2.0]], "x cannot be read as one array (setting an array element with a sequence")
    refuses((i for i in "ab"), "x is of the type generator: give an array of real numbers.")
    refuses([{}, {}], "x is an array of Python objects: give")
    refuses({"x": "folder"}, "x is text: give an array")
    refuses({"x": POINTS, "y": ["a"] * 6}, "y is text: give an array")
    refuses(POINTS + 0j, "x is complex128")
    refuses(np.zeros(64), "x has the shape (64,): give [n, …], and single numbers as [n, 1], x[:, None].")
    refuses(np.zeros((0, 2)), "x has the shape (0, 2), which holds no examples")
    refuses(3.0, "x has the shape (), which holds no examples")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_are_finite(bad):
    for shape in ((6, 2), (6, 8, 8, 1), (6, 100, 1)):
        x = np.zeros(shape)
        x[3:, -1] = bad
        refuses(x, f"x holds {bad} at 3: give finite numbers, or leave that example out.")
        refuses({"A": {"x": x}, "B": {"x": POINTS}}, f"A/x holds {bad} at 3")
    refuses({"x": POINTS, "y": np.array([0, 1, 2, 3, bad, 5])}, f"y holds {bad} at 4")
    refuses(np.array([[1.0], [1e300]]), "x holds 1e+300 at 1")


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.int8, ">i4"])
def test_pixels_in_other_integers(dtype):
    x = (GREY // 2).astype(dtype)
    refuses(x, f"x is {x.dtype} (6, 5, 4, 1), from {x.min()} to {x.max()}: give images as uint8 in 0 … 255, or as")
    refuses(np.tile(x[..., 0], (1, 2, 2)), f"x is {x.dtype} (6, 10, 8), from")
    assert as_data(x[:, 0, :, 0])["x"].dtype == np.int32


def test_bools():
    refuses(GREY > 9, "x is bool: give floats, 2.0 * x - 1 for black and white images.")
    refuses({"x": POINTS, "y": LABELS > 0}, "y is bool: give integers, y.astype(int).")


def test_pixels_in_another_range_are_named():
    digits = load_digits().images
    refuses(digits, "x runs from 0 to 16: give images as uint8 in 0 … 255 or as floats in [-1, 1], x / 8 - 1 if 16 is")
    for x in (digits[..., None], digits[:8].reshape(2, 4, 8, 8, 1)):
        refuses(x, "x runs from 0 to 16")
    refuses(COLOUR.astype(float), "x / 127.5 - 1 if 255 is white")
    refuses(
        {"A": {"x": COLOUR * 0.3}, "B": {"x": IMAGES}},
        f"A/x runs from 0 to {0.3 * COLOUR.max():g}: give images as uint8",
    )
    refuses(np.linspace(0, 65535, 64).reshape(1, 8, 8, 1), "x / 32767.5 - 1 if 65535 is white.")


@pytest.mark.parametrize("dtype", [float, np.uint8])
def test_channels_first(dtype):
    words = "x has the shape (6, 3, 8, 8), with channels first by the look of it: images are [n, h, w, c], so give"
    refuses(IMAGES.transpose(0, 3, 1, 2).astype(dtype), f"{words} x.transpose(0, 2, 3, 1).")


def test_what_may_be_right_is_warned_of():
    with pytest.warns(UserWarning, match=r"x runs from 0\.0.* to 0\.9.* from -1 to 1: give 2 \* x - 1"):
        found = as_data((IMAGES + 1) / 2)
    assert found["x"].min() >= 0  # nothing is rescaled
    with pytest.warns(UserWarning, match=r"x runs from -2\.\d+ to 2\.\d+, and images from a generator"):
        as_data(2.5 * IMAGES)
    with pytest.warns(UserWarning, match=r"x has the shape \(6, 8, 8\): if these are images, .* x\[\.\.\., None\]"):
        as_data(IMAGES[..., 0])


def test_labels():
    refuses((POINTS, LABELS.astype(int) - 1), "y runs from -1 to 2: classes are numbered from 0.")
    refuses((POINTS, LABELS.astype(int) + 2**40), "which int32 cannot hold: number the values from 0.")
    refuses((POINTS, LABELS[:, None]), "y has the shape (6, 1): give classes as [n], y[:, 0].")
    refuses((np.full((6, 2), 2**31), LABELS), "x runs from 2147483648 to 2147483648, which int32 cannot hold")


@pytest.fixture
def on_disk(tmp_path):
    return load(write(tmp_path, {f"{i}.png": png(image) for i, image in enumerate(GREY)}), resident=1)


def test_images_on_disk_stay_there(on_disk):
    assert isinstance(on_disk["x"], OnDisk) and as_data(on_disk)["x"] is on_disk["x"]
    refuses({"x": on_disk["x"], "y": LABELS[:5]}, "x has 6 examples and y has 5")


@pytest.mark.parametrize("size", [1, 4, 6, 100])
@pytest.mark.parametrize("rows", [None, np.array([5, 0, 0, 3, 1])])
def test_chunks_are_the_set(on_disk, size, rows):
    for data in (on_disk | {"y": LABELS}, {"x": COLOUR, "y": LABELS}):
        parts = list(chunks(data, size, rows))
        assert all(len(part["x"]) == len(part["y"]) <= size for part in parts)
        whole = slice(None) if rows is None else rows
        for name in "xy":
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), data[name][whole])


def test_few_chunks_are_in_memory_at_once():
    read = []
    x = OnDisk(lambda rows: read.append(rows) or np.zeros((len(rows), 1, 1, 1), np.uint8), (100, 1, 1, 1), "")
    for i, _ in enumerate(chunks({"x": x}, 1, threads=2)):
        assert len(read) <= i + 3
    assert len(read) == 100
