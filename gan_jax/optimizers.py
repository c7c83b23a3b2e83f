"""Optimizers that report their learning rate and take schedules of the round; optimism, weight clipping, averages.

Any optax optimizer can be a player's. Those here keep the rate of their last update in their state, from which it is
logged as "lr/PLAYER", and a schedule given to them is a function of the round, not of the player's own updates.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gan_jax.errors import UserError

Tree = Any  # a pytree of arrays
Optimizer = Callable[..., optax.GradientTransformation]


class Rated(NamedTuple):
    """An optimizer's state and the learning rate of its last update: `optax.tree.get(opt, "learning_rate")`."""

    count: Tree  # int32 [], updates made
    learning_rate: Tree  # []
    inner: Tree


def with_rate(optimizer: Optimizer) -> Optimizer:
    """optimizer(learning_rate, …) of optax with a state of type Rated.

    The rate is a number, traced or not, or a schedule round -> rate. The round comes as the extra argument `step` of
    the update; where there is none, as outside a game, a schedule counts the updates. The rate is computed anew at
    each update and never read from the state, so a resumed state follows a changed schedule.

    >>> optimizer = with_rate(optax.lion)(lambda step: 1.0 / (1 + step))
    >>> params = jnp.ones(2)
    >>> updates, state = optimizer.update(params, optimizer.init(params), params, step=3)
    >>> float(state.learning_rate)
    0.25
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


@with_rate
def adam(learning_rate, b1=0.9, b2=0.999, eps=1e-8, **options) -> optax.GradientTransformation:
    """w ← w − η m̂ / (√v̂ + ε). Kingma & Ba 2015, algorithm 1; PyTorch's and optax' Adam.

    b1 and b2 are the decays of the moments m and v; other options are those of `optax.adam`.

    >>> optimizer, w = adam(0.1), jnp.array(1.0)
    >>> print(f"{optimizer.update(jnp.array(5.0), optimizer.init(w), w)[0]:.3f}")
    -0.100
    """
    return optax.adam(learning_rate, b1, b2, eps, **options)


@with_rate
def keras_adam(learning_rate, b1=0.9, b2=0.999, eps=1e-7) -> optax.GradientTransformation:
    """w ← w − η_t m / (√v + ε), η_t = η √(1 − β₂ᵗ) / (1 − β₁ᵗ): Keras' and TensorFlow's Adam.

    The form of Kingma & Ba 2015 at the end of section 2, whose ε is their ε̂: at first it is 1 / √(1 − β₂) ≈ 32 times
    as strong as in `adam`. TensorFlow 1 has eps=1e-8. States are those of `adam`.

    >>> optimizer, w = keras_adam(0.1), jnp.array(1.0)
    >>> print(f"{optimizer.update(jnp.array(5.0), optimizer.init(w), w)[0]:.3f}")
    -0.100
    """
    moments = _scale_by_moments(b1, b2, eps)

    def update(updates, state, params=None):
        ratio, new = moments.update(updates, state, params)
        correction = _correction(b1, b2, state.count)
        return jax.tree.map(lambda r: jnp.asarray(correction, r.dtype) * r, ratio), new

    corrected = optax.GradientTransformation(moments.init, update)
    return optax.chain(corrected, optax.scale_by_learning_rate(learning_rate))


@with_rate
def rmsprop(learning_rate, decay=0.9, eps=1e-8, **options) -> optax.GradientTransformation:
    """w ← w − η g / √(v + ε), v ← ρ v + (1 − ρ) g². Tieleman & Hinton 2012; optax' RMSProp.

    PyTorch's has decay (its alpha) .99 and ε outside the root: rmsprop(rate, 0.99, eps_in_sqrt=False). TensorFlow 1's
    has eps=1e-10 and v = 1 at first: rmsprop(rate, 0.9, 1e-10, initial_scale=1.0). Options are those of
    `optax.rmsprop`.

    >>> optimizer, w = rmsprop(0.1), jnp.array(1.0)
    >>> print(optimizer.update(jnp.array(5.0), optimizer.init(w), w)[0])
    -0.31622776
    """
    return optax.rmsprop(learning_rate, decay, eps, **options)


@with_rate
def sgd(learning_rate, momentum=None, **options) -> optax.GradientTransformation:
    """w ← w − η u, u ← g + μ u. Options are those of `optax.sgd`.

    Negative momentum (Gidel, Askari Hemmat et al. 2019) is sgd(rate, momentum=-0.5), with alternating moves.

    >>> optimizer, w = sgd(0.1), jnp.array(1.0)
    >>> print(optimizer.update(jnp.array(5.0), optimizer.init(w), w)[0])
    -0.5
    """
    return optax.sgd(learning_rate, momentum, **options)


class Last(NamedTuple):
    """What an optimistic optimizer remembers of the update before."""

    count: Tree  # int32 [], updates made
    direction: Tree


def optimism() -> optax.GradientTransformation:
    """u_t -> 2u_t − u_{t−1}, where u_{−1} = u_0: u_t extrapolated by one update. Daskalakis et al. 2018.

    >>> optimizer = optimism()
    >>> first, state = optimizer.update(jnp.array(1.0), optimizer.init(jnp.array(1.0)))
    >>> second, state = optimizer.update(jnp.array(3.0), state)
    >>> float(first), float(second)
    (1.0, 5.0)
    """

    def init(params):
        return Last(jnp.int32(0), optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        extrapolated = lambda u, last: 2 * u - jnp.where(state.count == 0, u, last)
        return jax.tree.map(extrapolated, updates, state.direction), Last(state.count + 1, updates)

    return optax.GradientTransformation(init, update)


def _scale_by_moments(b1, b2, eps):
    """g -> m / (√v + ε), the ratio of Adam's moments without correction for their start at 0."""

    def init(params):
        zeros = optax.tree.zeros_like
        return optax.ScaleByAdamState(jnp.int32(0), zeros(params), zeros(params))

    def update(updates, state, params=None):
        mu = jax.tree.map(lambda g, m: (b1 * m + (1 - b1) * g).astype(m.dtype), updates, state.mu)
        nu = jax.tree.map(lambda g, v: (b2 * v + (1 - b2) * g**2).astype(v.dtype), updates, state.nu)
        ratio = jax.tree.map(lambda m, v: (m / (jnp.sqrt(v) + eps)).astype(m.dtype), mu, nu)
        return ratio, optax.ScaleByAdamState(state.count + 1, mu, nu)

    return optax.GradientTransformation(init, update)


def _correction(b1, b2, count):
    """√(1 − β₂ᵗ) / (1 − β₁ᵗ) of update t = count + 1."""
    return jnp.sqrt(1 - b2 ** (count + 1)) / (1 - b1 ** (count + 1))


@with_rate
def optimistic_sgd(learning_rate) -> optax.GradientTransformation:
    """w ← w − 2η g_t + η g_{t−1}, optimistic mirror descent; g_{−1} = g_0. Daskalakis et al. 2018.

    >>> optimizer, w = optimistic_sgd(0.1), jnp.array(0.0)
    >>> print(optimizer.update(jnp.array(3.0), optimizer.init(w))[0])  # the first step is that of SGD
    -0.3
    """
    return optax.chain(optimism(), optax.scale_by_learning_rate(learning_rate))


@with_rate
def optimistic_adam(learning_rate, b1=0.9, b2=0.999, eps=1e-8) -> optax.GradientTransformation:
    """w ← w − 2η_t r_t + η_t r_{t−1}, r = m / (√v + ε), η_t = η √(1 − β₂ᵗ) / (1 − β₁ᵗ) in both terms; r_{−1} = r_0.

    Daskalakis et al. 2018, corrected for the moments' start as in the authors' code, which begins with r_{−1} = 0.

    >>> optimizer, w = optimistic_adam(0.1), jnp.array(0.0)
    >>> round(float(optimizer.update(jnp.array(3.0), optimizer.init(w))[0]), 4)  # the first step is that of Adam
    -0.1
    """
    return optax.chain(
        _scale_by_moments(b1, b2, eps),
        optimism(),
        optax.scale_by_schedule(lambda count: -learning_rate * _correction(b1, b2, count)),
    )


def clip_weights(limit: float | Float[Array, ""]) -> optax.GradientTransformation:
    """Clips every weight to ± limit after the update, to rounding; last in a chain. Arjovsky et al. 2017, algorithm 1.

    Raises:
        UserError: the limit is not positive.

    >>> optimizer, w = optax.chain(sgd(1.0), clip_weights(0.01)), jnp.array(0.0)
    >>> print(optimizer.update(jnp.array(-5.0), optimizer.init(w), w)[0])
    0.01
    """
    if not isinstance(limit, jax.core.Tracer) and not limit > 0:
        raise UserError(f"clip_weights has limit {limit}: the bound of |w| must be positive, such as 0.01.")

    def update(updates, state, params=None):
        clipped = lambda w, u: jnp.clip(w + u, -limit, limit) - w
        return jax.tree.map(clipped, params, updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def ema(decay) -> Callable | None:
    """A constant decay as step -> decay, for Player.ema; None, no average, for the plain number 0.

    A traced number is never taken for 0, since the structure of a program cannot depend on it.

    >>> ema(0.999)(7), ema(0)
    (0.999, None)
    """
    if isinstance(decay, int | float) and decay == 0:
        return None
    return lambda step: decay
