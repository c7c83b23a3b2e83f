"""The State of one game carried over to another, such as the next phase of a schedule or a fork."""

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.game import State

Tree = Any  # a pytree of arrays
FIELDS = tuple(State.__dataclass_fields__)


def fits(new: Tree, old: Tree, fields: tuple[str, ...] = FIELDS) -> dict[Any, Any]:
    """The leaves of the State `old` that fit the State `new`: same path, shape and dtype.

    Args:
        new: A State, or its shapes.
        old: A State.
        fields: Fields of `old` that are considered.

    Returns:
        {path: leaf of `old`}.

    >>> new = State(jnp.zeros(()), None, {"G": {"w": jnp.zeros(2), "b": jnp.zeros(4)}}, {}, {}, {})
    >>> old = State(jnp.ones(()), None, {"G": {"w": jnp.ones(2), "b": jnp.ones(3)}}, {}, {}, {})
    >>> [jax.tree_util.keystr(path) for path in fits(new, old)]
    ['.step', ".params['G']['w']"]
    """
    mine = {path: (leaf.shape, leaf.dtype) for path, leaf in jax.tree.leaves_with_path(new)}
    theirs = {path: leaf for path, leaf in jax.tree.leaves_with_path(old) if path[0].name in fields}
    return {path: leaf for path, leaf in theirs.items() if mine.get(path) == (leaf.shape, leaf.dtype)}


def carry(new: State, old: State, fields: tuple[str, ...] = FIELDS) -> State:
    """The State `new` with every leaf of `old` that fits it: same path, shape and dtype.

    An average that `old` does not have starts at the carried weights.

    Args:
        new: A State, whose own leaves remain where none of `old` fits.
        old: The State of another game, or of an earlier phase.
        fields: Fields of the State that are carried over.

    >>> new = State(jnp.zeros(()), None, {"G": {"w": jnp.zeros(2), "b": jnp.zeros(4)}}, {}, {}, {})
    >>> old = State(jnp.ones(()), None, {"G": {"w": jnp.ones(2), "b": jnp.ones(3)}}, {}, {}, {})
    >>> print(carry(new, old, ("params",)).params["G"]["w"])
    [1. 1.]
    """
    kept = fits(new, old, fields)
    state = jax.tree.map_with_path(lambda path, leaf: kept.get(path, leaf), new)
    started = {n: jax.tree.map(jnp.copy, (state.params[n], state.memory[n])) for n in state.ema if n not in old.ema}
    return state.replace(ema=state.ema | started)
