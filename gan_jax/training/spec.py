"""Shapes of batches and States, known before anything is computed; and schedules of Games."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import limits
from gan_jax.engine import init
from gan_jax.errors import UserError
from gan_jax.game import State
from gan_jax.population import Games

Schedule = Callable[[int], Games]  # round -> one of a few Games that exist beforehand
Spec = Mapping[str, Any]  # {name: [shape of a batch, dtype]}, or {set: {name: …}} for several data sets


def as_schedule(game: Games | Schedule) -> Schedule:
    """A schedule as it is; a Game as the constant schedule.

    Raises:
        UserError: `game` is neither, or the schedule returns a new Game at each call.
    """
    if isinstance(game, Games):
        return lambda t: game
    if not callable(game):
        raise UserError(
            f"game is a {type(game).__name__}: give a Game, such as gan(…) returns, or a schedule of Games."
        )
    if game(0) is not game(0):
        raise UserError(
            "The schedule returns a new Game at each call: make its Games beforehand and return one of them."
        )
    return game


def game_at(schedule: Schedule, t: int) -> Games:
    """The game that produced the State at round t, i.e. the schedule at t − 1."""
    return schedule(max(t - 1, 0))


def batch_spec(data: Mapping[str, Any], batch: int) -> Spec:
    """{name: [shape, dtype]} of a batch of `data` as the game receives it, with uint8 converted to float32.

    >>> batch_spec({"x": np.zeros((100, 28, 28, 1), np.uint8), "y": np.zeros(100, np.int32)}, batch=64)
    {'x': [[64, 28, 28, 1], 'float32'], 'y': [[64], 'int32']}
    """
    dtype = lambda x: "float32" if x.dtype == np.uint8 else str(jax.dtypes.canonicalize_dtype(x.dtype))
    return jax.tree.map(lambda x: [[batch, *x.shape[1:]], dtype(x)], dict(data))


def of_game(game: Games, spec: Spec) -> Spec:
    """The part of a training's spec that a game reads, with the game's own batch size if it has one."""
    sets = {name: spec[name] for name in game.sets or spec}
    resize = lambda leaf: [[game.batch or leaf[0][0], *leaf[0][1:]], leaf[1]]
    return jax.tree.map(resize, sets, is_leaf=_is_leaf)


def zeros(game: Games, spec: Spec) -> Any:
    """A round's batch [slices, B, …] of zeros. Raises UserError if it exceeds the memory limit."""
    own = of_game(game, spec)
    leaves = jax.tree.leaves(own, is_leaf=_is_leaf)
    size = sum(math.prod(shape) * jnp.dtype(dtype).itemsize for shape, dtype in leaves)
    limits.check(game.slices * size, "A round's batch")
    return jax.tree.map(lambda leaf: jnp.zeros((game.slices, *leaf[0]), leaf[1]), own, is_leaf=_is_leaf)


def initial_state(game: Games, seed: int, spec: Spec) -> State:
    """The State at round 0. Under `jit` the batch of zeros is dead code: only its shapes matter."""
    return game.each(lambda one, key: init(one, key, zeros(one, spec)), game.keys(seed))


def abstract_state(game: Games, spec: Spec) -> State:
    """Shapes and dtypes of a State."""
    return jax.eval_shape(lambda: initial_state(game, 0, spec))


def _is_leaf(node):
    """Whether a node of a Spec is a leaf [shape, dtype]."""
    return not isinstance(node, Mapping)
