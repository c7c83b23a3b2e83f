"""Sets that are made of others."""

import numpy as np

from gan_jax.data.plan import Data
from gan_jax.errors import UserError


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
