"""Compiled functions of a game, which are freed when the game is."""

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import jax


def per_game(f: Callable, **options: Any) -> Callable:
    """`jax.jit` of f(game, *args, **static), compiled once for a game and its static arguments, which are hashable.

    A jitted function keeps its executables, and every static argument, for as long as it lives. Here it lives only as
    long as the game, so that a notebook's sweep does not grow for ever. Populations with the same `make` share it.

    Args:
        f: takes a Game or a Population; a population's numbers are traced.
        options: of `jax.jit`, such as donate_argnums, which counts from the first argument after the game as 1.

    Returns:
        (game, *args, **static) -> f's result.
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
    """A jitted function that holds no reference to the game but while it is called."""

    game: Any = None

    def __init__(self, f, options):
        self.jitted = jax.jit(lambda numbers, *args: f(self.game.with_numbers(numbers), *args), **options)

    def __call__(self, game, *args):
        self.game = game
        try:
            return self.jitted(game.numbers, *args)
        finally:
            self.game = None
