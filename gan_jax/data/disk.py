"""Images that stay on disk: an array to whoever looks at it, and read where it is indexed."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

CHUNK = 256  # images that a thread reads at once


@dataclass(frozen=True)
class OnDisk:
    """uint8 [n, h, w, c], of which only the rows asked for are ever in memory; `np.asarray` reads them all."""

    read: Callable[[Sequence[int]], np.ndarray]  # rows -> [rows, h, w, c]; from any thread
    shape: tuple[int, int, int, int]
    identity: str  # of what lies on the disk

    dtype: ClassVar = np.dtype(np.uint8)
    ndim: ClassVar = 4

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """An image, or those of a slice or of integers [rows], negative ones from the end. IndexError beyond it."""
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

        with ThreadPoolExecutor() as pool:  # decoders let go of the lock
            list(pool.map(place, n[::CHUNK]))
        return x if dtype is None else x.astype(dtype)


def mirrored(x: OnDisk) -> OnDisk:
    """The images, and then their left-right mirror images."""
    n = len(x)

    def read(rows):
        images = x.read([row % n for row in rows])
        turned = [row >= n for row in rows]
        images[turned] = images[turned, :, ::-1]
        return images

    return OnDisk(read, (2 * n, *x.shape[1:]), f"{x.identity} mirrored")
