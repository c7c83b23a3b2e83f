"""Loading: `load` reads any source of images, `as_data` prepares whatever a training is given."""

import difflib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax import limits
from gan_jax.data import arrays
from gan_jax.data.disk import OnDisk, mirrored
from gan_jax.data.folders import TAR, read_images
from gan_jax.data.formats import kind
from gan_jax.data.images import fit, fit_pair, refit
from gan_jax.data.plan import Data, Set, several
from gan_jax.data.raw import read_cifar10, read_idx_folder, read_idx_pair
from gan_jax.data.tfds import read_tfds
from gan_jax.errors import UserError

RESIDENT = 2**31  # bytes


def as_data(data: Any) -> Data:
    """What a training reads, from whatever it is given, after the checks of `gan_jax.data.arrays`.

    >>> {name: leaf.dtype.name for name, leaf in as_data((np.zeros((4, 8, 8), np.uint8), [0, 1, 1, 0])).items()}
    {'x': 'uint8', 'y': 'int32'}

    Args:
        data: an array [n, …]; a tuple (x, y); a dict {"x": [n, …], "y": [n]}; several sets that are not paired,
            {"A": {"x": …}, "B": {"x": …}}; or the name or path of a source, as `load` reads it.

    Returns:
        The same sets as uint8 (pixels, which become floats in [-1, 1] on the device), float32 and int32 (tokens and
        labels); images [n, h, w] of uint8 have a channel added.

    Raises:
        UserError: for counts that differ, numbers that are not finite, other dtypes, floats that look like pixels in
            another range than [-1, 1], channels first, and names without an x.
    """
    if isinstance(data, str | os.PathLike):
        return load(data)
    if isinstance(data, Mapping) and data and all(isinstance(one, Mapping) for one in data.values()):
        return {name: arrays.checked(one, str(name)) for name, one in data.items()}
    return arrays.checked(data)


def load(
    source: Any,
    *,
    size: int | None = None,
    channels: int | None = None,
    split: str = "train",
    pairs: bool = False,
    resident: int = RESIDENT,
) -> Set:
    """Images {"x": uint8 [n, h, w, c]} and, where there are labels, "y" int32 [n], always in the same order.

    >>> load("digits", size=16)["x"].shape
    (1797, 16, 16, 1)

    Args:
        source: a built-in name (`digits`); a folder or tar of pictures, whose subfolders are the classes; idx files
            or their folder; CIFAR-10's binary batches; a .npz; `tfds:NAME` or `tfds:NAME@DATA_DIR`; or arrays from
            Python, which may also be floats in [-1, 1].
        size: crop and resize every image to size x size.
        channels: 1 for grey, 3 for colour; by default as the files have it.
        split: folders named train, val, test (in any case), or trainA, trainB, testA, … for sets that are not paired.
        pairs: each picture is two side by side, which are resized separately: x is [n, size, 2 · size, c].
        resident: pictures of a folder or TFDS set that take more bytes than this when decoded stay on disk: x is an
            OnDisk, decoded where it is indexed. A larger tar must be unpacked.

    Raises:
        UserError: for a source that is missing, corrupt or of mixed shapes, and for arrays that are not images.
    """
    if size is not None and size < 1:
        raise UserError(f"--size {size} is no size: give the pixels of an image's side, 1 or more.")
    if channels not in (None, 1, 3):
        raise UserError(f"--channels {channels} is neither 1 (grey) nor 3 (colour).")
    limits.check(3 * (size or 0) ** 2, f"An image of --size {size}", limits.small())
    if isinstance(source, str | os.PathLike):
        fitted = lambda image, name: fit_pair(image, size, channels, name) if pairs else fit(image, size, channels)
        where, data = f"'{source}'", _read(os.fspath(source), fitted, split, resident)
    else:
        where, data = "the data", arrays.named(source)
        _only(where, split)
    return _checked(data, where, size, channels, pairs)


def _read(source, fit, split, resident):
    """The arrays of a built-in set, of TFDS, or of a path, whatever it is."""
    if source in BUILT_IN:
        _only(f"'{source}'", split)
        return BUILT_IN[source]()
    if source.startswith("tfds:"):
        return read_tfds(source, split, fit, resident)
    if not source or not (path := limits.path(source)).exists():
        raise UserError(_missing(source))
    if path.is_dir() and any(path.glob("*-images*ubyte*")):
        return read_idx_folder(path, split)
    if path.is_dir() and any(path.glob("*_batch*.bin")):
        return read_cifar10(path, split)
    if path.is_dir() or re.search(TAR, path.name):
        return read_images(path, split, fit, resident)
    _only(f"'{path}'", split)
    if path.suffix == ".npz":
        return read_npz(path)
    if re.search(r"ubyte(\.gz)?$", path.name):
        return read_idx_pair(path)
    what = kind(path) or "of no kind known here"
    raise UserError(f"'{path}' is {what}: give a folder of pictures, .tar, .npz, idx file or tfds:NAME.")


def digits() -> Set:
    """scikit-learn's 1,797 handwritten digits, [1797, 8, 8], with 0 … 16 scaled to 0 … 255.

    >>> digits()["x"].shape
    (1797, 8, 8)
    """
    from sklearn.datasets import load_digits

    x, y = map(np.asarray, load_digits(return_X_y=True))
    return {"x": np.rint(x * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8), "y": y}


BUILT_IN = {"digits": digits}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The array `x` or `images` of a .npz file, or its only array of 3 or 4 axes, and `y` or `labels` if present."""
    try:
        found = limits.npz(path)
    except UserError:
        raise
    except ValueError as error:
        if (foreign := kind(path)) not in ("", "a zip"):
            raise UserError(f"'{path}' is {foreign}, no .npz: give another file.") from error
        raise UserError(f"'{path}' is truncated, corrupt or holds Python objects: save plain arrays anew.") from error
    x = [name for name in ("x", "images") if name in found][:1]
    x = x or [name for name, array in found.items() if array.ndim in (3, 4)]
    y = [name for name in ("y", "labels") if name in found]
    if len(x) != 1:
        raise UserError(f"'{path}' holds the arrays {', '.join(found)}: name the images x and their labels y.")
    return {"x": found[x[0]]} | ({"y": found[y[0]]} if y else {})


def _only(where, split):
    """UserError where a source without splits is asked for anything but the training data."""
    if split != "train":
        raise UserError(f"{where} has no split '{split}', only train.")


def _missing(source):
    near = difflib.get_close_matches(source, BUILT_IN, 1)
    hint = f"did you mean '{near[0]}'?" if near else "give a path that exists, a built-in name or tfds:NAME."
    return f"'{source}' is neither a path nor a built-in set ({', '.join(BUILT_IN)}): {hint}"


def _checked(data, where, size, channels, pairs):
    """The data as `load` promises: images [n, h, w, c] at the size and channels asked for, a label for each."""
    if set(data) not in ({"x"}, {"x", "y"}):
        raise UserError(f"{where} has the arrays {', '.join(map(str, data))}: name the images x and their labels y.")
    x = arrays.array(data["x"], f"x of {where}")
    if not isinstance(x, OnDisk):
        if pairs and (x.ndim not in (3, 4) or x.shape[2] % 2):
            raise UserError(f"x of {where} has the shape {x.shape}, no pairs side by side: the width must be even.")
        fitted = lambda x: _images(x, where, size, channels)
        x = np.concatenate([fitted(half) for half in np.split(x, 2, 2)], 2) if pairs else fitted(x)
    return {"x": x} if "y" not in data else {"x": x, "y": _classes(data["y"], len(x), where)}


def _images(x, where, size, channels) -> Any:
    """[n, h, w, c] at the size and channels asked for."""
    name = f"x of {where}"
    if x.ndim not in (3, 4):
        raise UserError(f"{name} has the shape {x.shape}: images are [n, h, w] or [n, h, w, c].")
    if x.dtype.kind == "f" and max(-x.min(), x.max()) > 1:
        raise UserError(f"{name} runs from {x.min():g} to {x.max():g}: {arrays.in_range(x, name, x.max())}.")
    x = np.asarray(arrays.examples(x[..., None] if x.ndim == 3 else x, name))
    if x.dtype == np.uint8:
        return refit(x, size, channels)
    if not (size is None or size == x.shape[1] == x.shape[2]) or channels not in (None, x.shape[3]):
        raise UserError(f"{name} holds floats: only uint8 is resized or recoloured, so do it beforehand.")
    return x


def _classes(y, n, where):
    """int32 [n], 0 or more."""
    y = np.asarray(y)
    if y.shape != (n,):
        raise UserError(f"{where} has {n} images and labels of shape {y.shape}: give one label for each image.")
    if not np.issubdtype(y.dtype, np.integer):
        raise UserError(f"y of {where} is {y.dtype}, no list of classes: give integers, 0 or more.")
    return arrays.labels(y, f"y of {where}")


def mirror(data: Set) -> dict[str, np.ndarray | OnDisk]:
    """The n images and their left-right mirror images, 2n in all (StyleGAN's x-flips).

    >>> mirror({"x": np.arange(2).reshape(1, 1, 2, 1)})["x"].ravel()
    array([0, 1, 1, 0])
    """
    doubled = {name: np.concatenate([leaf, leaf]) for name, leaf in data.items() if name != "x"}
    x = data["x"]
    return {"x": mirrored(x) if isinstance(x, OnDisk) else np.concatenate([x, x[:, :, ::-1]])} | doubled


def content_hash(data: Data) -> str:
    """16 hexadecimal digits of the sha256 over names, dtypes, shapes and bytes: the identity of a set, wherever it is.

    Pictures on disk are not read, which would take as long as an epoch: of a folder the names and sizes of the files
    count, of TFDS the set's name, version and split, and of both the shape. So the same pictures in memory have
    another hash.

    >>> content_hash({"x": np.arange(3)}) == content_hash({"x": np.arange(4)})
    False
    """
    digest = hashlib.sha256()
    sets: Any = data if several(data) else {"": data}
    leaves = {f"{one}/{name}" if one else name: leaf for one, own in sets.items() for name, leaf in own.items()}
    for name in sorted(leaves):
        leaf = leaves[name]
        digest.update(f"{name} {leaf.dtype.str} {leaf.shape}\n".encode())
        digest.update(leaf.identity.encode() if isinstance(leaf, OnDisk) else np.ascontiguousarray(leaf).data)
    return digest.hexdigest()[:16]
