"""What GANs need beside optax: optimizers that report their learning rate, optimism, weight clipping."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

Tree = Any  # a pytree of arrays
Optimizer = Callable[..., optax.GradientTransformation]


class Rated(NamedTuple):
    """An optimizer's state and the rate of its last update: `optax.tree.get(opt, "learning_rate")`."""

    count: Tree  # int32 [], updates made
    learning_rate: Tree  # []
    inner: Tree


def with_rate(optimizer: Optimizer) -> Optimizer:
    """optimizer(learning_rate, …) of optax, its state Rated.

    The rate is a number, traced or not, or a schedule round -> rate. Each update asks for it anew and takes nothing
    from the state but the inner optimizer's own, so a resumed state follows a changed schedule. Where no round is
    given, as outside a game, a schedule counts the updates.
    """

    @functools.wraps(optimizer)
    def made(learning_rate: optax.ScalarOrSchedule, *args, **kwargs) -> optax.GradientTransformationExtraArgs:
        def at(step, params):
            now = learning_rate(step) if callable(learning_rate) else learning_rate
            rate = jnp.asarray(now, optax.tree.dtype(params, "highest"))
            return rate, optimizer(rate, *args, **kwargs)

        def init(params):
            rate, inner = at(jnp.int32(0), params)
            return Rated(jnp.int32(0), rate, inner.init(params))

        def update(updates, state, params=None, *, step=None, **extra):
            rate, inner = at(state.count if step is None else step, params)
            updates, new = optax.with_extra_args_support(inner).update(updates, state.inner, params, step=step, **extra)
            return updates, Rated(state.count + 1, rate, new)

        return optax.GradientTransformationExtraArgs(init, update)

    return made


adam = with_rate(optax.adam)
rmsprop = with_rate(optax.rmsprop)
# Negative momentum (Gidel, Askari Hemmat et al. 2019) is sgd(rate, momentum=-0.5), with alternating moves.
sgd = with_rate(optax.sgd)


class Last(NamedTuple):
    """What an optimistic optimizer remembers of the update before."""

    count: Tree  # int32 [], updates made
    direction: Tree


def optimism() -> optax.GradientTransformation:
    """u_t -> 2u_t − u_{t−1}, where u_{−1} = u_0: the next one foretold. Daskalakis et al. 2018."""

    def init(params):
        return Last(jnp.int32(0), optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        foretold = lambda u, last: 2 * u - jnp.where(state.count == 0, u, last)
        return jax.tree.map(foretold, updates, state.direction), Last(state.count + 1, updates)

    return optax.GradientTransformation(init, update)


class Moments(NamedTuple):
    """Adam's, not yet corrected for their start at 0."""

    count: Tree
    mu: Tree
    nu: Tree


def _scale_by_moments(b1, b2, eps):
    """g -> m / (√v + ε), the uncorrected moments' ratio."""

    def init(params):
        return Moments(jnp.int32(0), optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        mu = jax.tree.map(lambda g, m: (b1 * m + (1 - b1) * g).astype(m.dtype), updates, state.mu)
        nu = jax.tree.map(lambda g, v: (b2 * v + (1 - b2) * g**2).astype(v.dtype), updates, state.nu)
        ratio = jax.tree.map(lambda m, v: (m / (jnp.sqrt(v) + eps)).astype(m.dtype), mu, nu)
        return ratio, Moments(state.count + 1, mu, nu)

    return optax.GradientTransformation(init, update)


@with_rate
def optimistic_sgd(learning_rate) -> optax.GradientTransformation:
    """w ← w − 2η g_t + η g_{t−1}, optimistic mirror descent; g_{−1} = g_0. Daskalakis et al. 2018."""
    return optax.chain(optimism(), optax.scale_by_learning_rate(learning_rate))


@with_rate
def optimistic_adam(learning_rate, b1=0.9, b2=0.999, eps=1e-8) -> optax.GradientTransformation:
    """w ← w − 2η_t r_t + η_t r_{t−1}, r = m / (√v + ε), η_t = η √(1 − β₂ᵗ) / (1 − β₁ᵗ) in both terms; r_{−1} = r_0.

    Daskalakis et al. 2018, corrected for the moments' start as in the authors' code, which begins with r_{−1} = 0.
    """
    correction = lambda count: jnp.sqrt(1 - b2 ** (count + 1)) / (1 - b1 ** (count + 1))
    return optax.chain(
        _scale_by_moments(b1, b2, eps),
        optimism(),
        optax.scale_by_schedule(lambda count: -learning_rate * correction(count)),
    )


def clip_weights(limit: float | Float[Array, ""]) -> optax.GradientTransformation:
    """Every weight back into ± limit after the update, to rounding; last in a chain. Arjovsky et al. 2017, alg. 1."""

    def update(updates, state, params=None):
        held = lambda w, u: jnp.clip(w + u, -limit, limit) - w
        return jax.tree.map(held, params, updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def ema(decay) -> Callable | None:
    """step -> decay, for Player.ema; None, no average, for the plain Python number 0, which a traced one never is."""
    if isinstance(decay, int | float) and decay == 0:
        return None
    return lambda step: decay
