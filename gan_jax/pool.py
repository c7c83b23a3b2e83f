"""A pool of past fakes, which keeps a discriminator from forgetting them.

Shrivastava et al. 2017 (SimGAN), section 2.3; as used in CycleGAN, Zhu et al. 2017, section 4.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

Pool = dict[str, Any]  # {"images": [size, …], "held": int32 [], the number of images in it}


def empty(size: int, shape: tuple[int, ...]) -> Pool:
    """An empty pool of `size` images, as the first memory of a game; a pool of size 0 returns every image as it is.

    >>> empty(50, (28, 28, 1))["images"].shape
    (50, 28, 28, 1)
    """
    return {"images": np.zeros((size, *shape), np.float32), "held": np.int32(0)}


def exchange(pool: Pool, x: Float[Array, "b ..."], key: PRNGKeyArray) -> tuple[Float[Array, "b ..."], Pool]:
    """Images for D and the new pool.

    The images x are treated one after another. While the pool is not full, each is added to it and returned. After that
    each is returned with probability ½; otherwise it replaces a random image of the pool, which is returned instead.

    >>> shown, pool = exchange(empty(2, ()), jnp.array([1.0, 2.0]), jax.random.key(0))
    >>> shown.tolist(), pool["images"].tolist()
    ([1.0, 2.0], [1.0, 2.0])
    """
    size = pool["images"].shape[0]
    if not size:
        return x, pool

    def one(pool, given):
        image, (k_coin, k_row) = given
        images, count = pool["images"], pool["held"]
        full = count == size
        row = jnp.where(full, jax.random.randint(k_row, (), 0, size), count)
        old, swap = images[row], jax.random.bernoulli(k_coin)
        images = images.at[row].set(jnp.where(full & ~swap, old, image))
        return {"images": images, "held": jnp.minimum(count + 1, size)}, jnp.where(full & swap, old, image)

    pool, shown = lax.scan(one, pool, (x, jax.random.split(key, (x.shape[0], 2))))
    return shown, pool
