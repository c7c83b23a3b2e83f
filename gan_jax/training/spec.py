"""Shapes of batches and States, known before anything is computed, and schedules of Games."""

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

Schedule = Callable[[int], Games]  # round -> one of a few Games made beforehand
Spec = Mapping[str, Any]  # {name: [shape of a batch, dtype]}, or that for each of several sets


def as_schedule(game: Games | Schedule) -> Schedule:
    """A Game is the schedule that never changes. UserError for one whose Games are made anew at each call."""
    if isinstance(game, Games):
        return lambda t: game
    if not callable(game):
        raise UserError(f"A {type(game).__name__} is no game: give a Game, as gan() makes, or a schedule of Games.")
    if game(0) is not game(0):
        raise UserError("The schedule makes a new Game at each call: make its Games beforehand and return one of them.")
    return game


def game_at(schedule: Schedule, t: int) -> Games:
    """The game that produced the State at round t, i.e. the schedule at t − 1."""
    return schedule(max(t - 1, 0))


def batch_spec(data: Mapping[str, Any], batch: int) -> Spec:
    """{name: [shape, dtype]} of a batch of `data` as the game sees it, where bytes have become floats."""
    dtype = lambda x: "float32" if x.dtype == np.uint8 else str(jax.dtypes.canonicalize_dtype(x.dtype))
    return jax.tree.map(lambda x: [[batch, *x.shape[1:]], dtype(x)], dict(data))


def of_game(game: Games, spec: Spec) -> Spec:
    """The part of a training's spec that this game reads, with its own batch size where it has one."""
    sets = {name: spec[name] for name in game.sets or spec}
    resize = lambda leaf: [[game.batch or leaf[0][0], *leaf[0][1:]], leaf[1]]
    return jax.tree.map(resize, sets, is_leaf=_is_leaf)


def zeros(game: Games, spec: Spec) -> Any:
    """A round's batch [slices, B, …] of zeros."""
    own = of_game(game, spec)
    leaves = jax.tree.leaves(own, is_leaf=_is_leaf)
    size = sum(math.prod(shape) * jnp.dtype(dtype).itemsize for shape, dtype in leaves)
    limits.check(game.slices * size, "A round's batch")
    return jax.tree.map(lambda leaf: jnp.zeros((game.slices, *leaf[0]), leaf[1]), own, is_leaf=_is_leaf)


def initial_state(game: Games, seed: int, spec: Spec) -> State:
    """The State at round 0. Inside a program the batch of zeros, whose values nothing depends on, is dead code."""
    return game.each(lambda one, key: init(one, key, zeros(one, spec)), game.keys(seed))


def abstract_state(game: Games, spec: Spec) -> State:
    """The shapes of a State."""
    return jax.eval_shape(lambda: initial_state(game, 0, spec))


def _is_leaf(node):
    """[shape, dtype] in a Spec."""
    return not isinstance(node, Mapping)
