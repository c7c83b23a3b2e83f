"""Synthetic sets: made of other sets, or drawn from a distribution.

Random numbers come from the raw words of Philox, which NumPy keeps the same in all versions, because a set's hash is
part of a run's identity.
"""

import numpy as np

from gan_jax.data.plan import Set
from gan_jax.errors import UserError
from gan_jax.mixtures import Mixture


def stack(digits: Set, n: int = 128_000, seed: int = 0) -> dict[str, np.ndarray]:
    """Stacked MNIST: three random digits as the channels R, G, B of one image; 1,000 modes.

    Args:
        digits: grey images [m, h, w, 1] and their labels.
        n: 128,000 as in Lin et al. 2018 (PacGAN), Table 2.
        seed: of the digits drawn.

    Returns:
        {"x": uint8 [n, h, w, 3], "y": int32 [n]}, y = 100·R + 10·G + B.

    Raises:
        UserError: for digits in colour or without labels.

    >>> digits = {"x": np.zeros((10, 28, 28, 1), np.uint8), "y": np.arange(10)}
    >>> stack(digits, n=2)["x"].shape
    (2, 28, 28, 3)
    """
    if digits["x"].shape[3:] != (1,) or "y" not in digits:
        raise UserError("A stack is made of grey digits [n, h, w, 1] and their labels: give such a set.")
    rows = (np.random.Philox(seed).random_raw(3 * n) % len(digits["x"])).reshape(n, 3)
    x = np.stack([digits["x"][rows[:, channel]][..., 0] for channel in range(3)], -1)
    return {"x": x, "y": (digits["y"][rows] @ [100, 10, 1]).astype(np.int32)}


def mixture(m: Mixture, n: int = 100_000, seed: int = 0) -> dict[str, np.ndarray]:
    """{"x": float32 [n, d]}: independent samples of a mixture of Gaussians.

    >>> from gan_jax.mixtures import ring
    >>> mixture(ring(), n=5)["x"].shape
    (5, 2)
    """
    words = np.random.Philox(seed).random_raw(n + 2 * n * m.noisy)
    x = m.centres[words[:n] % len(m.centres)]
    x[:, : m.noisy] += m.sigma * _normal(words[n:]).reshape(n, m.noisy)
    return {"x": x.astype(np.float32)}


def swiss_roll(n: int = 100_000, noise: float = 0.25, seed: int = 0) -> dict[str, np.ndarray]:
    """{"x": float32 [n, 2]}: t (cos t, sin t), t uniform in (3π/2, 9π/2), plus normal noise; as in scikit-learn.

    >>> swiss_roll(n=5)["x"].shape
    (5, 2)
    """
    words = np.random.Philox(seed).random_raw(5 * n)
    t = 1.5 * np.pi * (1 + 2 * _uniform(words[:n]))
    x = t[:, None] * np.stack([np.cos(t), np.sin(t)], 1) + noise * _normal(words[n:]).reshape(n, 2)
    return {"x": x.astype(np.float32)}


def _uniform(words):
    """Uniform numbers in (0, 1) of 53 bits."""
    return ((words >> 11) + 0.5) / 2**53


def _normal(words):
    """Half as many normal numbers as words, by Box and Muller 1958.

    The last bit of a float64 logarithm or cosine may differ between machines; rounding to float32 removes it.
    """
    u, v = _uniform(words).reshape(2, -1)
    return np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
