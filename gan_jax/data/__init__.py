"""Real data: `load` and `as_data` make sets of examples, the batch plan says which of them a round reads."""

from gan_jax.data.disk import OnDisk
from gan_jax.data.pictures import Picture, one_by_one
from gan_jax.data.plan import (
    Data,
    Set,
    batch_indices,
    batches,
    check_enough,
    chunks,
    epoch,
    gather,
    lengths,
    read,
    rounds,
    several,
    stream,
    streams,
    take,
)
from gan_jax.data.sources import BUILT_IN, RESIDENT, as_data, content_hash, load, mirror

__all__ = [
    "BUILT_IN",
    "RESIDENT",
    "Data",
    "OnDisk",
    "Picture",
    "Set",
    "as_data",
    "batch_indices",
    "batches",
    "check_enough",
    "chunks",
    "content_hash",
    "epoch",
    "gather",
    "lengths",
    "load",
    "mirror",
    "one_by_one",
    "read",
    "rounds",
    "several",
    "stream",
    "streams",
    "take",
]
