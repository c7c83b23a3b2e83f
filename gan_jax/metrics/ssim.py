"""Multi-scale structural similarity: how alike two images are, and so how little a class varies."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the finest scale to the coarsest
WINDOW, WIDTH = 11, 1.5  # pixels: the Gaussian's side and standard deviation
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
GREY = 127.5
BATCH = 256  # pairs

Images = Num[Array | np.ndarray, "_ _ _ _"]  # [n, h, w, c]


@jax.jit
def ms_ssim(a: Images, b: Images) -> Float[Array, " _"]:
    """The similarity of each pair of images, 0 … 255, from 0 to 1 (of equal ones).

    Wang et al. 2003, eq. 7: luminance at the coarsest of five scales, contrast and structure at each, over an 11 x 11
    Gaussian of σ 1.5 that stays inside the image; terms below 0 count as 0. Where an image is smaller than the window,
    the window is the image and σ shrinks alike; a scale averages the channels; both as in the code of Karras et al.
    2018. Where a side cannot be halved evenly four times, there are fewer scales, and their weights keep their sum.
    UserError for images of two shapes.
    """
    if a.shape != b.shape:
        raise UserError(f"MS-SSIM compares images of one shape; {list(a.shape)} and {list(b.shape)} are two.")
    count = scales(*a.shape[1:3])
    weights = np.array(WEIGHTS[:count]) * (sum(WEIGHTS) / sum(WEIGHTS[:count]))
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    result = jnp.ones(len(a))
    for scale, weight in enumerate(weights):
        if scale:
            a, b = _halved(a), _halved(b)
        luminance, structure = _terms(a, b)
        term = structure if scale < count - 1 else luminance * structure
        result *= jnp.maximum(term.mean((1, 2, 3)), 0) ** weight
    return result


def scales(h: int, w: int) -> int:
    """1 and how often both sides can be halved evenly, 5 at most: 5 of 32 x 32, 3 of 28 x 28, 4 of 8 x 8."""
    return next((s for s in range(1, len(WEIGHTS)) if h % 2**s or w % 2**s), len(WEIGHTS))


def ms_ssim_diversity(images: Images, pairs: int | None = None, seed: int = 0) -> Score:
    """The mean similarity of random pairs of one class's images, 0 … 255: the lower, the more they vary.

    Odena et al. 2017, section 4.2, with 100 pairs. No image is in two pairs (by default each is in one), so that the
    pairs are independent and s / √pairs is the standard error. UserError for too few images, or outside 0 … 255.
    """
    pairs = len(images) // 2 if pairs is None else pairs
    if pairs < 2 or 2 * pairs > len(images):
        raise UserError(f"{max(pairs, 2)} pairs need {2 * max(pairs, 2)} images or more; there are {len(images)}.")
    images = np.asarray(images)
    if not (images.min() >= 0 and images.max() <= 255):
        raise UserError("MS-SSIM takes images in 0 to 255; these are not: from [-1, 1] they are 127.5 (x + 1).")
    chosen = np.random.default_rng(seed).permutation(len(images))[: 2 * pairs].reshape(pairs, 2)
    blocks = [chosen[i : i + BATCH] for i in range(0, pairs, BATCH)]
    similar = np.concatenate([ms_ssim(images[rows[:, 0]], images[rows[:, 1]]) for rows in blocks]).astype(np.float64)
    h, w = images.shape[1:3]
    protocol = {"fake": len(images), "size": f"{h} x {w}", "pairs": pairs, "scales": scales(h, w)}
    error = float(similar.std(ddof=1) / np.sqrt(pairs))
    return Score("MS-SSIM", float(similar.mean()), protocol, error, f"{pairs:,} pairs with no image in common")


def _terms(a, b):
    """l and c·s of Wang et al. 2003, eq. 1 to 3, at each place of the window [n, h', w', c]."""
    columns, rows = _window(a.shape[1]), _window(a.shape[2])
    blur = lambda x: jnp.einsum("ih,nhwc,jw->nijc", columns, x, rows, precision="highest")
    a, b = a - GREY, b - GREY  # what follows is a difference of squares: in float32 the less of them the better
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(jnp.square(a)) - jnp.square(mean_a), blur(jnp.square(b)) - jnp.square(mean_b)
    covariance = blur(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + GREY, mean_b + GREY
    luminance = (2 * mean_a * mean_b + C1) / (jnp.square(mean_a) + jnp.square(mean_b) + C1)
    return luminance, (2 * covariance + C2) / (var_a + var_b + C2)


def _window(side):
    """[places, side]: the Gaussian at each place where it is inside the image."""
    size = min(WINDOW, side)
    offset = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-0.5 * (offset / (WIDTH * size / WINDOW)) ** 2)
    places = side - size + 1
    return sum(np.eye(places, side, i) * k for i, k in enumerate(kernel / kernel.sum()))


def _halved(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))
