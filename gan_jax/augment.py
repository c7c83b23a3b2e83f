"""Random jitter inside a program: crops and mirror images, each picture's own. Isola et al. 2017, appendix 6.2."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray


def cut(key: PRNGKeyArray, x: Float[Array, "b h w c"], size: int) -> Float[Array, "b {size} {size} c"]:
    """A square of `size` from a random place of each picture."""
    h, w, c = x.shape[1:]
    corners = jax.random.randint(key, (x.shape[0], 2), 0, jnp.array([h, w]) - size + 1)
    one = lambda x, corner: lax.dynamic_slice(x, (*corner, 0), (size, size, c))
    return jax.vmap(one)(x, corners)


def flip(key: PRNGKeyArray, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Half of the pictures mirrored, left to right."""
    return jnp.where(jax.random.bernoulli(key, shape=(x.shape[0], 1, 1, 1)), x[:, :, ::-1], x)
