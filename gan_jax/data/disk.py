"""Images that stay on disk and are read where they are indexed."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

CHUNK = 256  # images read at once by a thread


@dataclass(frozen=True)
class OnDisk:
    """uint8 [n, h, w, c] with the interface of an array; indexing reads those rows, `np.asarray` reads all of them."""

    read: Callable[[Sequence[int]], np.ndarray]  # rows -> [rows, h, w, c]; thread-safe
    shape: tuple[int, int, int, int]
    identity: str  # of the files, for the content hash

    dtype: ClassVar = np.dtype(np.uint8)
    ndim: ClassVar = 4

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """One image, or several by a slice or by integers [rows]. IndexError beyond the end."""
        n = range(len(self))
        if isinstance(rows, slice):
            return self.read(n[rows])
        if np.ndim(rows):
            return self.read([n[row] for row in rows])
        return self.read([n[rows]])[0]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        x, n = np.empty(self.shape, self.dtype), range(len(self))

        def place(start):
            x[start : start + CHUNK] = self.read(n[start : start + CHUNK])

        with ThreadPoolExecutor() as pool:  # decoders release the interpreter's lock
            list(pool.map(place, n[::CHUNK]))
        return x if dtype is None else x.astype(dtype)


def mirrored(x: OnDisk) -> OnDisk:
    """The n images and their left-right mirror images, 2n in all."""
    n = len(x)

    def read(rows):
        images = x.read([row % n for row in rows])
        turned = [row >= n for row in rows]
        images[turned] = images[turned, :, ::-1]
        return images

    return OnDisk(read, (2 * n, *x.shape[1:]), f"{x.identity} mirrored")
