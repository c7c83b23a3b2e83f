"""The training loop: dispatch, log, save, stop. Scores and pictures come as callbacks."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.data import epoch
from gan_jax.engine import step
from gan_jax.errors import UserError
from gan_jax.game import State
from gan_jax.training import checkpoint, feeds
from gan_jax.training.log import Log
from gan_jax.training.options import Devices, Logging, Saving
from gan_jax.training.report import Report
from gan_jax.training.rounds import Played, Training, play
from gan_jax.training.spec import game_at, zeros


@dataclass(frozen=True)
class Start:
    """The point from which a training continues.

    Attributes:
        t: The round.
        state: The State at that round.
        meta: Meta of the checkpoint it was restored from; {} without one.
    """

    t: int
    state: State
    meta: dict[str, Any]


class NotFiniteError(Exception):
    """A training is no longer finite. Its arguments are what is not finite, and the dispatch (Played) that found it."""


def loop(
    training: Training,
    start: Start,
    steps: int,
    *,
    folder: Path | None,
    as_run: Callable[[Any, State], Any],
    report: Report,
    saving: Saving,
    logging: Logging,
    devices: Devices,
) -> tuple[int, State]:
    """Train up to round `steps`. On SIGTERM, SIGHUP and Ctrl-C the State is saved before the process ends.

    Args:
        training: What is trained on what.
        start: Where to continue from.
        steps: The last round.
        folder: Folder for metrics.jsonl and checkpoints/; None: nothing is written.
        as_run: (game, state) -> the Run that callbacks get.
        report: Output on the terminal.
        saving: See `Saving`.
        logging: See `Logging`.
        devices: See `Devices`.

    Returns:
        (round, State) at the end.

    Raises:
        NotFiniteError: A loss, a gradient or the State is no longer finite.
        UserError: A file cannot be written, or the data cannot be read (the State is saved first).
    """
    t, state = start.t, start.state
    if t >= steps > 0:
        report.write(f"This run is already at round {t:,} of {steps:,}: there is nothing left to train.")
    with ExitStack() as stack:
        saves = None
        if folder:
            saves = checkpoint.open(folder / "checkpoints", keep_every=saving.keep_every, best=saving.best)
            checkpoint.go_back(saves, t)
            stack.enter_context(_closing(saves))
        feed = feeds.of(training.layout, training.data, training.seed, training.batch, devices.resident, stack)
        stack.enter_context(report)
        now, read = time.perf_counter(), max(training.position(t).values())
        began = now - start.meta.get("seconds", 0.0)
        log = Log(folder, report.row, logging.writers, epoch(training.data), read, began, now)
        stop = stack.enter_context(_stop_signals())
        periods = [logging.log_every, saving.checkpoint_every, *(every for every, *_ in logging.callbacks)]
        pending: list[Callable[[], None]] = []  # deferred host work of earlier rounds, run while the next ones execute
        played, failed = None, []
        dispatches = play(training, feed, state, t, steps, periods, stop, devices.dispatch)
        for played in _until_an_error(dispatches, failed):
            t, state, due = played.step, played.state, partial(_due, played.step, steps)
            _run(pending)
            report.advance(t)
            pending.append(partial(_check_finite, played))
            if played.compiling:
                pending += [partial(log.restart, played), report.compiled]
            if due(logging.log_every):
                pending.append(partial(log.row, played))
            with jax.set_mesh(training.layout.mesh):
                pending += _observe(log, played, logging.callbacks, as_run, due)
            # Read once: a signal that arrives later is handled after the next dispatch. Several processes must stop at
            # the same round, so the flag is part of the compiled program that they share.
            stopping = bool(stop) if jax.process_count() == 1 else played.stop
            if saves and (due(saving.checkpoint_every) or stopping):
                _save(saves, played, log, pending)
            elif saves:
                checkpoint.seal(saves)
            if stopping:
                stop.extend([] if stop else [signal.SIGTERM])  # another process got the signal
                break
        if saves and failed and played and jax.process_count() == 1:  # other processes have not failed
            _save(saves, played, log, pending)
        _run(pending)
        for error in failed:
            raise error
    return t, state


def check_best(training: Training, state: State, saving: Saving, logging: Logging, t: int) -> None:
    """Raise a UserError if `saving.best` is neither a metric of the game at round t nor a number of a callback."""
    if not saving.best:
        return
    game = game_at(training.schedule, t)
    one = lambda game, state: step(game, state, zeros(game, training.spec))
    scores = [name for _, _, *names in logging.callbacks for more in names for name in more]
    names = sorted([*jax.eval_shape(partial(game.each, one), state)[1], *scores])
    if saving.best.removeprefix("-") not in names:
        raise UserError(
            f"There is no metric {saving.best!r} to choose the best checkpoint by: give one of {', '.join(names)}."
        )


def _due(t, steps, every):
    return t % every == 0 or t == steps


def _observe(log, played, callbacks, as_run, due):
    """Call the callbacks that are due; returns the functions that finish them, as deferred work."""
    began, run = time.perf_counter(), as_run(played.game, played.state)
    finishing = [f(run, played.step) for every, f, *_ in callbacks if due(every)]
    log.mark += time.perf_counter() - began  # a callback may compile a program first
    return [partial(log.found, played, finish) for finish in finishing if finish]


def _run(pending):
    """Run the deferred work in order."""
    for task in pending:
        task()
    pending.clear()


def _save(saves, played, log, pending):
    """Save the State of a round, after the deferred work, which includes the check that it is finite."""
    _run(pending)
    seconds = time.perf_counter() - log.began
    checkpoint.save(saves, played.step, played.state, {"seconds": seconds, "metrics": log.at(played.step)})


def _check_finite(played):
    """Raise NotFiniteError if the training, or every member of a population, is no longer finite."""
    going = np.asarray(played.finite)
    if not going.any():
        broken = {name: np.asarray(m).flat[0] for name, m in played.metrics.items() if not np.isfinite(m).all()}
        named = ", ".join(f"{name} is {value}" for name, value in broken.items())
        what = "Every member has diverged" if going.ndim else "A loss, a gradient or the State is not finite"
        raise NotFiniteError(named or what, played)


def _until_an_error(dispatches: Iterator[Played], failed: list[UserError]) -> Iterator[Played]:
    """`dispatches` up to a UserError while reading data, which is appended to `failed`: the last State is valid."""
    try:
        yield from dispatches
    except UserError as error:
        failed.append(error)


@contextmanager
def _stop_signals():
    """Context with a list to which SIGTERM, SIGHUP (a closed terminal) and Ctrl-C append. Their usual effect follows at
    its end, or at once for a second signal."""
    caught, before = [], {}
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)]

    def note(number, frame):
        caught.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
        ignored = lambda number: number != signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN  # by nohup
        heard = [number for number in numbers if not ignored(number)]
        before = {number: signal.signal(number, note) for number in heard}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if ending := [number for number in caught if number != signal.SIGINT]:
        raise SystemExit(128 + ending[0])
    if caught:
        raise KeyboardInterrupt


@contextmanager
def _closing(saves):
    try:
        yield
    finally:
        checkpoint.close(saves)
