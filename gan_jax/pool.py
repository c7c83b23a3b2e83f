"""A pool of past fakes: a discriminator that sees them too does not forget them.

Shrivastava et al. 2017 (SimGAN), section 2.3; as in CycleGAN, section 4.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

Pool = dict[str, Any]  # {"images": [size, …], "held": int32 [], how many of them are there}


def empty(size: int, shape: tuple[int, ...]) -> Pool:
    """What a game remembers at first, for `size` images; 0 keeps none."""
    return {"images": np.zeros((size, *shape), np.float32), "held": np.int32(0)}


def exchange(pool: Pool, x: Float[Array, "b ..."], key: PRNGKeyArray) -> tuple[Float[Array, "b ..."], Pool]:
    """(what D is shown [b, …], the pool afterwards), the images x one after another.

    While the pool is not full, each is put in and shown. Then half of them are shown as they are; each of the others
    takes the place of a random one in the pool, which is shown.
    """
    size = len(pool["images"])
    if not size:
        return x, pool

    def one(pool, own):
        image, (k_coin, k_row) = own
        images, held = pool["images"], pool["held"]
        full = held == size
        row = jnp.where(full, jax.random.randint(k_row, (), 0, size), held)
        old, swap = images[row], jax.random.bernoulli(k_coin)
        images = images.at[row].set(jnp.where(full & ~swap, old, image))
        return {"images": images, "held": jnp.minimum(held + 1, size)}, jnp.where(full & swap, old, image)

    pool, shown = lax.scan(one, pool, (x, jax.random.split(key, (x.shape[0], 2))))
    return shown, pool
