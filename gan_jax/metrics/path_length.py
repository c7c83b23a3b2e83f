"""Perceptual path length: how fast the images of a generator change along paths in its latent space."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

Latents = Float[Array, "n d"]
TRIM = 1  # per cent of the distances that are left out at each end


def lerp(a: Latents, b: Latents, t: Float[Array, "n 1"]) -> Latents:
    """(1 − t) a + t b, for latent spaces without a preferred norm, such as W.

    >>> lerp(jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.full((1, 1), 0.25)).tolist()
    [[0.25, 0.25]]
    """
    return a + t * (b - a)


def slerp(a: Latents, b: Latents, t: Float[Array, "n 1"]) -> Latents:
    """From a to b with the direction along a great circle at constant speed and the norm linear. For a normal prior.

    The direction is that of Karras et al. 2019, whose mapping network sees directions only.

    >>> a, b = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
    >>> print(slerp(a, b, jnp.array([[0.5]])).round(3))
    [[0.707 0.707]]
    """
    size_a, size_b = (jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    a, b = a / size_a, b / size_b
    cosine = (a * b).sum(-1, keepdims=True)
    across = b - cosine * a
    sine = jnp.linalg.norm(across, axis=-1, keepdims=True)
    angle = t * jnp.arctan2(sine, cosine)
    return lerp(size_a, size_b, t) * (jnp.cos(angle) * a + jnp.sin(angle) * across / sine)


def perceptual_path_length(
    key: Key[Array, ""],
    generator: Callable[[Latents], Array],
    prior: Callable[[Array, int], Latents],
    distance: Callable[[Array, Array], Float[Array, " n"]],
    n: int = 100_000,
    *,
    interpolation: Callable[[Latents, Latents, Float[Array, "n 1"]], Latents] = slerp,
    span: float = 1.0,
    epsilon: float = 1e-4,
    batch: int = 100,
) -> Score:
    """E d(G(z(t)), G(z(t + ε))) / ε² on paths z(t) between pairs of latents. Karras et al. 2019, eq. 2 and 3.

    The lowest and highest 1 % are left out, as in the paper's code. The standard error is that of a trimmed mean (Tukey
    & McLaughlin 1963).

    Args:
        key: A JAX key.
        generator: Latents [n, d] -> images.
        prior: (key, n) -> latents [n, d]: z with `slerp` (eq. 2), or w with `lerp` (eq. 3).
        distance: Two batches of images -> distances [n] that grow like squared ones: LPIPS in the paper, there on
            pixels in 0 … 255.
        n: Pairs.
        interpolation: `slerp` or `lerp`.
        span: t ~ U(0, span); 0 takes the ends of the paths only.
        epsilon: ε.
        batch: Pairs at a time.

    Raises:
        UserError: Fewer than 200 pairs, or distances that are not finite.

    >>> square = lambda a, b: jnp.square(a - b).sum(1)
    >>> prior = lambda key, n: jax.random.normal(key, (n, 2))
    >>> score = perceptual_path_length(jax.random.key(0), lambda z: z, prior, square, n=200, interpolation=lerp)
    >>> 2 < float(score) < 6  # E ‖a − b‖² = 4
    True
    """
    if n < 200:
        raise UserError(f"A path length needs 200 pairs of latents or more, for 1 % at each end is left out; n is {n}.")

    @jax.jit
    def distances(key):
        ends, where = jax.random.split(key)
        start, end = jnp.split(prior(ends, 2 * batch), 2)
        t = span * jax.random.uniform(where, (batch, 1))
        with jax.default_matmul_precision("highest"):  # TF32 is coarser than the step
            near, far = (generator(interpolation(start, end, t + step)) for step in (0, epsilon))
            return distance(near, far) / epsilon**2

    batches = [np.asarray(distances(jax.random.fold_in(key, i))) for i in range(-(-n // batch))]
    each = np.concatenate(batches)[:n].astype(np.float64)
    if not np.isfinite(each).all():
        raise UserError("Some of the distances along the paths are not finite: check G's images and the distance.")
    called = lambda f: getattr(f, "__name__", type(f).__name__)
    protocol = {"fake": n, "distance": called(distance), "interpolation": called(interpolation)}
    protocol |= {"t": f"0 … {span:g}", "ε": epsilon}
    value, error = _trimmed_mean(each)
    return Score("perceptual path length", value, protocol, error, f"{n:,} pairs of latents")


def _trimmed_mean(x):
    low = np.percentile(x, TRIM, method="lower")
    high = np.percentile(x, 100 - TRIM, method="higher")
    error = x.clip(low, high).std(ddof=1) / ((1 - 2 * TRIM / 100) * np.sqrt(len(x)))
    return float(x[(x >= low) & (x <= high)].mean()), float(error)
