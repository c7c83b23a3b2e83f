"""Feeds: how batches reach the compiled step, from data that is resident on every device or read during training.

A position is the number of examples read from each data set since round 0: {"": n} for a single set, {"A": n, "B": m}
for several. The Games of a schedule may differ in their batch size and in the sets that they read.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax.data import Data, OnDisk, batches, gather, lengths, several, streams
from gan_jax.pixels import to_float
from gan_jax.population import Games
from gan_jax.training import parallel
from gan_jax.training.parallel import Layout
from gan_jax.training.spec import Schedule

Position = Mapping[str, int]


def names(data: Data, game: Games) -> tuple[str, ...]:
    """Names of the data sets that the game reads; () for a single set."""
    return (game.sets or tuple(data)) if several(data) else ()


def advance(position: Position, data: Data, game: Games, batch: int, rounds: int = 1) -> Position:
    """The position after some more rounds of a game.

    Args:
        position: The position before them.
        data: The data set or sets.
        game: A Game, whose own batch size takes precedence.
        batch: The training's batch size.
        rounds: How many.
    """
    count, read = rounds * game.slices * (game.batch or batch), names(data, game) or position
    return {name: n + count * (name in read) for name, n in position.items()}


def position_at(
    schedule: Schedule, data: Data, batch: int, t: int, origin: tuple[int, Position] | None = None
) -> Position:
    """The position at the end of round t, counted from round 0 or from `origin` (round, its position)."""
    started, position = origin or (0, dict.fromkeys(data if several(data) else ("",), 0))
    game = schedule(started)
    for i in range(started + 1, t + 1):
        if i == t or schedule(i) is not game:
            position, started = advance(position, data, game, batch, i - started), i
            game = schedule(i)
    return position


def order(data: Data, game: Games, seed: int, position: Position, batch: int, rounds: int = 1) -> Any:
    """Indices of the examples that the next rounds read, [rounds, slices, B]; for several sets {name: indices}."""
    size = game.batch or batch
    count, start = rounds * game.slices * size, _start(data, position)
    found = streams(seed, start, count, lengths(data), names(data, game))
    return jax.tree.map(lambda rows: rows.reshape(rounds, game.slices, size), found)


def _start(data, position):
    return dict(position) if several(data) else position[""]


class Feed(NamedTuple):
    """A source of batches for compiled rounds.

    Attributes:
        shared: Arrays that all rounds use, such as the whole data set on the device.
        take: (game, position, rounds) -> input of the next rounds [rounds, slices, B, …], with a leading axis of
            members for a population.
        make: (shared, input of one round [slices, B, …]) -> the round's batch. Runs inside the program.
    """

    shared: Any
    take: Callable[[Games, Position, int], Any]
    make: Callable[[Any, Any], Any]


def of(layout: Layout, data: Data, seed: int, batch: int, resident: int, stack: ExitStack) -> Feed:
    """A feed from device memory for data in memory of at most `resident` bytes, otherwise from the host.

    Args:
        layout: Devices of the training.
        data: The data set or sets.
        seed: Seed of the data order.
        batch: Batch size.
        resident: Bytes that the data may occupy on each device.
        stack: Closes the reading threads when it exits.
    """
    leaves = jax.tree.leaves(data)
    small = sum(x.nbytes for x in leaves) <= resident and not any(isinstance(x, OnDisk) for x in leaves)
    return _from_device(layout, data, seed, batch) if small else _from_host(layout, data, seed, batch, stack)


def _from_device(layout, data, seed, batch):
    """The whole data set is on every device; the input of a round are indices."""

    def take(game, position, rounds):
        orders = {i: order(data, game, i, position, batch, rounds) for i in set(game.data_seeds(seed))}
        return parallel.place(game.stack([orders[i] for i in game.data_seeds(seed)]), layout.batches())

    return Feed(parallel.place(data, layout.whole), take, gather)


def _from_host(layout, data, seed, batch, stack):
    """Threads read the next batches while the devices compute; each process reads only its own rows."""
    readers: dict[int, _Reader] = {}

    def some(i, game, position, rounds, rows):
        """{"x": [rounds, slices, B, …], …} in the data order of seed i."""
        size, own = what = game.batch or batch, names(data, game)
        if i not in readers or (readers[i].what, readers[i].position) != (what, position):
            # A Game that reads other sets, or another batch size, needs a new reader from this position on.
            start = _start(data, position)
            source = stack.enter_context(closing(batches(data, i, start, size, rows, names=own)))
            if i in readers:
                readers[i].source.close()
            readers[i] = _Reader(what, position, source)
        found = [next(readers[i].source) for _ in range(rounds * game.slices)]
        readers[i] = readers[i]._replace(position=advance(position, data, game, batch, rounds))
        return jax.tree.map(lambda *x: np.stack(x).reshape(rounds, game.slices, *x[0].shape), *found)

    def take(game, position, rounds):
        seeds, rows = game.data_seeds(seed), slice(None) if game.axis else parallel.share(game.batch or batch)
        found = {i: some(i, game, position, rounds, rows) for i in set(seeds)}
        stacked = game.stack([found[i] for i in seeds])
        put = parallel.place if game.axis else parallel.join  # for a population every process reads all rows
        return put(stacked, layout.batches())

    return Feed((), take, _as_read)


class _Reader(NamedTuple):
    what: tuple[int, tuple[str, ...]]
    position: Position
    source: Any


def _as_read(shared, own):
    return jax.tree.map(to_float, own)
