"""Gradient penalties: functions of the critic as a callable, x [b, ...] -> logits [b], to be weighted by the caller.

∇D(x) is read off the gradient of the batch's summed logits, so D must judge each x alone: no batch
normalisation in D.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from gan_jax.errors import UserError

Critic = Callable[[Float[Array, "b ..."]], Float[Array, "b ..."]]
Scalar = Float[Array, ""]


def squared_slope(critic: Critic, x: Float[Array, "b ..."]) -> Float[Array, " b"]:
    """‖∇D(x)‖² of each example."""
    slope = jax.grad(lambda x: critic(x).sum())(x)
    return jnp.square(slope).reshape(len(x), -1).sum(axis=1)


def r1(critic: Critic, x: Float[Array, "b ..."]) -> Scalar:
    """½ E‖∇D(x)‖² on real x; on fake x it is R2. Mescheder et al. 2018, eq. 9, without γ."""
    return squared_slope(critic, x).mean() / 2


r2 = r1  # the same function of D, on fake x


def wgan_gp(critic: Critic, real: Float[Array, "b ..."], fake: Float[Array, "n ..."], key: Key[Array, ""]) -> Scalar:
    """E(‖∇D(x̂)‖ − 1)², x̂ = ε·real + (1 − ε)·fake, ε ~ U(0, 1) for each pair. Gulrajani et al. 2017, eq. 3, without λ.

    Raises UserError if real and fake do not pair up.
    """
    if real.shape != fake.shape:
        raise UserError(
            f"wgan_gp mixes real and fake in pairs, but real is {list(real.shape)} and fake is "
            f"{list(fake.shape)}; let G make as many fakes, of the same size, as the batch has x."
        )
    ε = jax.random.uniform(key, (len(real),) + (1,) * (real.ndim - 1), real.dtype)
    square = squared_slope(critic, ε * real + (1 - ε) * fake)
    # √ has no derivative at 0; there the norm is 0 and so, by choice, is its gradient.
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return jnp.square(norm - 1).mean()
