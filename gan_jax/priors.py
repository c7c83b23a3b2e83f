"""Latents: a prior is (key, n) -> z [n, ...], or (z, y) where the generator wants labels; keywords are options."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float, Int, Key

from gan_jax.errors import UserError

Prior = Callable[..., Any]


def normal(*shape: int) -> Prior:
    """z ~ N(0, I); `truncation` redraws what lies outside ± truncation. Brock et al. 2018, section 3.1."""

    def prior(key: Key[Array, ""], n: int, *, truncation: float | None = None) -> Float[Array, "n ..."]:
        if truncation is None:
            return jax.random.normal(key, (n, *shape))
        if truncation <= 0:
            raise UserError(f"truncation is {truncation}, but the bound of |z| must be positive; 2 is mild.")
        return jax.random.truncated_normal(key, -truncation, truncation, (n, *shape))

    return prior


def uniform(*shape: int, low: float = -1.0, high: float = 1.0) -> Prior:
    """z ~ U(low, high)."""

    def prior(key: Key[Array, ""], n: int) -> Float[Array, "n ..."]:
        return jax.random.uniform(key, (n, *shape), minval=low, maxval=high)

    return prior


def labelled(prior: Prior, classes: int) -> Prior:
    """(z, y): z of that prior, and y uniform on the classes, or always `label`."""

    def pair(
        key: Key[Array, ""], n: int, *, label: int | None = None, **options
    ) -> tuple[Float[Array, "n ..."], Int[Array, " n"]]:
        if label is not None and not 0 <= label < classes:
            raise UserError(f"label is {label}, but the classes are 0 to {classes - 1}.")
        low, high = (0, classes) if label is None else (label, label + 1)
        kz, ky = jax.random.split(key)
        return prior(kz, n, **options), jax.random.randint(ky, (n,), low, high)

    return pair
