"""How much what comes from outside may take: nothing is allocated, read or unpacked on the word of a header alone.

There is one limit, 16 GiB, and whoever trusts a larger file raises it: GAN_JAX_MEMORY_LIMIT=64.
"""

import math
import os
import stat
import zipfile
from pathlib import Path

import numpy as np

from gan_jax.errors import UserError

VARIABLE, GIB = "GAN_JAX_MEMORY_LIMIT", "16"


def memory() -> int:
    """The bytes that a set of images, an archive or a run's State may fill. UserError for a limit that is none."""
    word = os.environ.get(VARIABLE) or GIB
    try:
        return int(float(word) * 2**30)
    except (ValueError, OverflowError):
        raise UserError(f"{VARIABLE} is {word!r}: give a number of GiB.") from None


def small() -> int:
    """The bytes that one picture or one text may fill, a 64th of `memory`: 256 MiB."""
    return memory() // 64


def check(size: int, what: str, limit: int | None = None) -> None:
    """UserError where `what` fills more bytes than the limit, by default `memory`."""
    limit = memory() if limit is None else limit
    if size > limit:
        much = min(size, 2**70)
        raise UserError(
            f"{what} would fill {much / 2**30:,.3g} GiB, and {limit / 2**30:,.3g} are allowed:"
            f" set {VARIABLE} higher than {memory() / 2**30:g} if you trust it."
        )


def size(path: Path) -> int:
    """The bytes of a plain file. OSError for any other: a pipe would be waited for, a device never ends."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"'{path}' is no plain file")
    return found.st_size


def text(path: Path) -> str:
    """A text file. OSError, ValueError where it is none; UserError where it is too large."""
    check(size(path), f"'{path}'", small())
    return path.read_text()


def npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz by name: numbers and strings, never objects. ValueError where it has others or is broken."""
    try:
        size(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check(sum(member.file_size for member in members), f"'{path}'")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib, NumPy and Python's own parser raise what they like
        raise ValueError(f"'{path}' holds other things than plain arrays, or is broken: {error}") from error


def _array(archive, member):
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a bound
        raise ValueError(f"{member.filename} is packed as NumPy packs nothing")
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(member) as file:
        shape, _, dtype = headers[np.lib.format.read_magic(file)](file)
        if dtype.kind not in "biufcU" or dtype.itemsize * math.prod(shape) != member.file_size - file.tell():
            raise ValueError(f"{member.filename} is not the {dtype} {shape} that its header promises")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
