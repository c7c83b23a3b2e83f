"""Where the batches of a training come from: a set that lies on every device, or one that is read as rounds go by."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import population
from gan_jax.data import Data, OnDisk, batches, gather, lengths, streams
from gan_jax.game import Game
from gan_jax.pixels import to_float
from gan_jax.population import Games
from gan_jax.training import parallel
from gan_jax.training.parallel import Layout


class Feed(NamedTuple):
    """Where batches come from: what all rounds share, what those to come are handed, and how one is made of both."""

    shared: Any
    take: Callable[[Games, int, int], Any]  # (games, batches read before, rounds) -> [k, slices, B, …], or of members
    make: Callable[[Any, Any], Any]  # (shared, [slices, B, …]) -> a round's batch, inside the program


def of(layout: Layout, data: Data, seed: int, batch: int, read: int, resident: int, held: ExitStack) -> Feed:
    """From the device, if the set is in memory and of no more than `resident` bytes; else from the host.

    read: batches read before. held: what ends the threads.
    """
    leaves = jax.tree.leaves(data)
    small = sum(x.nbytes for x in leaves) <= resident and not any(isinstance(x, OnDisk) for x in leaves)
    return _from_device(layout, data, seed, batch) if small else _from_host(layout, data, seed, batch, read, held)


def _from_device(layout, data, seed, batch):
    """The whole set lies on every device, and a round is handed indices."""
    n = lengths(data)

    def take(game, read, k):
        own = population.seeds(game, seed)
        orders = {i: streams(i, read * batch, k * game.slices * batch, n) for i in set(own)}
        indices = [jax.tree.map(lambda x: x.reshape(k, game.slices, batch), orders[i]) for i in own]
        alone = isinstance(game, Game)
        return parallel.place(indices[0] if alone else _stacked(indices), layout.spread(2 if alone else 0))

    return Feed(parallel.place(data, layout.whole), take, gather)


def _from_host(layout, data, seed, batch, read, held):
    """Threads read what comes next while the devices are at work; each process reads its own rows only."""
    readers: dict[int, Any] = {}

    def reader(i, rows):
        if i not in readers:
            readers[i] = held.enter_context(closing(batches(data, i, read * batch, batch, rows)))
        return readers[i]

    def some(reader, k, slices):
        """{"x": [k, slices, B, …], …}"""
        found = _stacked([next(reader) for _ in range(k * slices)])
        return jax.tree.map(lambda x: x.reshape(k, slices, *x.shape[1:]), found)

    def take(game, read, k):
        if isinstance(game, Game):
            own = some(reader(seed, parallel.share(batch)), k, game.slices)
            return parallel.join(own, layout.spread(2))
        found = {i: some(reader(i, slice(None)), k, game.slices) for i in set(game.seeds)}
        return parallel.place(_stacked([found[i] for i in game.seeds]), layout.spread())

    return Feed((), take, _as_read)


def _stacked(trees):
    return jax.tree.map(lambda *x: np.stack(x), *trees)


def _as_read(shared, own):
    return jax.tree.map(to_float, own)
