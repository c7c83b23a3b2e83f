"""Real data: what a set holds (`load`), and which of it a round reads (`batch_indices`, `gather`)."""

from gan_jax.data.disk import OnDisk
from gan_jax.data.images import one_by_one
from gan_jax.data.plan import (
    Data,
    Set,
    as_data,
    batch_indices,
    batches,
    check_enough,
    epoch,
    gather,
    lengths,
    read,
    rounds,
    several,
    stream,
    streams,
)
from gan_jax.data.sources import BUILT_IN, RESIDENT, content_hash, load, mirror

__all__ = [
    "BUILT_IN",
    "RESIDENT",
    "Data",
    "OnDisk",
    "Set",
    "as_data",
    "batch_indices",
    "batches",
    "check_enough",
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
]
