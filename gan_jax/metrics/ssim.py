"""Multi-scale structural similarity, and with it the diversity of a class."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the finest scale to the coarsest
WINDOW, WIDTH = 11, 1.5  # side and standard deviation of the Gaussian, in pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
GREY = 127.5
BATCH = 256  # pairs

Images = Num[Array | np.ndarray, "_ _ _ _"]  # [n, h, w, c]


@jax.jit
def ms_ssim(a: Images, b: Images) -> Float[Array, " _"]:
    """The MS-SSIM of each pair of images, from 0 to 1 (equal). Wang et al. 2003, eq. 7.

    Luminance at the coarsest of five scales, contrast and structure at every scale, with an 11 x 11 Gaussian window of
    σ = 1.5 inside the image; negative terms count as 0. As in the code of Karras et al. 2018, a smaller image has a
    smaller window, σ in proportion, and channels are averaged at each scale. Where a side cannot be halved evenly four
    times, there are fewer scales, whose weights keep their sum.

    Args:
        a: Images [n, h, w, c] in 0 … 255.
        b: Images [n, h, w, c] in 0 … 255.

    Raises:
        UserError: The images differ in shape.

    >>> ms_ssim(np.zeros((1, 32, 32, 1)), np.zeros((1, 32, 32, 1))).tolist()
    [1.0]
    """
    if a.shape != b.shape:
        raise UserError(f"MS-SSIM needs images of one shape; these have shape {list(a.shape)} and {list(b.shape)}.")
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
    """1 + how often both sides can be halved evenly, at most 5.

    >>> scales(32, 32), scales(28, 28)
    (5, 3)
    """
    return next((s for s in range(1, len(WEIGHTS)) if h % 2**s or w % 2**s), len(WEIGHTS))


def ms_ssim_diversity(images: Images, pairs: int | None = None, seed: int = 0) -> Score:
    """The mean MS-SSIM of random pairs of images of one class: the lower, the more diverse. Odena et al. 2017.

    No image is in two pairs, so that pairs are independent and s / √pairs is the standard error. The paper takes 100
    pairs (section 4.2).

    Args:
        images: [n, h, w, c] in 0 … 255.
        pairs: By default n / 2.
        seed: Determines the pairs.

    Raises:
        UserError: Too few images, or values outside 0 … 255.

    >>> images = np.random.default_rng(0).integers(0, 256, (1, 176, 176, 1)).repeat(4, 0)
    >>> round(float(ms_ssim_diversity(images)), 6)
    1.0
    """
    pairs = len(images) // 2 if pairs is None else pairs
    if pairs < 2 or 2 * pairs > len(images):
        raise UserError(f"{max(pairs, 2)} pairs need {2 * max(pairs, 2)} images or more; there are {len(images)}.")
    images = np.asarray(images)
    if not (images.min() >= 0 and images.max() <= 255):
        raise UserError("MS-SSIM needs images in 0 … 255, and these are not: give 127.5 (x + 1) of x in [-1, 1].")
    chosen = np.random.default_rng(seed).permutation(len(images))[: 2 * pairs].reshape(pairs, 2)
    blocks = [chosen[i : i + BATCH] for i in range(0, pairs, BATCH)]
    similar = np.concatenate([ms_ssim(images[rows[:, 0]], images[rows[:, 1]]) for rows in blocks]).astype(np.float64)
    h, w = images.shape[1:3]
    protocol = {"fake": len(images), "size": f"{h} x {w}", "pairs": pairs, "scales": scales(h, w)}
    error = float(similar.std(ddof=1) / np.sqrt(pairs))
    return Score("MS-SSIM", float(similar.mean()), protocol, error, f"{pairs:,} pairs with no image in common")


def _terms(a, b):
    """l and c·s of Wang et al. 2003, eq. 1 to 3, at each position of the window [n, h', w', c]."""
    columns, rows = _window(a.shape[1]), _window(a.shape[2])
    blur = lambda x: jnp.einsum("ih,nhwc,jw->nijc", columns, x, rows, precision="highest")
    a, b = a - GREY, b - GREY  # below are differences of squares: centred, they lose less in float32
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(jnp.square(a)) - jnp.square(mean_a), blur(jnp.square(b)) - jnp.square(mean_b)
    covariance = blur(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + GREY, mean_b + GREY
    luminance = (2 * mean_a * mean_b + C1) / (jnp.square(mean_a) + jnp.square(mean_b) + C1)
    return luminance, (2 * covariance + C2) / (var_a + var_b + C2)


def _window(side):
    """The Gaussian at each position inside the image, [positions, side]."""
    size = min(WINDOW, side)
    offset = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-0.5 * (offset / (WIDTH * size / WINDOW)) ** 2)
    places = side - size + 1
    return sum(np.eye(places, side, i) * k for i, k in enumerate(kernel / kernel.sum()))


def _halved(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))
