"""Augmentation inside a program: random crops and mirror images of each picture, and what adapts to D.

Jitter as in Isola et al. 2017, appendix 6.2.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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


class Augment(NamedTuple):
    """What is done to samples before D sees them, and what it remembers, in the memory of the game.

    apply: (key, x, memory) -> x, differentiable, the same function for real and fake.
    init: its first memory, a dict. update: (memory, logits of real x) -> memory after D's loss; None: it never changes.
    """

    apply: Callable[[Any, Any, Any], Any]
    init: Any = ()
    update: Callable[[Any, Any], Any] | None = None


def adaptive(apply: Callable[[Any, Any, Any], Any], target: float = 0.6, images: float = 500_000) -> Augment:
    """Adaptive discriminator augmentation: p rises while D overfits, E sign(D(x)) > target, and falls otherwise.

    Karras et al. 2020 (arXiv:2006.06676), section 3.1, eq. 1: r_t = E sign(D_train). p moves by batch / `images`, so
    that it takes so many images from 0 to 1. There it moves once in four minibatches, here with each.

    Args:
        apply: (key, x, p) -> x, which augments with probability p.
    """

    def update(memory, logits):
        overfits = jnp.sign(jnp.sign(logits).mean() - target)
        return {"p": jnp.clip(memory["p"] + overfits * logits.shape[0] / images, 0, 1)}

    return Augment(lambda key, x, memory: apply(key, x, memory["p"]), {"p": np.float32(0)}, update)
