"""Real data: what a set holds (`load`), and which of it a round reads (`batch_indices`, `gather`)."""

from gan_jax.data.disk import OnDisk
from gan_jax.data.plan import Data, batch_indices, batches, check_enough, gather, rounds, stream, to_float
from gan_jax.data.sources import RESIDENT, content_hash, load, mirror

__all__ = [
    "RESIDENT",
    "Data",
    "OnDisk",
    "batch_indices",
    "batches",
    "check_enough",
    "content_hash",
    "gather",
    "load",
    "mirror",
    "rounds",
    "stream",
    "to_float",
]
