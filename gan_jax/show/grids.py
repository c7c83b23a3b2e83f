"""Images: grids of them, and half blocks in a terminal."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Num, UInt8

from gan_jax.errors import UserError
from gan_jax.pixels import to_bytes
from gan_jax.show.files import png
from gan_jax.show.pages import MEMBERS, ROW, Set, Show, finite

WIDE = 256  # pixels: a narrower grid is enlarged
GAP, GREY = 2, 128  # pixels between images, and their shade


def grid(images: Num[np.ndarray, "..."], columns: int | None = None) -> UInt8[np.ndarray, "height width c"]:
    """Images side by side, in as many columns as rows by default; small ones are enlarged by a whole factor.

    Args:
        images: [n, h, w, 1 or 3], floats in [-1, 1] or bytes.
        columns: Images in a row.

    Raises:
        UserError: Another shape, or values that are not finite.

    >>> grid(np.zeros((6, 100, 100, 1)), columns=3).shape
    (206, 308, 1)
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise UserError(f"A grid needs images [n, h, w, 1 or 3]; these have shape {list(images.shape)}.")
    n, h, w, c = images.shape
    columns = min(n, columns or int(np.ceil(np.sqrt(n))))
    rows, zoom = -(-n // columns), -(-WIDE // (columns * w))
    page = np.full((rows, columns, h * zoom + GAP, w * zoom + GAP, c), GREY, np.uint8)
    page.reshape(-1, *page.shape[2:])[:n, GAP:, GAP:] = to_bytes(images).repeat(zoom, 1).repeat(zoom, 2)
    page = page.swapaxes(1, 2).reshape(rows * page.shape[2], columns * page.shape[3], c)
    return np.pad(page, ((0, GAP), (0, GAP), (0, 0)), constant_values=GREY)


def tiles(pictures: Sequence[UInt8[np.ndarray, "..."]], columns: int | None = None) -> UInt8[np.ndarray, "h w c"]:
    """Pictures [h, w, c] of one size side by side, in as many columns as rows by default.

    >>> tiles(4 * [np.zeros((2, 2, 1), np.uint8)]).shape
    (8, 8, 1)
    """
    pictures = [np.pad(picture, ((0, GAP), (0, GAP), (0, 0)), constant_values=GREY) for picture in pictures]
    columns = min(len(pictures), columns or int(np.ceil(np.sqrt(len(pictures)))))
    blank = np.full_like(pictures[0], GREY)
    pictures = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)]
    return np.concatenate(rows)


def blocks(images: Num[np.ndarray, "n h w c"], width: int = 80) -> str:
    """Images side by side for a terminal with 24-bit colour: each character "▀" is two pixels, one above the other.

    Args:
        images: Grey or RGB, floats in [-1, 1] or bytes. Only as many as fit into the width are drawn, at least one.
        width: Columns of the terminal; wider images are reduced by a whole factor.

    >>> blocks(np.zeros((1, 4, 4, 1))).count("▀")
    8
    """
    x = to_bytes(np.asarray(images))
    zoom = -(-x.shape[2] // width)
    h, w = x.shape[1] // zoom, x.shape[2] // zoom
    x = x[: max(1, (width + 1) // (w + 1)), : h * zoom, : w * zoom]
    x = x.reshape(len(x), h, zoom, w, zoom, -1).mean((2, 4)).round().astype(int)
    x = np.broadcast_to(x, (*x.shape[:3], 3)).tolist()
    colour = lambda pixel: ";".join(map(str, pixel))
    upper = lambda pixel: f"\x1b[38;2;{colour(pixel)};49m▀"
    both = lambda pixel, below: f"\x1b[38;2;{colour(pixel)};48;2;{colour(below)}m▀"
    line = lambda x, i: "".join(map(both, x[i], x[i + 1]) if i + 1 < h else map(upper, x[i]))
    return "\n".join(" ".join(line(image, i) + "\x1b[0m" for image in x) for i in range(0, h, 2))


def _draw(samples, real):
    return {"png": png(grid(samples["x"]))}


def rows(samples: Sequence[Set]) -> Num[np.ndarray, "n ..."]:
    """The first ROW samples of each of the first MEMBERS members, one after another; 0 where a member has diverged.

    >>> rows(2 * [{"x": np.zeros((100, 2))}]).shape[1]
    2
    """
    some = [np.asarray(one["x"])[:ROW] if finite(one) else np.zeros_like(one["x"][:ROW]) for one in samples[:MEMBERS]]
    return np.concatenate(some)


def _members(samples, real):
    return {"png": png(grid(rows(samples), columns=min(ROW, len(samples[0]["x"]))))}


images = Show(_draw, members=_members)
"""Images [n, h, w, 1 or 3]: a grid; for a population a row per member, of the first MEMBERS."""
