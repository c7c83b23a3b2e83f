"""Options of a training that do not affect its result: frozen dataclasses made from `train`'s keyword arguments."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from gan_jax.data import RESIDENT
from gan_jax.errors import UserError

Observe = Callable[[Any, int], Callable[[], dict[str, Any] | None] | None]
Callback = tuple[int, Observe] | tuple[int, Observe, Sequence[str]]


@dataclass(frozen=True)
class Saving:
    """When checkpoints are saved, and which are kept in addition to the last two.

    Attributes:
        checkpoint_every: Rounds between checkpoints; the last round is always saved.
        keep_every: Checkpoints at multiples of this are never deleted.
        best: The metric whose best checkpoint is kept: the lowest, or for "-NAME" the highest. Only checkpoints of
            rounds in which the metric is logged are compared.

    >>> Saving(checkpoint_every=500).best is None
    True
    """

    checkpoint_every: int = 1000
    keep_every: int | None = None
    best: str | None = None


@dataclass(frozen=True)
class Logging:
    """What is logged and shown during a training.

    Attributes:
        log_every: Rounds between rows of metrics.jsonl.
        callbacks: (every, f) or (every, f, names): f(run, step) is called every so many rounds and after the last one.
            It may return a function without arguments, which is called while the next rounds run and may block; the
            numbers {name: value} that this function returns are logged. `best` may be one of the `names`.
        writers: Functions that are called with each row of metrics.jsonl.
        progress: Whether to show a progress bar and rows of metrics.
        verbose: Whether these rows show all metrics, not only the losses.

    >>> Logging(callbacks=[(1000, lambda run, step: None)]).log_every
    100
    """

    log_every: int = 100
    callbacks: Sequence[Callback] = ()
    writers: Sequence[Callable[[dict], None]] = ()
    progress: bool = True
    verbose: bool = False


@dataclass(frozen=True)
class Devices:
    """Where and how a training is computed.

    Attributes:
        devices: Number of devices, by default all. The batch size must be a multiple of it.
        split_from: Weights, moments and averages with at least so many elements are sharded over the devices; 0: all
            are replicated.
        dispatch: Rounds per dispatch, by default 1 for a Game on a CPU and 10 otherwise.
        resident: Data of at most so many bytes is copied to every device; larger data is read by threads.
        cache: Whether to use a persistent compilation cache in the user's cache directory.

    >>> Devices(devices=1).dispatch is None
    True
    """

    devices: int | None = None
    split_from: int = 0
    dispatch: int | None = None
    resident: int = RESIDENT
    cache: bool = True


def options(given: dict[str, Any]) -> tuple[Saving, Logging, Devices]:
    """`train`'s remaining keyword arguments as Saving, Logging and Devices.

    Raises:
        UserError: An argument is unknown, or a count is not a positive integer.

    >>> options({"log_every": 10, "devices": 2})[1].log_every
    10
    """
    kinds = (Saving, Logging, Devices)
    names = {kind: [field.name for field in dataclasses.fields(kind)] for kind in kinds}
    known = [name for own in names.values() for name in own]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f": did you mean {near[0]}?" if near else f": its arguments are {', '.join(known)}."
            raise UserError(f"train has no argument {name!r}{hint}")
    counts = ("checkpoint_every", "keep_every", "log_every", "dispatch", "devices")
    check_counts(**{name: given[name] for name in counts if name in given})
    for every, *_ in given.get("callbacks", ()):
        check_counts(**{"a callback's number of rounds": every})
    made: Any = tuple(kind(**{name: given[name] for name in names[kind] if name in given}) for kind in kinds)
    return made


def check_counts(**counts: Any) -> None:
    """Raise a UserError for a count that is not a positive integer; None (a default) passes.

    >>> check_counts(batch=64, devices=None)
    """
    for name, count in counts.items():
        whole = isinstance(count, int) and not isinstance(count, bool) and 1 <= count < math.inf
        if count is not None and not whole:
            raise UserError(f"{name} is {count!r}: it must be a whole number, 1 or more.")


def check_seed(seed: Any) -> None:
    """Raise a UserError for a seed that is not an integer from 0 to 2³² − 1.

    >>> check_seed(0)
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed is a {type(seed).__name__}: give a whole number, such as 0.")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}: it must be from 0 to {2**32 - 1}.")
