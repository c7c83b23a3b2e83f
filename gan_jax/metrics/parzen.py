"""The Parzen-window log-likelihood, only for comparison with the numbers of 2014."""

import math

import numpy as np
from jaxtyping import Array, Float, Num

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())  # of the code of Goodfellow et al. 2014
BLOCK = 256  # examples at a time, against every sample

Examples = Num[Array | np.ndarray, "_ ..."]


def parzen_log_likelihood(
    samples: Examples, validation: Examples, test: Examples, sigmas: tuple[float, ...] = SIGMAS
) -> Score:
    """E log p(x) over test x in nats, where p is the mean of Gaussians N(sample, σ²) with σ chosen on validation x.

    Breuleux et al. 2011; Goodfellow et al. 2014, section 5, with 10,000 samples and 1,000 validation x in [0, 1]. There
    10,000 training images of MNIST get 241 ± 2, and that article's GAN got 225 ± 2. It is misleading: Theis et al. 2016
    show that a better model may get less, and centres of k-means more than real images.

    Args:
        samples: Samples [m, …].
        validation: Real examples [k, …].
        test: Other real examples [n, …]; the standard error is over these.
        sigmas: Candidates for σ.

    Raises:
        UserError: A set is empty, not finite, or of another shape than the others.

    >>> x = np.zeros((5, 1))
    >>> round(float(parzen_log_likelihood(x, x, x, sigmas=(1.0,))), 4)  # −½ log 2π
    -0.9189
    """
    samples, validation, test = _rows(samples, validation, test)
    each = log_densities(samples, test, (parzen_bandwidth(samples, validation, sigmas),))[:, 0]
    chosen = f"of {len(sigmas)} in {min(sigmas):g} … {max(sigmas):g} on {len(validation):,}"
    protocol = {"real": len(test), "fake": len(samples), "σ": chosen}
    error = float(each.std() / np.sqrt(len(each)))
    return Score("Parzen log-likelihood", float(each.mean()), protocol, error, f"{len(test):,} test examples")


def parzen_bandwidth(samples: Examples, validation: Examples, sigmas: tuple[float, ...] = SIGMAS) -> float:
    """The σ under which the validation x are most likely.

    >>> parzen_bandwidth(np.zeros((5, 1)), np.full((5, 1), 0.5), sigmas=(0.1, 0.5, 1.0))
    0.5
    """
    samples, validation = _rows(samples, validation)
    return sigmas[int(log_densities(samples, validation, sigmas).mean(0).argmax())]


def log_densities(
    samples: Num[np.ndarray, "m d"], x: Num[np.ndarray, "n d"], sigmas: tuple[float, ...]
) -> Float[np.ndarray, "n sigmas"]:
    """log p(x) for each σ: log mean exp(−|x − sample|² / 2σ²) − d log(σ √2π), in float64.

    >>> log_densities(np.zeros((5, 1)), np.zeros((1, 1)), (1.0,)).round(4)  # −½ log 2π
    array([[-0.9189]])
    """
    samples, x = samples.astype(np.float64), x.astype(np.float64)
    norms = np.square(samples).sum(1)
    result = np.empty((len(x), len(sigmas)))
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK]
        distance = np.square(block).sum(1)[:, None] + norms - 2 * block @ samples.T
        nearest = distance.min(1, keepdims=True)
        for i, sigma in enumerate(sigmas):
            mean = np.exp((nearest - distance) / (2 * sigma**2)).mean(1)
            result[start : start + BLOCK, i] = np.log(mean) - nearest[:, 0] / (2 * sigma**2)
    return result - x.shape[1] * np.log(np.array(sigmas) * np.sqrt(2 * np.pi))


def _rows(*sets):
    """Each set as float64 [n, d]."""
    shapes = [list(a.shape) for a in sets]
    sets = [np.asarray(a, np.float64).reshape(len(a), math.prod(a.shape[1:])) for a in sets]
    if len({a.shape[1] for a in sets}) > 1 or not all(len(a) for a in sets):
        raise UserError(f"Samples, validation and test x must be of one length, and some of each; these are {shapes}.")
    if not all(np.isfinite(a).all() for a in sets):
        raise UserError("Some of the samples or examples are not finite: leave them out, or say how many.")
    return sets
