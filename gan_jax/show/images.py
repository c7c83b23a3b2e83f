"""Grids of images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Num, UInt8

from gan_jax.errors import UserError
from gan_jax.pixels import to_bytes
from gan_jax.show.points import scatter

WIDE = 256  # pixels: a narrower grid is enlarged
GAP, GREY = 2, 128  # pixels between images, and their shade


def picture(
    samples: Num[np.ndarray, "..."], real: Num[np.ndarray, "..."] | None = None
) -> UInt8[np.ndarray, "height width c"]:
    """Images [n, h, w, 1 or 3] as a grid, points [n, d] as a cloud. UserError for what can be drawn as neither."""
    return scatter(samples, real) if np.ndim(samples) == 2 else grid(samples)


def grid(images: Num[np.ndarray, "..."], columns: int | None = None) -> UInt8[np.ndarray, "height width c"]:
    """Images [n, h, w, 1 or 3], floats in [-1, 1] or bytes, side by side, small ones enlarged by a whole factor.

    UserError for another shape, or for values that are not finite.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise UserError(f"A grid is made of images [n, h, w, 1 or 3]; {list(images.shape)} are not.")
    n, h, w, c = images.shape
    columns = min(n, columns or int(np.ceil(np.sqrt(n))))
    rows, zoom = -(-n // columns), -(-WIDE // (columns * w))
    page = np.full((rows, columns, h * zoom + GAP, w * zoom + GAP, c), GREY, np.uint8)
    page.reshape(-1, *page.shape[2:])[:n, GAP:, GAP:] = to_bytes(images).repeat(zoom, 1).repeat(zoom, 2)
    page = page.swapaxes(1, 2).reshape(rows * page.shape[2], columns * page.shape[3], c)
    return np.pad(page, ((0, GAP), (0, GAP), (0, 0)), constant_values=GREY)


def tiles(pictures: Sequence[UInt8[np.ndarray, "..."]], columns: int | None = None) -> UInt8[np.ndarray, "h w c"]:
    """Pictures [h, w, c] of one size, side by side."""
    pictures = [np.pad(picture, ((0, GAP), (0, GAP), (0, 0)), constant_values=GREY) for picture in pictures]
    columns = min(len(pictures), columns or int(np.ceil(np.sqrt(len(pictures)))))
    blank = np.full_like(pictures[0], GREY)
    pictures = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)]
    return np.concatenate(rows)
