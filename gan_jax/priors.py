"""Priors of the latents: (key, n) -> z [n, …], or (z, y) for a generator that takes labels.

Keyword arguments of a prior are options of sampling. They may be traced, so that one compiled program serves all
their values; ranges are checked where the values are known.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from gan_jax.errors import UserError

Prior = Callable[..., Any]


def normal(*shape: int) -> Prior:
    """z ~ N(0, I) of shape ``[n, *shape]``.

    The prior's option `truncation`, a number or one for each sample, draws from the normal distribution restricted
    to ± truncation. Brock et al. 2018, section 3.1.

    >>> normal(3)(jax.random.key(0), 2).shape
    (2, 3)
    """

    def prior(key: Key[Array, ""], n: int, *, truncation: jax.typing.ArrayLike | None = None) -> Float[Array, "n ..."]:
        if truncation is None:
            return jax.random.normal(key, (n, *shape))
        if _is_known(truncation) and not np.all(np.asarray(truncation) > 0):
            raise UserError(f"truncation is {np.min(truncation)}, but the bound of |z| must be positive; 2 is mild.")
        bound = jnp.expand_dims(_for_each(truncation, n, "truncation", "bound"), tuple(range(1, len(shape) + 1)))
        return jax.random.truncated_normal(key, -bound, bound, (n, *shape))

    return prior


def uniform(*shape: int, low: float = -1.0, high: float = 1.0) -> Prior:
    """z ~ U(low, high) of shape ``[n, *shape]``.

    >>> uniform(3)(jax.random.key(0), 2).shape
    (2, 3)
    """

    def prior(key: Key[Array, ""], n: int) -> Float[Array, "n ..."]:
        return jax.random.uniform(key, (n, *shape), minval=low, maxval=high)

    return prior


def labelled(prior: Prior, classes: int) -> Prior:
    """(z, y): z from `prior`, and labels y [n] uniform over the classes 0 … classes − 1.

    The prior's option `y`, a label or one for each sample, is taken instead; other options are those of `prior`.

    >>> z, y = labelled(normal(3), classes=10)(jax.random.key(0), 4, y=7)
    >>> z.shape, y.tolist()
    ((4, 3), [7, 7, 7, 7])
    """

    def pair(
        key: Key[Array, ""], n: int, *, y: jax.typing.ArrayLike | None = None, **options
    ) -> tuple[Float[Array, "n ..."], Int[Array, " n"]]:
        k_z, k_y = jax.random.split(key)
        labels = jax.random.randint(k_y, (n,), 0, classes) if y is None else _labels(y, n, classes)
        return prior(k_z, n, **options), labels

    vars(pair)["classes"] = classes  # `gan` compares it with the labels of the data
    return pair


def get(prior: Any) -> Prior:
    """The prior itself; for a number of dimensions n, normal(n).

    Raises:
        UserError: neither a function nor a positive number.

    >>> get(64)(jax.random.key(0), 2).shape
    (2, 64)
    """
    if isinstance(prior, int) and not isinstance(prior, bool) and prior > 0:
        return normal(prior)
    if not callable(prior):
        raise UserError(f"prior is {prior!r}: give a function such as priors.normal(64), or a number of dimensions.")
    return prior


def _labels(y, n, classes):
    if not jnp.issubdtype(jnp.result_type(y), jnp.integer):
        raise UserError(f"y is {jnp.result_type(y)}, but labels are whole numbers from 0 to {classes - 1}.")
    labels = _for_each(y, n, "y", "label")
    if _is_known(y):
        values = np.ravel(y)
        for outside in values[(values < 0) | (values >= classes)]:
            raise UserError(f"y is {outside}, but the classes are 0 to {classes - 1}.")
    return labels.astype(jnp.asarray(0).dtype)


def _for_each(value, n, name, what):
    """[n] from a scalar or [n]."""
    if jnp.shape(value) not in ((), (n,)):
        raise UserError(
            f"{name} has shape {list(jnp.shape(value))} for {n} samples: give one {what}, or one for each sample."
        )
    return jnp.broadcast_to(jnp.asarray(value), (n,))


def _is_known(value):
    """Whether the values are concrete, not those of a program being traced."""
    return not isinstance(value, jax.core.Tracer)
