"""What GANs need beside optax: optimizers that tell their learning rate, and weights kept within bounds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Tree = Any  # a pytree of arrays
Optimizer = Callable[..., optax.GradientTransformation]


class Rated(NamedTuple):
    """An optimizer's state and the rate of its last update: `optax.tree.get(opt, "learning_rate")`."""

    count: Tree  # int32 [], updates made
    learning_rate: Tree  # []
    inner: Tree


def with_rate(optimizer: Optimizer) -> Optimizer:
    """optimizer(learning_rate, …) of optax, its state Rated.

    The rate is a number, traced or not, or a schedule count -> rate; each update asks for it anew and takes
    nothing from the state but the count, so a resumed state obeys a changed rate.
    """

    def made(learning_rate: optax.ScalarOrSchedule, *args, **kwargs) -> optax.GradientTransformation:
        schedule = learning_rate if callable(learning_rate) else lambda count: learning_rate

        def at(count, params):
            rate = jnp.asarray(schedule(count), optax.tree.dtype(params, "highest"))
            return rate, optimizer(rate, *args, **kwargs)

        def init(params):
            rate, inner = at(jnp.int32(0), params)
            return Rated(jnp.int32(0), rate, inner.init(params))

        def update(updates, state, params=None):
            rate, inner = at(state.count, params)
            updates, new = inner.update(updates, state.inner, params)
            return updates, Rated(state.count + 1, rate, new)

        return optax.GradientTransformation(init, update)

    return made


adam = with_rate(optax.adam)
rmsprop = with_rate(optax.rmsprop)
sgd = with_rate(optax.sgd)


def clip_weights(limit: float) -> optax.GradientTransformation:
    """Every weight back into ± limit after the update, to rounding; last in a chain. Arjovsky et al. 2017, alg. 1."""

    def update(updates, state, params=None):
        held = lambda w, u: jnp.clip(w + u, -limit, limit) - w
        return jax.tree.map(held, params, updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)
