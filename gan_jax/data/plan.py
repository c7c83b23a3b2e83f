"""The batch plan: which examples each round reads, as a function of the seed and the round alone.

The real images of a training are one infinite stream, epoch after epoch, each epoch a permutation of the whole
set. Round t reads the next slices · batch of them; batches run on across an epoch's edge, so that every example
is read exactly e times in e epochs. Sets that are not paired have a stream each. There is no iterator and nothing to
save.
"""

import contextlib
import functools
import math
import sys
from collections.abc import Generator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Int32, Shaped

from gan_jax.data.disk import OnDisk
from gan_jax.errors import UserError
from gan_jax.pixels import to_float

Set = Mapping[str, Shaped[np.ndarray | OnDisk, "_ ..."]]  # {"x": [n, h, w, c]}, and "y": [n] where there are labels
Data = Set | Mapping[str, Set]  # or several sets, {"A": {"x": …}, "B": {"x": …}}, each read in an order of its own


def as_data(data: Any) -> Data:
    """What a user gives: a set, several, or the x of one; what is neither in memory nor OnDisk becomes an array."""
    data = data if isinstance(data, Mapping) else {"x": data}
    array = lambda x: x if isinstance(x, OnDisk) else np.asarray(x)
    found: Any = {name: as_data(x) if isinstance(x, Mapping) else array(x) for name, x in data.items()}
    return found


def lengths(data: Data) -> int | dict[str, int]:
    """How many examples a set has, or each of several."""
    return {name: len(one["x"]) for name, one in data.items()} if several(data) else len(data["x"])


def epoch(data: Data) -> int:
    """How many examples an epoch reads: those of the set, of several the largest's."""
    return max(jax.tree.leaves(lengths(data)))


def several(data: Data) -> bool:
    """Whether this is not one set but some."""
    return isinstance(next(iter(data.values())), Mapping)


def permutation(seed: int, epoch: int, n: int) -> Int32[np.ndarray, "{n}"]:
    """The order of an epoch: the argsort of n raw words of Philox keyed by (seed, epoch).

    NumPy promises the words of a bit generator for all versions, and `Generator.permutation` for none.
    """
    return _orders(seed, n)(epoch)


@functools.lru_cache(maxsize=1024)  # seeds: every member of a population has its own
def _orders(seed, n):
    """Epoch -> its order; the last two are kept."""
    return functools.lru_cache(maxsize=2)(functools.partial(_order, seed, n))


def _order(seed, n, epoch):
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(n)
    order = np.argsort(words, kind="stable").astype(np.int32)
    order.flags.writeable = False
    return order


def stream(seed: int, start: int, count: int, n: int) -> Int32[np.ndarray, " {count}"]:
    """The examples at the places start … start + count − 1 of a training's stream."""
    epochs, places = np.divmod(np.arange(start, start + count), n)
    return np.concatenate([permutation(seed, int(e), n)[places[epochs == e]] for e in np.unique(epochs)])


def streams(seed: int, start: int, count: int, n: int | Mapping[str, int]) -> Any:
    """`stream` of a set of n examples; of several, {name: n}, {name: its own}, as unrelated as those of two seeds."""
    if not isinstance(n, Mapping):
        return stream(seed, start, count, n)
    return {name: stream(seed + (i << 32), start, count, n[name]) for i, name in enumerate(sorted(n))}


def batch_indices(seed: int, step: int, n: int, batch: int, slices: int = 1) -> Int32[np.ndarray, "{slices} {batch}"]:
    """The examples of round `step`: slice s, row b is place (step·slices + s)·batch + b of the stream."""
    return stream(seed, step * slices * batch, slices * batch, n).reshape(slices, batch)


def read(data: Data, seed: int, place: int, slices: int, batch: int) -> Any:
    """{"x": [slices, B, …], …} from that place of the stream on, of several sets {"A": {"x": …}, …}; bytes as they
    are."""
    found = take(data, streams(seed, place, slices * batch, lengths(data)))
    return jax.tree.map(lambda x: x.reshape(slices, batch, *x.shape[1:]), found)


def take(data: Any, rows: Any) -> Any:
    """The examples `rows` of a set, {"x": [*rows, …], …}, or {name: rows} of several."""
    if isinstance(rows, Mapping):
        return {name: take(data[name], own) for name, own in rows.items()}
    return {name: leaf[rows] for name, leaf in data.items()}


def rounds(epochs: int | float, n: int, batch: int, slices: int = 1) -> int:
    """⌈epochs · n / (slices · batch)⌉: the rounds that read every example `epochs` times."""
    return math.ceil(epochs * n / (slices * batch))


def check_enough(data: Data, batch: int) -> None:
    """UserError where a batch is larger than the set, or the smallest of several."""
    n = min(jax.tree.leaves(lengths(data)))
    if n < batch:
        raise UserError(f"a batch of {batch} is more than the {n} images there are: give --batch {n} or less.")


def gather(data: Any, indices: Any) -> Any:
    """The batch {"x": [slices, batch, …], …} of a plan's indices [slices, batch], from a set on the device."""
    return jax.tree.map(to_float, take(data, indices))


def batches(
    data: Data, seed: int, place: int, batch: int, rows: slice = slice(None), *, threads: int = 4, ahead: int = 8
) -> Generator[Any]:
    """{"x": [rows, …], …}: the stream of `seed` from `place` on, batch after batch without end, of each only `rows`.

    For a set that is not on the device: bytes as they are, in memory or on disk. Threads prepare a batch each, up to
    `ahead` before it is asked for; what they are asked for does not depend on them. To close the iterator ends them.
    Process p of P takes the rows slice(p * batch // P, (p + 1) * batch // P).
    UserError for a picture that has disappeared or is corrupt, when its batch is asked for.
    """
    import grain

    n = lengths(data)

    def own(i):
        return take(data, jax.tree.map(lambda order: order[rows], streams(seed, place + i * batch, batch, n)))

    # A batch is one element: a thread that decodes it whole hands over 1/batch as often as one element an image.
    source = grain.MapDataset.range(sys.maxsize).map(own)
    with contextlib.closing(iter(source.to_iter_dataset(grain.ReadOptions(threads, ahead)))) as prepared:
        yield from prepared
