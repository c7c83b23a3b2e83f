"""Where real examples come from: `load` makes of any source {"x": uint8 [n, h, w, c], "y": int32 [n]}."""

import difflib
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax import limits
from gan_jax.data.disk import OnDisk, mirrored
from gan_jax.data.images import fit, fit_pair, read_images, refit
from gan_jax.data.plan import Data, Set, several
from gan_jax.data.raw import read_cifar10, read_idx_folder, read_idx_pair
from gan_jax.data.tfds import read_tfds
from gan_jax.errors import UserError

RESIDENT = 2**31  # bytes


def load(
    source: Any,
    *,
    size: int | None = None,
    channels: int | None = None,
    split: str = "train",
    pairs: bool = False,
    resident: int = RESIDENT,
) -> Set:
    """{"x": uint8 [n, h, w, c]} and, where there are labels, "y" int32 [n], always in the same order.

    A source is a built-in name (`digits`); a folder or tar of pictures, whose subfolders are the classes; idx files
    or their folder; CIFAR-10's binary batches; a .npz; `tfds:NAME` or `tfds:NAME@DATA_DIR`; or arrays from Python,
    which may also be floats in [-1, 1]. `size` cuts every image to size x size, `channels` makes it grey or colour.
    With `pairs` each picture is two side by side, which are cut by themselves: x is [n, size, 2 · size, c]. Sets that
    are not paired lie in one folder or tar as trainA, trainB, testA, …: each is a `split`.

    x is an array in memory, but an OnDisk, whose pictures are decoded when they are indexed, where those of a folder
    or TFDS set, decoded, are more than `resident` bytes. A tar of more must be unpacked: a UserError says so.
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
        where, data = "the data", source if isinstance(source, dict) else {"x": source}
        _only(where, split)
    return _checked(data, where, size, channels, pairs)


def _read(source, fit, split, resident):
    """The arrays of a built-in set, of TFDS, or of a path, by what it is."""
    if source in BUILT_IN:
        _only(f"'{source}'", split)
        return BUILT_IN[source]()
    if source.startswith("tfds:"):
        return read_tfds(source, split, fit, resident)
    path = Path(source).expanduser()
    if not source or not path.exists():
        raise UserError(_missing(source))
    if path.is_dir() and any(path.glob("*-images*ubyte*")):
        return read_idx_folder(path, split)
    if path.is_dir() and any(path.glob("*_batch*.bin")):
        return read_cifar10(path, split)
    if path.is_dir() or re.search(r"\.(tar(\.(gz|xz|bz2))?|tgz)$", path.name):
        return read_images(path, split, fit, resident)
    _only(f"'{path}'", split)
    if path.suffix == ".npz":
        return read_npz(path)
    if re.search(r"ubyte(\.gz)?$", path.name):
        return read_idx_pair(path)
    raise UserError(f"'{path}' is of no kind known here: give a folder, .tar, .npz, idx file or tfds:NAME.")


def digits() -> Set:
    """scikit-learn's 1,797 real digits, 8 x 8, their 0 .. 16 stretched to 0 .. 255."""
    from sklearn.datasets import load_digits

    x, y = map(np.asarray, load_digits(return_X_y=True))
    return {"x": np.rint(x * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8), "y": y}


BUILT_IN = {"digits": digits}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The array `x` or `images` of a .npz, or its only one of 3 or 4 axes; with `y` or `labels`, where there is one."""
    try:
        arrays = limits.npz(path)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"'{path}' is truncated, corrupt or holds Python objects: save plain arrays anew.") from error
    x = [name for name in ("x", "images") if name in arrays][:1]
    x = x or [name for name, array in arrays.items() if array.ndim in (3, 4)]
    y = [name for name in ("y", "labels") if name in arrays]
    if len(x) != 1:
        raise UserError(f"'{path}' holds the arrays {', '.join(arrays)}: name the images x and their labels y.")
    return {"x": arrays[x[0]]} | ({"y": arrays[y[0]]} if y else {})


def _only(where, split):
    """UserError where a source that is not split is asked for anything but the training data."""
    if split != "train":
        raise UserError(f"{where} has no split '{split}', only train.")


def _missing(source):
    near = difflib.get_close_matches(source, BUILT_IN, 1)
    hint = f"did you mean '{near[0]}'?" if near else "give a path that exists, a built-in name or tfds:NAME."
    return f"'{source}' is neither a path nor a built-in set ({', '.join(BUILT_IN)}): {hint}"


def _checked(data, where, size, channels, pairs):
    """The data as `load` promises it: images [n, h, w, c] at the size and channels asked for, a label for each."""
    if set(data) not in ({"x"}, {"x", "y"}):
        raise UserError(f"{where} has the arrays {', '.join(data)}: name the images x and their labels y.")
    x = data["x"] if isinstance(data["x"], OnDisk) else np.asarray(data["x"])
    if not isinstance(x, OnDisk):
        if pairs and (x.ndim not in (3, 4) or x.shape[2] % 2):
            raise UserError(f"x of {where} has the shape {x.shape}, no pairs side by side: the width must be even.")
        fitted = lambda x: _images(x, where, size, channels)
        x = np.concatenate([fitted(half) for half in np.split(x, 2, 2)], 2) if pairs else fitted(x)
    return {"x": x} if "y" not in data else {"x": x, "y": _labels(np.asarray(data["y"]), len(x), where)}


def _images(x, where, size, channels):
    """[n, h, w, c] at the size and channels asked for."""
    if x.ndim not in (3, 4) or not x.size:
        raise UserError(f"x of {where} has the shape {x.shape}: images are [n, h, w] or [n, h, w, c].")
    x = x[..., None] if x.ndim == 3 else x
    return refit(x, size, channels) if x.dtype == np.uint8 else _floats(x, where, size, channels)


def _floats(x, where, size, channels):
    """float32 in [-1, 1], as it came."""
    if not np.issubdtype(x.dtype, np.floating):
        raise UserError(f"x of {where} is {x.dtype}: give bytes, uint8 in 0 .. 255, or floats in [-1, 1].")
    worst = x.flat[np.argmax(np.abs(x))]  # NaN where there is one
    if not abs(worst) <= 1:
        raise UserError(f"x of {where} holds {worst}: floats must lie in [-1, 1], as x / 127.5 - 1 puts bytes.")
    if not (size is None or size == x.shape[1] == x.shape[2]) or channels not in (None, x.shape[3]):
        raise UserError(f"x of {where} is {x.dtype}: only uint8 is resized or recoloured, so do it beforehand.")
    return x.astype(np.float32)


def _labels(y, n, where):
    """int32 [n], 0 or more."""
    if y.shape != (n,):
        raise UserError(f"{where} has {n} images and labels of shape {y.shape}: give one label for each image.")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise UserError(f"y of {where} is no list of classes: give integers, 0 or more.")
    return y.astype(np.int32)


def mirror(data: Set) -> dict[str, np.ndarray | OnDisk]:
    """The set and its left-right mirror images, 2n examples (StyleGAN's x-flips)."""
    doubled = {name: np.concatenate([leaf, leaf]) for name, leaf in data.items() if name != "x"}
    x = data["x"]
    return {"x": mirrored(x) if isinstance(x, OnDisk) else np.concatenate([x, x[:, :, ::-1]])} | doubled


def content_hash(data: Data) -> str:
    """16 hexadecimal digits of the sha256 over names, types, shapes and bytes: a set's identity, wherever it lies.

    Of pictures on disk it sees not the bytes, which would take as long as an epoch, but what they are fitted to, and
    of a folder the names and sizes of the files, of TFDS the set's name, version and split. So the same pictures in
    memory are another set.
    """
    digest = hashlib.sha256()
    sets: Any = data if several(data) else {"": data}
    leaves = {f"{one}/{name}" if one else name: leaf for one, own in sets.items() for name, leaf in own.items()}
    for name in sorted(leaves):
        leaf = leaves[name]
        digest.update(f"{name} {leaf.dtype.str} {leaf.shape}\n".encode())
        digest.update(leaf.identity.encode() if isinstance(leaf, OnDisk) else np.ascontiguousarray(leaf).data)
    return digest.hexdigest()[:16]
