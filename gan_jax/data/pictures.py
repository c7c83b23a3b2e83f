"""Pictures read one at a time, each of its own size, as a translation needs them."""

import re
import warnings
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from gan_jax import limits
from gan_jax.data.folders import TAR, find, is_picture
from gan_jax.data.formats import kind
from gan_jax.data.images import READ, SUFFIXES, fit, load_picture
from gan_jax.errors import UserError


class Picture(NamedTuple):
    """A picture that can be read: `read()` gives uint8 [h, w, c] of this shape."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def one_by_one(source: str | Path, channels: int | None) -> list[Picture]:
    """The pictures in a folder or tar, or the single one in a file, sorted by name.

    Every picture is decoded once to check it, so that a caller may refuse a name or a shape before writing anything.

    Raises:
        UserError: for a path without pictures, pictures that cannot be read, and names that differ only in their
            ending, which would become the same file when they are written in another format.
    """
    from PIL import Image

    path = limits.path(source)
    if not path.exists():
        raise UserError(f"'{path}' does not exist: give a folder, a tar or a picture.")
    if path.is_dir() or re.search(TAR, path.name):
        files = find(path, limits.memory()).files
    elif is_picture(path.name) or kind(path) in READ:
        files = {path.name: path}
    else:
        raise UserError(
            f"'{path}' is {kind(path) or 'of no kind known here'}: give a picture ({', '.join(SUFFIXES)}), a folder of"
            f" them or a .tar."
        )
    _check_names(files, path)
    label = lambda name: f"'{name}' in '{path}'" if files[name] != path else f"'{path}'"
    readers = {name: partial(_read, files[name], label(name), channels) for name in sorted(files)}
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        checks = pool.map(_shape_or_error, readers.values())
        shapes = list(tqdm(checks, "checking", len(readers), unit=" pictures", leave=False, delay=2))
    if wrong := [error for error in shapes if isinstance(error, UserError)]:
        more = f" {len(wrong) - 1} more cannot be read." if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0]}{more}")
    sound: Any = shapes
    return [Picture(name, shape, readers[name]) for name, shape in zip(readers, sound, strict=True)]


def _read(file, name, channels):
    return fit(load_picture(file, name), None, channels)


def _shape_or_error(read):
    try:
        return read().shape
    except UserError as error:
        return error


def _check_names(files, path):
    alike = defaultdict(list)
    for name in files:
        alike[name.rpartition(".")[0] if is_picture(name) else name].append(name)
    if clash := next((sorted(names) for names in alike.values() if len(names) > 1), None):
        raise UserError(f"'{clash[0]}' and '{clash[1]}' in '{path}' differ only in their ending: rename one of them.")
