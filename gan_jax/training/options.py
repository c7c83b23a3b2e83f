"""What a training is and how it is run: frozen dataclasses that `train` fills in from its keyword arguments."""

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
    """When checkpoints are written, and which are kept beside the last two.

    checkpoint_every: rounds between checkpoints; the last round is always saved.
    keep_every: checkpoints at multiples of this are kept for good.
    best: the metric whose best checkpoint is kept: lower is better, of "-NAME" higher. Only checkpoints of rounds at
        which it is logged are compared.
    """

    checkpoint_every: int = 1000
    keep_every: int | None = None
    best: str | None = None


@dataclass(frozen=True)
class Logging:
    """What is reported while a training runs.

    log_every: rounds between rows of metrics.jsonl.
    callbacks: (every, f) or (every, f, names). f(run, step) is called each so many rounds and at the end. It dispatches
        what it needs of run.state and may return a function that waits for the result, which is called while the next
        rounds run. Numbers {name: value} that this one returns get a row of metrics.jsonl; `best` may be in `names`.
    writers: functions that are called with each row of metrics.jsonl.
    progress: whether to show a progress bar and rows.
    verbose: whether every number of a row is shown, not only the losses.
    """

    log_every: int = 100
    callbacks: Sequence[Callback] = ()
    writers: Sequence[Callable[[dict], None]] = ()
    progress: bool = True
    verbose: bool = False


@dataclass(frozen=True)
class Devices:
    """Where a training runs.

    devices: how many devices share the work, by default all there are; they must divide the batch.
    split_from: weights, moments and averages of so many numbers or more are split over the devices; 0: none is.
    dispatch: rounds to a dispatch, by default 1 for a Game on a CPU, else 10.
    resident: a set of at most so many bytes is kept on every device; batches of a larger one are read by threads.
    cache: whether compiled programs are kept between processes, in a folder under the user's cache directory.
    """

    devices: int | None = None
    split_from: int = 0
    dispatch: int | None = None
    resident: int = RESIDENT
    cache: bool = True


def options(given: dict[str, Any]) -> tuple[Saving, Logging, Devices]:
    """The three from `train`'s keyword arguments. UserError for a name that none of them has, and for a bad value."""
    kinds = (Saving, Logging, Devices)
    names = {kind: [field.name for field in dataclasses.fields(kind)] for kind in kinds}
    known = [name for own in names.values() for name in own]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f": did you mean {near[0]}?" if near else f": there are {', '.join(known)}."
            raise UserError(f"train has no argument {name!r}{hint}")
    counts = ("checkpoint_every", "keep_every", "log_every", "dispatch", "devices")
    check_counts(**{name: given[name] for name in counts if name in given})
    for every, *_ in given.get("callbacks", ()):
        check_counts(**{"a callback's number of rounds": every})
    made: Any = tuple(kind(**{name: given[name] for name in names[kind] if name in given}) for kind in kinds)
    return made


def check_counts(**counts: Any) -> None:
    """UserError for a count that is no whole number of 1 or more; None stands for a default."""
    for name, count in counts.items():
        whole = isinstance(count, int) and not isinstance(count, bool) and 1 <= count < math.inf
        if count is not None and not whole:
            raise UserError(f"{name} is {count!r}: it must be a whole number, 1 or more.")


def check_seed(seed: Any) -> None:
    """UserError for a seed that is none."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed is a {type(seed).__name__}: give a whole number, such as 0.")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}: it must be from 0 to {2**32 - 1}, or it would be cut to that.")
