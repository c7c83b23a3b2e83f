"""From the plan of batches to the compiled step: a set that lies on every device, or one that is read as rounds go by.

A position says how far each set has been read, in examples since round 0: {"": n} of a single set, {"A": n, "B": m} of
several. Games of a schedule may differ in their batch and in the sets that they read.
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
    """The sets that the game reads, of several; () of a single one."""
    return (game.sets or tuple(data)) if several(data) else ()


def advance(position: Position, data: Data, game: Games, batch: int, rounds: int = 1) -> Position:
    """The position after so many rounds of a game; `batch` is the training's."""
    count, read = rounds * game.slices * (game.batch or batch), names(data, game) or position
    return {name: n + count * (name in read) for name, n in position.items()}


def position_at(
    schedule: Schedule, data: Data, batch: int, t: int, origin: tuple[int, Position] | None = None
) -> Position:
    """The position at the end of round t, from round 0 or from a round whose position is known, `origin`."""
    started, position = origin or (0, dict.fromkeys(data if several(data) else ("",), 0))
    game = schedule(started)
    for i in range(started + 1, t + 1):
        if i == t or schedule(i) is not game:
            position, started = advance(position, data, game, batch, i - started), i
            game = schedule(i)
    return position


def order(data: Data, game: Games, seed: int, position: Position, batch: int, rounds: int = 1) -> Any:
    """The examples that the next rounds read, [rounds, slices, B], of several sets {name: …}."""
    size = game.batch or batch
    count, start = rounds * game.slices * size, _start(data, position)
    found = streams(seed, start, count, lengths(data), names(data, game))
    return jax.tree.map(lambda rows: rows.reshape(rounds, game.slices, size), found)


def _start(data, position):
    return dict(position) if several(data) else position[""]


class Feed(NamedTuple):
    """Where batches come from: what all rounds share, what the next ones are handed, and how both become a batch."""

    shared: Any
    take: Callable[[Games, Position, int], Any]  # (game, position, rounds) -> [rounds, slices, B, …], members first
    make: Callable[[Any, Any], Any]  # (shared, [slices, B, …]) -> a round's batch, inside the program


def of(layout: Layout, data: Data, seed: int, batch: int, resident: int, stack: ExitStack) -> Feed:
    """From the device, if the set is in memory and of at most `resident` bytes; else from the host, whose reading
    threads end with `stack`."""
    leaves = jax.tree.leaves(data)
    small = sum(x.nbytes for x in leaves) <= resident and not any(isinstance(x, OnDisk) for x in leaves)
    return _from_device(layout, data, seed, batch) if small else _from_host(layout, data, seed, batch, stack)


def _from_device(layout, data, seed, batch):
    """The whole set lies on every device, and a round is handed indices."""

    def take(game, position, rounds):
        orders = {i: order(data, game, i, position, batch, rounds) for i in set(game.data_seeds(seed))}
        return parallel.place(game.stack([orders[i] for i in game.data_seeds(seed)]), layout.batches())

    return Feed(parallel.place(data, layout.whole), take, gather)


def _from_host(layout, data, seed, batch, stack):
    """Threads read the next batches while the devices are at work; each process reads its own rows only."""
    readers: dict[int, _Reader] = {}

    def some(i, game, position, rounds, rows):
        """{"x": [rounds, slices, B, …], …} in the order of seed i."""
        size, own = what = game.batch or batch, names(data, game)
        if i not in readers or (readers[i].what, readers[i].position) != (what, position):
            # Another Game may read other sets, or batches of another size: its reader begins at this position.
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
        put = parallel.place if game.axis else parallel.join  # of a population every process reads all rows
        return put(stacked, layout.batches())

    return Feed((), take, _as_read)


class _Reader(NamedTuple):
    what: tuple[int, tuple[str, ...]]
    position: Position
    source: Any


def _as_read(shared, own):
    return jax.tree.map(to_float, own)
