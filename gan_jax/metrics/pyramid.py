"""The sliced Wasserstein distance, on points and on the patches of Laplacian pyramids."""

import numpy as np
from jaxtyping import Array, Float, Num

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

PATCH, PER_IMAGE = 7, 128  # pixels of a patch's side; patches of each image and level
PROJECTIONS = 512
LEAST = 16  # pixels: the side of the coarsest level
BLOCK = 256  # images

Images = Num[Array | np.ndarray, "_ h w c"]


def sliced_wasserstein(real: Images, fake: Images, seed: int = 0) -> dict[str, Score]:
    """10³ times the distance of the patches at each level of Laplacian pyramids, by its side, and their "mean".

    Levels halve the images as long as they do so evenly and 16 pixels remain. At each, 128 random patches of 7 x 7 of
    an image are made to have mean 0 and deviation 1 in each channel, each set by its own. Karras et al. 2018, section 5
    and its code; with 16,384 images there. UserError for sets that are not of one shape, or smaller than 16 x 16.
    """
    if real.shape != fake.shape or len(real) == 0:
        raise UserError(
            f"Sliced Wasserstein compares as many fakes as real images, of one shape; these are {list(real.shape)} and "
            f"{list(fake.shape)}."
        )
    levels = _levels(*real.shape[1:3])
    rng = np.random.default_rng(seed)
    patches = [_patches(images, len(levels), rng) for images in (real, fake)]
    values = [1e3 * sliced_distance(x, y, seed=seed) for x, y in zip(*patches, strict=True)]
    protocol = {"real": len(real), "fake": len(fake), "patches": PER_IMAGE, "projections": PROJECTIONS}
    named = {**dict(zip(levels, values, strict=True)), "mean": float(np.mean(values))}
    return {level: Score(f"sliced Wasserstein ×10³ ({level})", value, protocol) for level, value in named.items()}


def sliced_distance(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n d"], projections: int = PROJECTIONS, seed: int = 0
) -> float:
    """The mean of W₁(θ·x, θ·y) over random directions θ: there, W₁ is the mean |difference| of the sorted values.

    Rabin et al. 2011, with W₁ for W₂ as in Karras et al. 2018.
    """
    directions = np.random.default_rng(seed).normal(size=(projections, x.shape[1]))
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(x.dtype)
    line = lambda a, theta: np.sort(a @ theta)
    return float(np.mean([np.abs(line(x, theta) - line(y, theta)).mean(dtype=np.float64) for theta in directions]))


def pyramid(images: Num[np.ndarray, "n h w c"], levels: int) -> list[Float[np.ndarray, "n _ _ c"]]:
    """The Laplacian pyramid, finest first: what each level has over the next one enlarged, and the coarsest itself.

    Burt and Adelson 1983, with the filter (1, 4, 6, 4, 1) / 16 and borders mirrored without their own pixel.
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
        padded = np.moveaxis(np.pad(x, border, mode="reflect"), axis, 0)
        side = x.shape[axis]
        x = np.moveaxis(sum(np.float32(k / 16) * padded[i : i + side] for i, k in enumerate((1, 4, 6, 4, 1))), 0, axis)
    return x


def _levels(h, w):
    """The sizes of the levels, as they are called: ["32", "16"], or ["32 x 48", …]."""
    if min(h, w) < LEAST:
        raise UserError(f"Sliced Wasserstein needs images of {LEAST} x {LEAST} pixels or more; these have {h} x {w}.")
    sizes = [(h, w)]
    while not (h % 2 or w % 2) and min(h, w) >= 2 * LEAST:
        h, w = h // 2, w // 2
        sizes.append((h, w))
    return [f"{h}" if h == w else f"{h} x {w}" for h, w in sizes]


def _patches(images, levels, rng):
    """For each level [n · PER_IMAGE, PATCH · PATCH · c]."""
    found = [[] for _ in range(levels)]
    for start in range(0, len(images), BLOCK):
        for level, x in zip(found, pyramid(np.asarray(images[start : start + BLOCK]), levels), strict=True):
            views = np.lib.stride_tricks.sliding_window_view(x, (PATCH, PATCH), axis=(1, 2))  # [n, h', w', c, 7, 7]
            n, h, w = views.shape[:3]
            draw = lambda high, n=n: rng.integers(high, size=(n, PER_IMAGE))
            level.append(views[np.arange(n)[:, None], draw(h), draw(w)].reshape(-1, *views.shape[3:]))
    return [_normalised(np.concatenate(level)) for level in found]


def _normalised(patches):
    """[m, c, 7, 7] with mean 0 and deviation 1 in each channel, as rows; a constant channel is 0."""
    mean, std = (f((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32) for f in (patches.mean, patches.std))
    return ((patches - mean) / np.where(std > 0, std, 1)).reshape(len(patches), -1)
