"""Augmentation of samples before D sees them: random crops and flips of each picture, and adaptive augmentation.

Crops and flips are the jitter of Isola et al. 2017, appendix 6.2.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from gan_jax.errors import UserError


def cut(key: PRNGKeyArray, x: Float[Array, "b h w c"], size: int) -> Float[Array, "b {size} {size} c"]:
    """A square of `size` pixels from a random place of each picture.

    Raises:
        UserError: the pictures are smaller.

    >>> cut(jax.random.key(0), jnp.zeros((2, 30, 32, 3)), 28).shape
    (2, 28, 28, 3)
    """
    h, w, c = x.shape[1:]
    if size > min(h, w):
        raise UserError(f"cut takes squares of {size} pixels, but the pictures are {w}x{h}: give {min(h, w)} or less.")
    corners = jax.random.randint(key, (x.shape[0], 2), 0, jnp.array([h, w]) - size + 1)
    one = lambda x, corner: lax.dynamic_slice(x, (*corner, 0), (size, size, c))
    return jax.vmap(one)(x, corners)


def flip(key: PRNGKeyArray, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Each picture mirrored left to right with probability ½.

    >>> flip(jax.random.key(0), jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1)).ravel().tolist() in ([0, 1], [1, 0])
    True
    """
    return jnp.where(jax.random.bernoulli(key, shape=(x.shape[0], 1, 1, 1)), x[:, :, ::-1], x)


class Augment(NamedTuple):
    """An augmentation with memory, which is kept in the memory of the game: `gan(…, augment=Augment(…))`.

    apply: (key, x, memory) -> x, differentiable, the same function for real and fake.
    init: the first memory, a dict.
    update: (memory, logits of real x) -> memory, after each loss of D; None: the memory never changes.

    >>> Augment(lambda key, x, memory: -x).apply(None, 2.0, ())
    -2.0
    """

    apply: Callable[[Any, Any, Any], Any]
    init: Any = ()
    update: Callable[[Any, Any], Any] | None = None


def adaptive(apply: Callable[[Any, Any, Any], Any], target: float = 0.6, images: float = 500_000) -> Augment:
    """Adaptive discriminator augmentation: p rises while D overfits, r_t = E sign(D(x)) > target, and falls otherwise.

    Karras et al. 2020 (arXiv:2006.06676), section 3.1, eq. 1. Differs: p changes with each batch, there with every
    fourth.

    Args:
        apply: (key, x, p) -> x, which augments with probability p.
        target: of r_t.
        images: how many real images p takes from 0 to 1: it changes by (batch size) / images.

    >>> ada = adaptive(lambda key, x, p: x + p, images=100.0)
    >>> print(ada.update(ada.init, jnp.ones(20))["p"])
    0.2
    """

    def update(memory, logits):
        overfits = jnp.sign(jnp.sign(logits).mean() - target)
        return {"p": jnp.clip(memory["p"] + overfits * logits.shape[0] / images, 0, 1)}

    return Augment(lambda key, x, memory: apply(key, x, memory["p"]), {"p": np.float32(0)}, update)
