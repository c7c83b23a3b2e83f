"""The sliced Wasserstein distance, of points and of the patches of Laplacian pyramids."""

import numpy as np
from jaxtyping import Array, Float, Num

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

PATCH, PER_IMAGE = 7, 128  # side of a patch in pixels; patches per image and level
PROJECTIONS = 512
FILTER = np.array([1, 4, 6, 4, 1], np.float32) / 16
LEAST = 16  # pixels: the smallest side of a level
BLOCK = 256  # images

Images = Num[Array | np.ndarray, "_ _ _ _"]  # [n, h, w, c]


def sliced_wasserstein(real: Images, fake: Images, seed: int = 0) -> dict[str, Score]:
    """10³ times the sliced Wasserstein distance between patches at each level of Laplacian pyramids.

    Each level halves the image, as long as its sides are even and 16 pixels remain. Of each image and level 128 random
    patches of 7 x 7 are taken; every channel of the patches of a set is standardised. Karras et al. 2018, section 5 and
    its code, with 16,384 images.

    Args:
        real: [n, h, w, c].
        fake: [n, h, w, c].
        seed: Determines patches and projections.

    Returns:
        {side of the level: Score, "mean": their mean}.

    Raises:
        UserError: The sets differ in shape, are smaller than 16 x 16, or are not finite.

    >>> images = np.random.default_rng(0).uniform(-1, 1, (8, 16, 16, 1))
    >>> list(sliced_wasserstein(images, images[::-1]))
    ['16', 'mean']
    """
    if real.shape != fake.shape or len(real) == 0:
        raise UserError(
            f"Sliced Wasserstein needs two sets of images of one shape; they have shapes {list(real.shape)} and"
            f" {list(fake.shape)}."
        )
    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        raise UserError("Some of the images to score are not finite: the training has diverged.")
    sizes, rng = _sizes(*real.shape[1:3]), np.random.default_rng(seed)
    patches = [_patches(images, sizes, rng) for images in (real, fake)]
    names = [f"{h}" if h == w else f"{h} x {w}" for h, w in sizes]
    values = {name: 1e3 * sliced_distance(x, y, seed=seed) for name, x, y in zip(names, *patches, strict=True)}
    values["mean"] = float(np.mean(list(values.values())))
    size = "{} x {}".format(*real.shape[1:3])
    protocol = {"real": len(real), "fake": len(fake), "size": size, "patches": PER_IMAGE, "projections": PROJECTIONS}
    return {name: Score(f"sliced Wasserstein ×10³ ({name})", value, protocol) for name, value in values.items()}


def sliced_distance(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n d"], projections: int = PROJECTIONS, seed: int = 0
) -> float:
    """The mean of W₁(θ·x, θ·y) over random directions θ. On a line W₁ is the mean distance between the sorted values.

    Rabin et al. 2011, with W₁ in place of W₂ as in Karras et al. 2018.

    >>> round(sliced_distance(np.zeros((3, 1)), np.full((3, 1), 2.0)), 6)
    2.0
    """
    directions = np.random.default_rng(seed).normal(size=(projections, x.shape[1]))
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(x.dtype)
    line = lambda a, some: np.sort(some @ a.T)  # [directions, n]
    gap = lambda some: np.abs(line(x, some) - line(y, some)).mean(1, dtype=np.float64)
    return float(np.concatenate([gap(directions[i : i + 16]) for i in range(0, projections, 16)]).mean())


def pyramid(images: Num[np.ndarray, "n h w c"], levels: int) -> list[Float[np.ndarray, "n _ _ c"]]:
    """The Laplacian pyramid, finest level first: each level minus the next one enlarged; the last as it is.

    Burt & Adelson 1983, with the filter (1, 4, 6, 4, 1) / 16 and reflected borders.
    """
    result, x = [], images.astype(np.float32)
    for _ in range(levels - 1):
        small = _blur(x)[:, ::2, ::2]
        enlarged = np.zeros_like(x)
        enlarged[:, ::2, ::2] = 4 * small
        result.append(x - _blur(enlarged))
        x = small
    return [*result, x]


def _blur(x):
    for axis in (1, 2):
        border = [(2, 2) if a == axis else (0, 0) for a in range(4)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, border, mode="reflect"), 5, axis)
        x = np.einsum("nhwck,k->nhwc", windows, FILTER)
    return x


def _sizes(h, w):
    """The sizes (h, w) of the levels."""
    if min(h, w) < LEAST:
        raise UserError(f"Sliced Wasserstein needs images of {LEAST} x {LEAST} pixels or more; these are {h} x {w}.")
    smaller = [] if h % 2 or w % 2 or min(h, w) < 2 * LEAST else _sizes(h // 2, w // 2)
    return [(h, w), *smaller]


def _patches(images, sizes, rng):
    """The patches of each level [n · PER_IMAGE, c · PATCH · PATCH]."""
    shape = (len(images), PER_IMAGE)
    corners = [[rng.integers(side - PATCH + 1, size=shape) for side in size] for size in sizes]
    found = [[] for _ in sizes]
    for start in range(0, len(images), BLOCK):
        rows = slice(start, start + BLOCK)
        levels = pyramid(np.asarray(images[rows]), len(sizes))
        for level, x, (top, left) in zip(found, levels, corners, strict=True):
            views = np.lib.stride_tricks.sliding_window_view(x, (PATCH, PATCH), axis=(1, 2))  # [n, h', w', c, 7, 7]
            level.append(views[np.arange(len(x))[:, None], top[rows], left[rows]].reshape(-1, *views.shape[3:]))
    return [_normalised(np.concatenate(level)) for level in found]


def _normalised(patches):
    """Patches [m, c, 7, 7] as rows, each channel standardised; a constant channel becomes 0."""
    mean, std = (f((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32) for f in (patches.mean, patches.std))
    return ((patches - mean) / np.where(std > 0, std, 1)).reshape(len(patches), -1)
