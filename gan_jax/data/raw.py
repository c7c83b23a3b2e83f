"""Raw files as published: idx (MNIST, Fashion-MNIST …) and CIFAR-10's binary batches."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gan_jax import limits
from gan_jax.data import formats
from gan_jax.errors import UserError

IDX = {"train": "train-images*ubyte*", "test": "t10k-images*ubyte*"}
CIFAR10 = {"train": "data_batch_*.bin", "test": "test_batch.bin"}


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """The array in an idx file, gzipped or not: 0, 0, 8, rank, then big-endian sizes, then bytes."""
    try:
        limits.size(path)
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            zeros, kind, rank = struct.unpack(">HBB", file.read(4))
            if (zeros, kind) != (0, 8):
                starts = f"no idx file: it starts with {zeros:04x}{kind:02x}, not with 000008"
                what = formats.kind(path)
                raise UserError(f"'{path}' is {f'{what}, no idx file: fetch it again' if what else starts}.")
            if rank > 4:
                raise UserError(f"'{path}' is no idx file of images or labels: its header names {rank} axes.")
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            limits.check(math.prod(shape), f"'{path}'")
            body = _read(file, math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"'{path}' is truncated or corrupt ({error}): fetch it again.") from error
    if len(body) != math.prod(shape):
        least = "" if len(body) < math.prod(shape) else "at least "
        raise UserError(
            f"'{path}' is truncated or corrupt ({least}{len(body):,} bytes follow a header"
            f" that promises {math.prod(shape):,}): fetch it again."
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def _read(file, most):
    """At most `most` bytes, in parts: a file may have fewer than its header says, or unpack to more."""
    body = bytearray()
    while part := file.read(min(most - len(body), 2**20)):
        body += part
    return body


def read_idx_pair(path: Path) -> dict[str, np.ndarray]:
    """The images in an idx file, with the labels in the file of the matching name beside it, if there is one."""
    x = read_idx(path)
    if x.ndim not in (3, 4):
        raise UserError(f"'{path}' holds an array of shape {x.shape}: give the file of images, [n, h, w].")
    labels = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    beside = [file for file in (path.with_name(labels), path.with_name(f"{labels}.gz")) if file.is_file()]
    return {"x": x, "y": read_idx(beside[0])} if beside and "labels" in labels else {"x": x}


def read_idx_folder(folder: Path, split: str) -> dict[str, np.ndarray]:
    """MNIST's layout: {train,t10k}-images-idx3-ubyte[.gz] and the labels beside them."""
    files = _of_split(folder, IDX, split)
    return read_idx_pair(files[0])


def read_cifar10(folder: Path, split: str) -> dict[str, np.ndarray]:
    """CIFAR-10's binary version: rows of one label and 3 x 32 x 32 bytes, channels first."""
    files = _of_split(folder, CIFAR10, split)
    rows = [_whole(file) for file in files]
    for file, row in zip(files, rows, strict=True):
        if len(row) % 3073 or not len(row) or row[::3073].max() > 9:
            raise UserError(f"'{file}' is truncated or corrupt: its rows are not CIFAR-10's, of 3,073 bytes.")
    rows = np.concatenate(rows).reshape(-1, 3073)
    return {"x": rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), "y": rows[:, 0]}


def _whole(path):
    """The bytes of a regular file."""
    try:
        limits.check(limits.size(path), f"'{path}'")
        return np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error}): fetch it again.") from error


def _of_split(folder, patterns, split):
    files = {name: sorted(folder.glob(pattern)) for name, pattern in patterns.items()}
    if not files.get(split):
        raise UserError(f"'{folder}' has no split '{split}', only {', '.join(name for name in files if files[name])}.")
    return files[split]
