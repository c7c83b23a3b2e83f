"""Images that no training reads, of the domains between which a game translates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from gan_jax.pixels import to_float

Images = Mapping[str, Any]  # {"A": [n, h, w, c], "B": [m, h, w, c]}
SHOWN = 4  # images of each domain in a picture


@dataclass(frozen=True)
class HeldOut:
    """Images by domain, as bytes; `paired` says whether image i of one is the truth of image i of the other.

    >>> x = np.zeros((3, 8, 8, 1), np.uint8)
    >>> HeldOut({"A": x, "B": 255 - x}, paired=True).first(2)["B"].shape
    (2, 8, 8, 1)
    """

    images: Images
    paired: bool

    def first(self, n: int) -> Images:
        """The first n of each domain, in [-1, 1]."""
        return self._taken({name: slice(n) for name in self.images})

    def some(self) -> Images:
        """A few of each domain to look at, from the whole range, in [-1, 1]."""
        return self._taken({name: spread(len(x)) for name, x in self.images.items()})

    def _taken(self, rows):
        return {name: to_float(np.asarray(x[rows[name]])) for name, x in self.images.items()}


def spread(n: int) -> Int[np.ndarray, " shown"]:
    """The rows of n images that a picture shows.

    >>> spread(100)
    array([ 0, 25, 50, 75])
    """
    return np.arange(min(n, SHOWN)) * n // min(n, SHOWN)
