"""Bad data, each one sentence that names what is wrong and what to do."""

import gzip
import sys

import numpy as np
import pytest
from pictures import COLOUR, GREY, LABELS, REAL, idx, png, real, refuses, tar, write
from PIL import Image

from gan_jax import limits
from gan_jax.data import load


def test_names_and_paths(tmp_path):
    refuses("digit", "'digit' is neither a path nor a built-in set (digits): did you mean 'digits'?")
    refuses(tmp_path / "no", f"'{tmp_path}/no' is neither a path nor a built-in set (digits): give a path that exists")
    refuses("", "'' is neither a path")
    (tmp_path / "data.txt").touch()
    refuses(
        tmp_path / "data.txt",
        "data.txt' is of no kind known here: give a folder of pictures, .tar, .npz, idx file or tfds",
    )


def test_size_channels_and_split():
    refuses("digits", "--size -3 is no size: give the pixels of an image's side, 1 or more.", size=-3)
    refuses("digits", "--channels 2 is neither 1 (grey) nor 3 (colour).", channels=2)
    refuses("digits", "'digits' has no split 'test', only train.", split="test")
    refuses(GREY, "the data has no split 'test', only train.", split="test")


@pytest.mark.parametrize("end", ["", ".tar"])
def test_an_empty_folder_or_tar(tmp_path, end):
    source = tar(tmp_path / "a.tar", {"b.txt": b"text"}) if end else tmp_path
    others = ", only 1 .txt" if end else ""
    words = f"'{source}' has no pictures in it (.png, .jpg, .jpeg, .webp){others}: give another folder or tar."
    refuses(source, words)


@pytest.mark.parametrize("end", ["", ".tar"])
@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.webp"])
@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_spoilt_picture_is_named(tmp_path, name, end, spoil):
    photo = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3).astype(np.uint8)
    good, kind = png(photo), {"b.jpg": "jpeg"}.get(name, name[2:])
    files = {"a.png": good, name: spoil(png(photo, format=kind)), "c.png": good}
    source = tar(tmp_path / "set.tar", files) if end else write(tmp_path / "set", files)
    refuses(source, f"'{name}' in '{source}' is a truncated or corrupt picture: replace or remove it.")


def test_mixed_sizes_and_channels(tmp_path):
    sizes = write(tmp_path / "sizes", {"a.png": png(GREY[0]), "b.png": png(GREY[0].transpose(1, 0, 2))})
    refuses(sizes, f"'a.png' is 4x5 and 'b.png' is 5x4 in '{sizes}': give --size N to make them all N x N.")
    assert load(sizes, size=4)["x"].shape == (2, 4, 4, 1)
    channels = write(tmp_path / "channels", {"a.png": png(GREY[0]), "b.png": png(COLOUR[0])})
    refuses(channels, f"'a.png' has 1 channels and 'b.png' has 3 in '{channels}': give --channels 1 or --channels 3")
    assert load(channels, channels=1)["x"].shape == (2, 5, 4, 1)


def test_deep_and_huge_pictures(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "a.png")
    refuses(tmp_path, f"'a.png' in '{tmp_path}' has more than 8 bits a channel (mode I;16): convert it to 8 bits.")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back what `load` sets
    monkeypatch.setenv(limits.VARIABLE, str(64 * 90 / 2**30))
    refuses(
        tmp_path, f"'a.png' in '{tmp_path}' is too large to be a picture: Image size (64 pixels) exceeds limit of 60"
    )


def test_trees_of_pictures(tmp_path):
    files = {f"{name}.png": png(image) for name, image in zip(["cat/1", "dog/1", "2"], GREY, strict=False)}
    refuses(write(tmp_path / "a", files), f"'2.png' lies beside the class folders of '{tmp_path}/a': move it into one")
    split = write(tmp_path / "b", {"train/1.png": png(GREY[0]), "val/1.png": png(GREY[1])})
    refuses(split, f"'{split}' has no split 'test', only train, val.", split="test")
    refuses(split / "train", "/train' has no split 'test', only train.", split="test")


@pytest.mark.parametrize("end", [".tar", ".tar.gz", ".tar.xz"])
def test_a_broken_tar(tmp_path, end):
    whole = tar(tmp_path / f"a{end}", {f"{i}.png": png(image) for i, image in enumerate(COLOUR)})
    content = whole.read_bytes()
    for broken in (content[: len(content) // 2], content[: 2 * 1024] if end == ".tar" else content[:-9], b"no tar"):
        whole.write_bytes(broken)
        refuses(whole, f"'{whole}' is a truncated or corrupt tar: fetch it again.")


def test_a_tar_broken_at_a_header(tmp_path):
    path = tar(tmp_path / "a.tar", {f"{i}.png": png(image) for i, image in enumerate(COLOUR)})
    content = bytearray(path.read_bytes())
    content[2 * 1024] ^= 1  # the third member's name: tarfile alone would end there in silence
    path.write_bytes(content)
    refuses(path, f"'{path}' is a truncated or corrupt tar: fetch it again.")


def test_a_tar_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setenv(limits.VARIABLE, str(64 * 1000 / 2**30))
    path = tar(tmp_path / "a.tar.gz", {"a.png": bytes(1001)})
    refuses(
        path, f"'a.png' in '{path}' would fill 9.32e-07 GiB, and 9.31e-07 are allowed: set {limits.VARIABLE} higher"
    )


def test_idx_files(tmp_path):
    path, good = tmp_path / "train-images-idx3-ubyte.gz", idx(GREY[..., 0])
    spoilt = {
        f"'{path}' is truncated or corrupt (Compressed file ended": gzip.compress(good)[:-20],
        f"'{path}' is truncated or corrupt (CRC check failed": gzip.compress(good)[:-8] + bytes(8),
        f"'{path}' is truncated or corrupt (119 bytes follow a header that promises 120)": gzip.compress(good[:-1]),
        f"'{path}' is truncated or corrupt (at least 121 bytes follow a header that promises 120)": good + b"x",
        f"'{path}' is truncated or corrupt (unpack requires a buffer of 4 bytes)": b"",
        f"'{path}' is no idx file: it starts with 202020, not with 000008": b"    ",
        f"'{path}' is an HTML page, no idx file: fetch it again.": b"<html>",
        f"'{path}' holds an array of shape (6,): give the file of images": idx(LABELS),
    }
    for words, content in spoilt.items():
        path.write_bytes(content)
        refuses(tmp_path, words)
    path.write_bytes(good)
    refuses(tmp_path, f"'{tmp_path}' has no split 'test', only train.", split="test")
    write(tmp_path, {"train-labels-idx1-ubyte": idx(LABELS[:5])})
    refuses(tmp_path, f"'{tmp_path}' has 6 images and labels of shape (5,): give one label for each image.")


def test_cifar10_batches(tmp_path):
    write(tmp_path, {"data_batch_1.bin": bytes(3073 * 2), "data_batch_2.bin": bytes(3072)})
    refuses(tmp_path, f"'{tmp_path}/data_batch_2.bin' is truncated or corrupt: its rows are not CIFAR-10's")


def test_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=GREY, x_test=GREY)
    refuses(path, f"'{path}' holds the arrays x_train, x_test: name the images x and their labels y.")
    np.savez(path, x=np.array([{}], object))
    refuses(path, f"'{path}' is truncated, corrupt or holds Python objects: save plain arrays anew.")
    np.savez(path, x=GREY)
    path.write_bytes(path.read_bytes()[:-30])
    refuses(path, f"'{path}' is truncated, corrupt or holds Python objects")


def test_arrays_from_python():
    refuses(np.full((2, 3, 3), np.nan), "x of the data holds nan at 0: give finite numbers")
    for x in (np.arange(0, 249.0, 8).reshape(2, 4, 4), np.arange(-99.0, 237, 1)[:336].reshape(7, 4, 4, 3)):
        refuses(x, f"x of the data runs from {x.min():g} to {x.max():g}: give images as uint8 in 0 … 255 or as floats")
    refuses(GREY.astype(int), "x of the data is int64 (6, 5, 4, 1), from 0 to 248: give images as uint8")
    refuses(np.zeros((2, 3, 3)), "x of the data holds floats: only uint8 is resized or recoloured", size=2)
    refuses(np.zeros((2, 3)), "x of the data has the shape (2, 3): images are [n, h, w] or [n, h, w, c].")
    refuses(GREY[:0], "x of the data has the shape (0, 5, 4, 1), which holds no examples")
    refuses(np.zeros((2, 4, 4, 2), np.uint8), "x has 2 channels, and only images of 1 or 3 are resized", size=2)
    refuses({"images": GREY}, "the data has the arrays images: name the images x and their labels y.")
    refuses({"x": GREY, "y": LABELS, "w": LABELS}, "the data has the arrays x, y, w")
    refuses({"x": GREY, "y": np.eye(6)}, "the data has 6 images and labels of shape (6, 6): give one label for each")
    refuses({"x": GREY, "y": LABELS / 2}, "y of the data is float64, no list of classes: give integers, 0 or more.")
    refuses((GREY, np.arange(6) - 1), "y of the data runs from -1 to 4: classes are numbered from 0.")


def test_tfds(tmp_path, monkeypatch):
    refuses(f"tfds:mnits@{tmp_path}", f"'tfds:mnits@{tmp_path}': TFDS knows no set 'mnits', see its catalogue")
    refuses(f"tfds:mnist@{tmp_path}", f"'tfds:mnist@{tmp_path}' is not prepared in '{tmp_path}/mnist/")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    refuses("tfds:mnist", "'tfds:mnist' needs TFDS: pip install tensorflow-datasets importlib_resources.")


@real
def test_prepared_tfds(tmp_path):
    source = f"tfds:mnist@{REAL / 'tfds'}"
    refuses(source, f"'{source}' has no split 'tset', only train, test.", split="tset")
    for path in (REAL / "tfds" / "mnist" / "3.0.1").glob("*"):
        write(tmp_path / "mnist" / "3.0.1", {path.name: path.read_bytes()[:200_000]})
    refuses(f"tfds:mnist@{tmp_path}", f"'tfds:mnist@{tmp_path}' is truncated or corrupt (", split="test")
