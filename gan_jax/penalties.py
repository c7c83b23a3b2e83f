"""Gradient penalties on a critic D, to be weighted by the caller.

Samples are a Set {"x": [b, …], "y": …} with the labels of each sample, or a bare array [b, …]; the critic is a
function of the same, samples -> logits [b]. Slopes are with respect to x alone, and each sample is judged under its
own labels. ∇D(x) is computed as the gradient of the batch's summed logits, so D must judge each x independently of
the others: no batch normalisation in D.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from gan_jax.errors import UserError

Samples = Float[Array, "_ ..."] | dict[str, Any]
Critic = Callable[[Any], Float[Array, "b ..."]]
Scalar = Float[Array, ""]


def squared_slope(critic: Critic, samples: Samples) -> Float[Array, " b"]:
    """‖∇D(x)‖² of each sample.

    >>> squared_slope(lambda x: 3 * x[:, 0] + 4 * x[:, 1], jnp.zeros((2, 2)))
    Array([25., 25.], dtype=float32)
    """
    slope = jax.grad(lambda x: critic(_replace_x(samples, x)).sum())(_x(samples))
    return jnp.square(slope).sum(axis=range(1, slope.ndim))


def r1(critic: Critic, real: Samples) -> Scalar:
    """½ E‖∇D(x)‖² over real x. Mescheder et al. 2018, eq. 9, without γ.

    >>> float(r1(lambda s: s["x"][:, 0] * s["y"], {"x": jnp.zeros((2, 1)), "y": jnp.array([1.0, 3.0])}))
    2.5
    """
    return squared_slope(critic, real).mean() / 2


r2 = r1  # the same function of D, on fakes


def wgan_gp(critic: Critic, real: Samples, fake: Samples, key: Key[Array, ""]) -> Scalar:
    """E(‖∇D(x̂)‖ − 1)², x̂ = ε·real + (1 − ε)·fake, ε ~ U(0, 1) for each pair. Gulrajani et al. 2017, eq. 3, without λ.

    x̂ is judged under the labels of its real sample.

    Raises:
        UserError: real and fake do not pair up.

    >>> x = jnp.ones((4, 2))
    >>> float(wgan_gp(lambda x: 3 * x[:, 0], x, -x, jax.random.key(0)))
    4.0
    """
    a, b = _x(real), _x(fake)
    if a.shape != b.shape:
        raise UserError(
            f"wgan_gp mixes real and fake in pairs, but real is {list(a.shape)} and fake is "
            f"{list(b.shape)}; let G make as many fakes, of the same size, as the batch has x."
        )
    ε = jax.random.uniform(key, (a.shape[0],) + (1,) * (a.ndim - 1), a.dtype)
    square = squared_slope(critic, _replace_x(real, ε * a + (1 - ε) * b))
    # √ has no derivative at 0; there the norm is 0 and so, by choice, is its gradient.
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return jnp.square(norm - 1).mean()


def _x(samples):
    return samples["x"] if isinstance(samples, dict) else samples


def _replace_x(samples, x):
    """The same samples, labels included, at another x."""
    return samples | {"x": x} if isinstance(samples, dict) else x
