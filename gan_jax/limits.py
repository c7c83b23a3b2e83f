"""Reading untrusted files: sizes are checked before anything is allocated, read or unpacked, and nothing is executed.

The limit is 16 GiB. To read a larger file that you trust, set the environment variable GAN_JAX_MEMORY_LIMIT=64.
"""

import math
import os
import stat
import zipfile
from pathlib import Path

import numpy as np

from gan_jax.errors import UserError

VARIABLE, GIB = "GAN_JAX_MEMORY_LIMIT", "16"


def path(word: str | os.PathLike[str]) -> Path:
    """A path as the user wrote it, `~` expanded.

    >>> path("runs/digits")
    PosixPath('runs/digits')

    Raises:
        UserError: for an empty path, and for the home folder of an unknown user.
    """
    if not os.fspath(word):
        raise UserError("A path is empty: name a file or a folder.")
    try:
        return Path(word).expanduser()
    except RuntimeError:
        raise UserError(f"'{word}' starts with a home folder that is not known: give the whole path.") from None


def memory() -> int:
    """Bytes that a set of images, an archive or a run's State may fill.

    Raises:
        UserError: where GAN_JAX_MEMORY_LIMIT is not a number.

    >>> memory() > 2**30
    True
    """
    word = os.environ.get(VARIABLE) or GIB
    try:
        return int(float(word) * 2**30)
    except (ValueError, OverflowError):
        raise UserError(f"{VARIABLE} is {word!r}: give a number of GiB.") from None


def small() -> int:
    """Bytes that one picture or one text file may fill, a 64th of `memory`: 256 MiB.

    >>> memory() // small()
    64
    """
    return memory() // 64


def check(size: int, what: str, limit: int | None = None) -> None:
    """Raise a UserError where `what`, of `size` bytes, exceeds the limit (default: `memory`).

    >>> check(2**20, "A picture")
    """
    limit = memory() if limit is None else limit
    if size > limit:
        much = min(size, 2**70)
        raise UserError(
            f"{what} would fill {much / 2**30:,.3g} GiB, and {limit / 2**30:,.3g} are allowed:"
            f" set {VARIABLE} higher than {memory() / 2**30:g} if you trust it."
        )


def size(path: Path) -> int:
    """Size in bytes of a regular file. OSError for a pipe, which may block, or a device, which may have no end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"'{path}' is no regular file")
    return found.st_size


def text(path: Path) -> str:
    """Content of a text file. OSError or ValueError where it cannot be read, UserError where it is too large."""
    check(size(path), f"'{path}'", small())
    return path.read_text()


def npz(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a .npz file by name: numbers and strings, never Python objects.

    Raises:
        ValueError: where the file holds anything else or is corrupt.
        UserError: where it is too large.
    """
    try:
        size(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check(sum(member.file_size for member in members), f"'{path}'")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib, NumPy and Python's parser raise many kinds
        raise ValueError(f"'{path}' holds other things than plain arrays, or is corrupt: {error}") from error


def _array(archive, member):
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # other methods unpack without a bound
        raise ValueError(f"{member.filename} is compressed by a method that NumPy does not use")
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(member) as file:
        shape, _, dtype = headers[np.lib.format.read_magic(file)](file)
        if dtype.kind not in "biufcU" or dtype.itemsize * math.prod(shape) != member.file_size - file.tell():
            raise ValueError(f"{member.filename} is not the {dtype} {shape} that its header promises")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
