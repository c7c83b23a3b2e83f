"""Dispatching rounds: several per compiled program, but never across a change of game or the end of a period."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.carry import carry, fits
from gan_jax.data import Data
from gan_jax.engine import step
from gan_jax.errors import UserError
from gan_jax.game import State
from gan_jax.population import Games
from gan_jax.programs import per_game
from gan_jax.training import feeds, parallel
from gan_jax.training.feeds import Feed, Position
from gan_jax.training.finite import finite
from gan_jax.training.parallel import Layout
from gan_jax.training.spec import Schedule, Spec, abstract_state, game_at, initial_state

Tree = Any  # a pytree of arrays


@dataclass(frozen=True)
class Training:
    """A game, its data, and everything else that determines a trajectory.

    Attributes:
        schedule: Round -> Game or Population.
        data: The data set or sets.
        batch: Batch size.
        seed: Seed of initialisation, noise and data order.
        spec: Shapes of a batch.
        layout: Devices.
        origin: For a fork, its first round and its parent's position in the data at that round.
    """

    schedule: Schedule
    data: Data
    batch: int
    seed: int
    spec: Spec
    layout: Layout
    origin: tuple[int, Position] | None = None

    def abstract(self, t: int) -> State:
        """Shapes and shardings of the State at round t."""
        return self.layout.abstract(abstract_state(game_at(self.schedule, t), self.spec))

    def initial(self, weights: State | None = None) -> State:
        """The State at round 0, optionally with the weights, averages and memory of another State.

        Raises:
            UserError: These weights do not fit the networks.
        """
        state = self.initialise(self.schedule(0))
        return state if weights is None else _with_weights(state, weights)

    def initialise(self, game: Games, paths: tuple[str, ...] | None = None) -> Any:
        """The State of `game` at round 0, or a list of its leaves at some paths, without computing the others."""
        game = game.with_numbers(parallel.place(game.numbers, self.layout.by_member()))
        with jax.set_mesh(self.layout.mesh):
            return _initial(game, seed=self.seed, layout=self.layout, spec=_Static(self.spec), paths=paths)

    def position(self, t: int) -> Position:
        """Number of examples read from each data set by the end of round t."""
        return feeds.position_at(self.schedule, self.data, self.batch, t, self.origin)


class _Static:
    """A hashable Spec, for a static argument of a compiled function."""

    def __init__(self, spec):
        self.spec, self.text = spec, repr(spec)

    def __eq__(self, other):
        return self.text == other.text

    def __hash__(self):
        return hash(self.text)


@per_game
def _initial(game, *, seed, layout, spec, paths):
    state = layout.constrain(initial_state(game, seed, spec.spec))
    if paths is None:
        return state
    leaves = {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}
    return [leaves[name] for name in paths]


def _name(path):
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _with_weights(state, weights):
    """`state` with the weights, averages and memory of another, but its own memory of the rule and skipped moves."""
    started = carry(state, weights, ("params", "ema", "memory"))
    theirs = {id(x) for x in jax.tree.leaves(weights.params)}
    for name, params in started.params.items():
        if not all(id(x) in theirs for x in jax.tree.leaves(params)):
            raise UserError(f"The weights to start from do not fit network {name!r}: its shape must be the same.")
    fresh = {name: state.memory[name] for name in ("skipped", "rule")}
    return jax.tree.map(jnp.copy, started.replace(memory=started.memory | fresh))  # a copy: training donates it


class Played(NamedTuple):
    """The result of a dispatch, which may still be executing.

    Attributes:
        step: The round after it.
        game: The Game or Population.
        state: The State after it.
        metrics: {name: scalar or [members]} of its last round.
        finite: Whether its losses, gradients and State are finite, scalar or [members].
        position: Position in the data after it.
        compiling: Whether its program was compiled for it.
        stop: Whether some process got a signal to stop, as of an earlier dispatch.
    """

    step: int
    game: Games
    state: State
    metrics: dict[str, jax.Array]
    finite: jax.Array
    position: Position
    compiling: bool
    stop: bool


def play(
    training: Training,
    feed: Feed,
    state: State,
    t: int,
    steps: int,
    periods: Sequence[int],
    stop: list[int],
    dispatch: int | None = None,
) -> Iterator[Played]:
    """Dispatch the rounds from t to `steps`, yielding after each dispatch.

    Args:
        training: What is trained on what.
        feed: Where batches come from.
        state: The State at round t, whose buffers are donated.
        t: The round to start from.
        steps: The last round.
        periods: No dispatch crosses a multiple of one of these.
        stop: Non-empty once this process should stop; read at each dispatch.
        dispatch: Maximal number of rounds per dispatch; None: 1 for a Game on a CPU, otherwise 10.
    """
    schedule, layout = training.schedule, training.layout
    game, compiled, previous, change = game_at(schedule, t), set(), None, changes(training)
    longest = dispatch or (1 if game.axis == 0 and jax.default_backend() == "cpu" else 10)
    flags = {value: parallel.flag(layout, value) for value in (False, True)}
    state, position = parallel.place(state, layout.state), training.position(t)
    place = lru_cache(maxsize=None)(lambda game: game.with_numbers(parallel.place(game.numbers, layout.by_member())))
    while t < steps:
        if schedule(t) is not game:
            before, game = game, schedule(t)
            state = change(before, game, state)
        most = min(longest, steps - t, *(every - t % every for every in periods))
        k = next((i for i in range(1, most) if schedule(t + i) is not game), most)
        own, new = feed.take(game, position, k), (game, k) not in compiled
        start = parallel.place(np.int32(t), layout.whole)
        guard = "allow" if _debugging() else "disallow"  # without jit, constants are transferred
        with jax.transfer_guard(guard), jax.set_mesh(layout.mesh):
            state, metrics, good, stopped = _rounds(
                place(game), state, feed.shared, own, start, flags[bool(stop)], layout=layout, make=feed.make
            )
        compiled.add((game, k))
        t, position = t + k, feeds.advance(position, training.data, game, training.batch, k)
        jax.block_until_ready(previous)  # at most one dispatch executing and one queued
        stopping, previous = previous is not None and bool(np.asarray(previous[1])), (metrics, stopped)
        yield Played(t, game, state, metrics, good, position, new, stopping)


def _debugging():
    """Whether JAX_DISABLE_JIT is set."""
    config: Any = jax.config
    return config.jax_disable_jit


def changes(training: Training) -> Callable[[Games, Games, State], State]:
    """The function (previous game, next game, State) -> State with which the next game continues.

    Leaves that fit are carried over and only new ones are initialised; a new average starts at the weights. Between
    games whose States have the same structure it is the identity.
    """
    shapes = lru_cache(maxsize=None)(lambda game: abstract_state(game, training.spec))

    @cache
    def alike(before, game):
        a, b = ({_name(p): (x.shape, x.dtype) for p, x in jax.tree.leaves_with_path(shapes(g))} for g in (before, game))
        return a == b

    def change(before, game, state):
        if alike(before, game):
            return state
        new = shapes(game)
        kept = {_name(path): leaf for path, leaf in fits(new, state).items()}
        started = [n for n in new.ema if n not in state.ema]
        averages = tuple(f"ema/{n}/" for n in started)
        wanted = [_name(path) for path, _ in jax.tree.leaves_with_path(new)]
        missing = tuple(name for name in wanted if name not in kept and not name.startswith(averages))
        made = dict(zip(missing, training.initialise(game, missing), strict=True)) if missing else {}
        state = jax.tree.map_with_path(lambda path, _: kept.get(_name(path), made.get(_name(path))), new)
        begin = {n: jax.tree.map(jnp.copy, (state.params[n], state.memory[n])) for n in started}
        return parallel.place(state.replace(ema=state.ema | begin), training.layout.state)

    return change


@partial(per_game, donate_argnums=1)
def _rounds(games, state, shared, own, t, stop, *, layout, make):
    """k rounds as one program, with the input `own` [k, slices, B, …], or [members, k, …].

    Returns (State, metrics of the last round, whether all rounds are finite, whether any process got a signal to stop).
    A member of a population that is not finite keeps its last finite State; its step then lags behind the others.
    """

    def rounds(game, state, own, shared):
        one = lambda state, own: step(game, state, make(shared, own))
        if jax.tree.leaves(own)[0].shape[0] == 1:
            state, metrics = one(state, jax.tree.map(lambda x: x[0], own))
            return state, metrics, finite(state, metrics)
        state, every = lax.scan(one, state, own)
        return state, jax.tree.map(lambda m: m[-1], every), finite(state, every)

    def if_finite(game, state, own, shared, t):
        new, metrics, good = rounds(game, state, own, shared)
        good &= state.step == t
        choose = lambda a, b: a if a is b else jnp.where(good, a, b)
        return jax.tree.map(choose, new, state), metrics, good

    if games.axis:
        state, metrics, good = games.each(if_finite, state, own, shared=(shared, t))
    else:
        state, metrics, good = games.each(rounds, state, own, shared=(shared,))
    return layout.constrain(state), parallel.whole(metrics), parallel.whole(good), parallel.whole(stop.any())
