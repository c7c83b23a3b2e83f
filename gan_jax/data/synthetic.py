"""Sets that are made: of others, or drawn from a distribution."""

import numpy as np

from gan_jax.data.plan import Data
from gan_jax.errors import UserError
from gan_jax.mixtures import Mixture


def stack(digits: dict[str, np.ndarray], n: int = 128_000, seed: int = 0) -> Data:
    """Stacked MNIST: {"x": uint8 [n, h, w, 3], "y": int32 [n] in 0 … 999}, three grey digits drawn for each as R, G, B.

    y = 100·R + 10·G + B, so there are 1,000 modes. 128,000 as in Lin et al. 2018 (PacGAN), Table 2.
    UserError for digits in colour or without labels.
    """
    if digits["x"].shape[3:] != (1,) or "y" not in digits:
        raise UserError("A stack is made of grey digits [n, h, w, 1] and their labels: give such a set.")
    rows = (np.random.Philox(seed).random_raw(3 * n) % len(digits["x"])).reshape(n, 3)  # promised for all versions
    x = np.stack([digits["x"][rows[:, channel], :, :, 0] for channel in range(3)], -1)
    return {"x": x, "y": (digits["y"][rows] @ [100, 10, 1]).astype(np.int32)}


def mixture(m: Mixture, n: int = 100_000, seed: int = 0) -> Data:
    """{"x": float32 [n, d]}: exact samples of a mixture of Gaussians, the same for all versions of NumPy and JAX."""
    words = np.random.Philox(seed).random_raw(n + 2 * n * m.noisy)  # promised for all versions
    u, v = (((words[n:] >> 11) + 0.5) / 2**53).reshape(2, n, m.noisy)  # in (0, 1)
    x = m.centres[words[:n] % len(m.centres)]
    # Box and Muller, in float64: where a last bit of log or cos differs between machines, float32 rounds it away.
    x[:, : m.noisy] += m.sigma * np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
    return {"x": x.astype(np.float32)}
