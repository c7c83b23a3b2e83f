"""The batch plan: which examples each round reads, a pure function of the seed and the round.

The real examples of a training form one infinite stream, epoch after epoch, each epoch a permutation of the whole set.
Round t reads the next slices · batch of them. A batch may span two epochs, so that every example is read exactly e
times in e epochs. Sets that are not paired have a stream each. There is no iterator state to save.
"""

import contextlib
import functools
import math
import sys
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jaxtyping import Int32, Shaped

from gan_jax.data.disk import CHUNK, OnDisk
from gan_jax.errors import UserError
from gan_jax.pixels import to_float

Set = Mapping[str, Shaped[np.ndarray | OnDisk, "_ ..."]]  # {"x": [n, …]}, and "y": [n, …] where there are labels
Data = Set | Mapping[str, Set]  # or sets that are not paired, {"A": {"x": …}, "B": {"x": …}}, each in its own order


def lengths(data: Data) -> int | dict[str, int]:
    """Number of examples of a set, or {name: number} of several.

    >>> lengths({"A": {"x": np.zeros(5)}, "B": {"x": np.zeros(7)}})
    {'A': 5, 'B': 7}
    """
    return {name: len(one["x"]) for name, one in data.items()} if several(data) else len(data["x"])


def epoch(data: Data) -> int:
    """Number of examples in an epoch: those of the set, or of the largest of several.

    >>> epoch({"A": {"x": np.zeros(5)}, "B": {"x": np.zeros(7)}})
    7
    """
    return max(jax.tree.leaves(lengths(data)))


def several(data: Data) -> bool:
    """Whether the data are several sets, {name: set}.

    >>> several({"x": np.zeros(5), "y": np.zeros(5)})
    False
    """
    return isinstance(next(iter(data.values())), Mapping)


def permutation(seed: int, epoch: int, n: int) -> Int32[np.ndarray, "{n}"]:
    """The order of an epoch: the argsort of n raw words of Philox keyed by (seed, epoch).

    NumPy keeps the words of a bit generator the same in all versions, but not `Generator.permutation`.

    >>> permutation(0, 0, 10).tolist()
    [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    """
    return _orders(seed, n)(epoch)


@functools.lru_cache(maxsize=1024)  # seeds, one per member of a population
def _orders(seed, n):
    """epoch -> its order; the last two are cached."""
    return functools.lru_cache(maxsize=2)(functools.partial(_order, seed, n))


def _order(seed, n, epoch):
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(n)
    order = np.argsort(words, kind="stable").astype(np.int32)
    order.flags.writeable = False
    return order


def stream(seed: int, start: int, count: int, n: int) -> Int32[np.ndarray, " {count}"]:
    """Examples at positions start … start + count − 1 of the stream of a set of n.

    >>> stream(seed=0, start=8, count=4, n=10).tolist()  # the end of one epoch and the beginning of the next
    [6, 7, 5, 3]
    """
    epochs, places = np.divmod(np.arange(start, start + count), n)
    return np.concatenate([permutation(seed, int(e), n)[places[epochs == e]] for e in np.unique(epochs)])


def streams(seed: int, start: Any, count: int, n: int | Mapping[str, int], names: Sequence[str] = ()) -> Any:
    """`stream` of a set of n examples; of several, {name: n}, one each, independent as if of different seeds.

    start: for all sets, or {name: start}. names: the sets wanted; () stands for all.

    >>> streams(0, 0, 2, {"A": 10, "B": 10})
    {'A': array([0, 2], dtype=int32), 'B': array([7, 5], dtype=int32)}
    """
    if not isinstance(n, Mapping):
        return stream(seed, start, count, n)
    at = start if isinstance(start, Mapping) else dict.fromkeys(n, start)
    numbered = {name: i for i, name in enumerate(sorted(n))}
    return {name: stream(seed + (numbered[name] << 32), at[name], count, n[name]) for name in names or numbered}


def batch_indices(seed: int, step: int, n: int, batch: int, slices: int = 1) -> Int32[np.ndarray, "{slices} {batch}"]:
    """The examples of round `step`: slice s, row b is position (step·slices + s)·batch + b of the stream.

    >>> batch_indices(0, step=1, n=10, batch=4).tolist()  # the fifth to eighth of the permutation
    [[8, 5, 4, 3]]
    """
    return stream(seed, step * slices * batch, slices * batch, n).reshape(slices, batch)


def read(data: Data, seed: int, place: int, slices: int, batch: int) -> Any:
    """{"x": [slices, B, …], …} from position `place` of the stream; of several sets {"A": {"x": …}, …}.

    uint8 is not scaled.

    >>> read({"x": 10 * np.arange(5)}, seed=0, place=0, slices=2, batch=2)
    {'x': array([[ 0, 20],
           [10, 40]])}
    """
    found = take(data, streams(seed, place, slices * batch, lengths(data)))
    return jax.tree.map(lambda x: x.reshape(slices, batch, *x.shape[1:]), found)


def take(data: Any, rows: Any) -> Any:
    """The examples at the indices `rows` of a set; for several sets `rows` is {name: indices}.

    >>> take({"x": np.array([3.0, 5.0, 7.0]), "y": np.array([0, 1, 2])}, [2, 0])
    {'x': array([7., 3.]), 'y': array([2, 0])}
    """
    if isinstance(rows, Mapping):
        return {name: take(data[name], own) for name, own in rows.items()}
    return {name: leaf[rows] for name, leaf in data.items()}


def rounds(epochs: int | float, n: int, batch: int, slices: int = 1) -> int:
    """⌈epochs · n / (slices · batch)⌉: the rounds that read every example `epochs` times.

    >>> rounds(50, n=60_000, batch=256)
    11719
    """
    return math.ceil(epochs * n / (slices * batch))


def check_enough(data: Data, batch: int) -> None:
    """Raise a UserError where a batch is larger than the set, or than the smallest of several.

    >>> check_enough({"x": np.zeros(100)}, batch=64)
    """
    n = min(jax.tree.leaves(lengths(data)))
    if n < batch:
        raise UserError(f"a batch of {batch} is more than the {n} images there are: give --batch {n} or less.")


def gather(data: Any, indices: Any) -> Any:
    """The batch {"x": [slices, batch, …], …} at indices [slices, batch] of a set on the device, uint8 as floats.

    >>> gather({"x": np.array([0, 255, 0], np.uint8)}, np.array([[1, 2]]))
    {'x': array([[ 1., -1.]], dtype=float32)}
    """
    return jax.tree.map(to_float, take(data, indices))


def batches(
    data: Data,
    seed: int,
    place: int | Mapping[str, int],
    batch: int,
    rows: slice = slice(None),
    *,
    names: Sequence[str] = (),
    threads: int = 4,
    ahead: int = 8,
) -> Generator[Any]:
    """Batches {"x": [rows, …], …} without end, for a set in memory or on disk that is not on the device.

    Threads read ahead; closing the iterator ends them. The batches do not depend on the number of threads.

    Args:
        data: one set or several; uint8 is not scaled.
        seed: of the stream.
        place: position of the first batch in the stream; of several sets one for all, or {name: position}.
        batch: examples of a batch.
        rows: which of them to read: slice(p * batch // P, (p + 1) * batch // P) in process p of P.
        names: the sets to read, of several; () stands for all.
        threads: each reads one batch at a time.
        ahead: batches that are read before they are asked for.

    Raises:
        UserError: where a picture is missing or corrupt, when its batch is asked for.
    """
    import grain

    n = lengths(data)

    def own(i):
        start = jax.tree.map(lambda place: place + i * batch, place)
        return take(data, jax.tree.map(lambda order: order[rows], streams(seed, start, batch, n, names)))

    # One element is a whole batch: threads synchronise once a batch instead of once an image.
    source = grain.MapDataset.range(sys.maxsize).map(own)
    with contextlib.closing(iter(source.to_iter_dataset(grain.ReadOptions(threads, ahead)))) as prepared:
        yield from prepared


def chunks(data: Set, size: int = CHUNK, rows: Any = None, threads: int = 4) -> Generator[Set]:
    """The set in parts of at most `size` examples, in order, so that no more than a few parts are in memory at once.

    >>> [part["x"].shape for part in chunks({"x": np.zeros((7, 2))}, 3)]
    [(3, 2), (3, 2), (1, 2)]

    Args:
        data: one set, in memory or on disk; uint8 is not scaled.
        size: examples of a part.
        rows: which examples, integers [m], by default all.
        names: the sets to read, of several; () stands for all.
        threads: each reads one part at a time, ahead of the caller.
    """
    n = len(data["x"]) if rows is None else len(rows)
    parts = (slice(i, i + size) if rows is None else rows[i : i + size] for i in range(0, n, size))
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for part in parts:
            waiting.append(pool.submit(take, data, part))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
