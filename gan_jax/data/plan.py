"""The batch plan: which examples each round reads, as a function of the seed and the round alone.

The real images of a training are one infinite stream, epoch after epoch, each epoch a permutation of the whole
set. Round t reads the next slices · batch of them; batches run on across an epoch's edge, so that every example
is read exactly e times in e epochs. There is no iterator and nothing to save.
"""

import contextlib
import functools
import math
import sys
from collections.abc import Generator, Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32, Shaped

from gan_jax.data.disk import OnDisk
from gan_jax.errors import UserError

Data = Mapping[str, Shaped[np.ndarray | OnDisk, "n ..."]]  # {"x": [n, h, w, c]}, and "y": [n] where there are labels


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


def batch_indices(seed: int, step: int, n: int, batch: int, slices: int = 1) -> Int32[np.ndarray, "{slices} {batch}"]:
    """The examples of round `step`: slice s, row b is place (step·slices + s)·batch + b of the stream."""
    return stream(seed, step * slices * batch, slices * batch, n).reshape(slices, batch)


def rounds(epochs: int | float, n: int, batch: int, slices: int = 1) -> int:
    """⌈epochs · n / (slices · batch)⌉: the rounds that read every example `epochs` times."""
    return math.ceil(epochs * n / (slices * batch))


def check_enough(data: Data, batch: int) -> None:
    """UserError where a batch is larger than the set."""
    n = len(data["x"])
    if n < batch:
        raise UserError(f"a batch of {batch} is more than the {n} images there are: give --batch {n} or less.")


def to_float(x: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
    """x / 127.5 - 1 in float32 for bytes, exactly ±1 at the ends; anything else as it is."""
    # Subtracted first: compiled, XLA divides by multiplying, and 255 / 127.5 - 1 would be 1.0000001.
    return (x.astype(jnp.float32) - 127.5) / 127.5 if x.dtype == jnp.uint8 else x


def gather(
    data: dict[str, Shaped[Array, "n ..."]], indices: Int[Array, "slices batch"]
) -> dict[str, Shaped[Array, "slices batch ..."]]:
    """The batch {"x": [slices, batch, …], …} of a plan's indices, from a set that lies on the device."""
    return {name: to_float(leaf[indices]) for name, leaf in data.items()}


def batches(
    data: Data, seed: int, place: int, batch: int, rows: slice = slice(None), *, threads: int = 4, ahead: int = 8
) -> Generator[dict[str, np.ndarray]]:
    """{"x": [rows, …], …}: the stream of `seed` from `place` on, batch after batch without end, of each only `rows`.

    For a set that is not on the device: bytes as they are, in memory or on disk. Threads prepare a batch each, up to
    `ahead` before it is asked for; what they are asked for does not depend on them. To close the iterator ends them.
    Process p of P takes the rows slice(p * batch // P, (p + 1) * batch // P).
    UserError for a picture that has disappeared or is corrupt, when its batch is asked for.
    """
    import grain

    n = len(data["x"])

    def read(i):
        order = stream(seed, place + i * batch, batch, n)[rows]
        return {name: leaf[order] for name, leaf in data.items()}

    # A batch is one element: a thread that decodes it whole hands over 1/batch as often as one element an image.
    source = grain.MapDataset.range(sys.maxsize).map(read)
    with contextlib.closing(iter(source.to_iter_dataset(grain.ReadOptions(threads, ahead)))) as prepared:
        yield from prepared
