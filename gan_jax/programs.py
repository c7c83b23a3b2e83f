"""Compiled functions of a game, which are freed with the game."""

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import jax


def per_game(f: Callable, **options: Any) -> Callable:
    """`jax.jit` of ``f(game, *args, **static)``, compiled once per game and static arguments.

    A jitted function keeps its executables and static arguments alive as long as it exists itself. This one is freed
    with the game, so that the memory of a process does not grow with every game that it has trained. Populations with
    the same `make` share their programs.

    Args:
        f: Takes a Game or a Population (whose hyper-parameters are traced), arrays, and hashable keyword arguments.
        options: Options of `jax.jit`; donate_argnums counts the game as argument 0.

    Returns:
        A function with the arguments and result of f.

    >>> import optax
    >>> from flax import linen as nn
    >>> from gan_jax import Player, gan
    >>> game = gan(Player(nn.Dense(2), optax.sgd(0.1)), Player(nn.Dense(1), optax.sgd(0.1)), "hinge", 4)
    >>> int(per_game(lambda game, x, *, power: x**power)(game, 3, power=2))
    9
    """
    programs: WeakKeyDictionary[Any, dict[Any, _Program]] = WeakKeyDictionary()

    @functools.wraps(f)
    def call(game, *args, **static):
        key = tuple(sorted(static.items()))
        own = programs.setdefault(game.owner, {})
        if key not in own:
            own[key] = _Program(functools.partial(f, **static), options)
        return own[key](game, *args)

    vars(call)["programs"] = programs
    return call


class _Program:
    """A jitted function that references the game only during a call."""

    game: Any = None

    def __init__(self, f, options):
        self.jitted = jax.jit(lambda numbers, *args: f(self.game.with_numbers(numbers), *args), **options)

    def __call__(self, game, *args):
        self.game = game
        try:
            return self.jitted(game.numbers, *args)
        finally:
            self.game = None
