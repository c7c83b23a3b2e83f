"""The loop: step, log, save, resume. It knows neither scores nor pictures: those come as callbacks."""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tqdm import tqdm

from gan_jax import population
from gan_jax.data import RESIDENT, as_data, check_enough, content_hash, epoch
from gan_jax.engine import carry, step
from gan_jax.errors import UserError
from gan_jax.game import Game, State
from gan_jax.population import Games
from gan_jax.runs.replay import finite, first_fault
from gan_jax.runs.run import (
    Run,
    Schedule,
    abstract_state,
    as_schedule,
    batch_spec,
    cut_rows,
    left_by,
    open_folder,
    zeros,
)
from gan_jax.training import checkpoint, feeds, parallel
from gan_jax.training.log import Log, Played

Observe = Callable[[Run, int], Callable[[], dict[str, float] | None] | None]
Callback = tuple[int, Observe] | tuple[int, Observe, Sequence[str]]


def train(
    game: Games | Schedule,
    data: Any,
    *,
    steps: int,
    batch: int = 64,
    seed: int = 0,
    run: str | Path | None = None,
    start: State | None = None,
    state: State | None = None,
    log_every: int = 100,
    checkpoint_every: int = 1000,
    keep_every: int | None = None,
    best: str | None = None,
    dispatch: int | None = None,
    devices: int | None = None,
    split_from: int = 0,
    resident: int = RESIDENT,
    callbacks: Sequence[Callback] = (),
    writers: Sequence[Callable[[dict], None]] = (),
    paper: str = "",
    config: dict[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Play `game` on `data` up to round `steps`; a run already in the folder `run` goes on from its checkpoint.

    game: a Game, a Population of them, or a schedule t -> either that returns one of a few made beforehand.
    data: an array [n, …] or {"x": [n, …], "y": [n]}, in memory or OnDisk; or several such sets that are not paired,
        {"A": {"x": …}, "B": {"x": …}}. uint8 becomes float32 in [-1, 1] on the device.
    seed: of the first weights, the noise and the data's order; the members of a population have their own.
    start: the State of another training of the same networks, with whose weights and averages this one is born.
    state: a State of this very game, of any round, to go on from; not with a `run`, whose checkpoints say that.
    best: the metric, lower being better, whose best checkpoint is kept beside the last two and each `keep_every`-th;
        only checkpoints of rounds that it is logged at are compared.
    dispatch: rounds to a dispatch, by default 1 for a Game on a CPU, else 10.
    devices: how many of the devices there are share each batch, by default all: they must divide it.
    split_from: of how many numbers on a weight, moment or average is split over the devices; 0: each holds them all.
    resident: a set of no more bytes lies on every device; of a larger one, batches are read ahead by threads.
    callbacks: (every, fn) or (every, fn, names): fn(run, step) each so many rounds and at the end. It dispatches what
        it needs of run.state and may return a function that waits for it, which is called once the next rounds are
        on their way, of several processes in the first. Numbers {name: value} that this one returns get a row of
        metrics.jsonl, and `best` may be one of the names.
    writers: called with each row of metrics.jsonl.
    paper, config: what config.json says of where the game comes from, and every number it was made with.

    Of a population, a row of metrics.jsonl is a member's, and one more holds their means and, as "NAME se", standard
    errors. A member whose numbers are no longer finite rests at its last good State, is left out of the means, and
    the others go on.

    SIGTERM and Ctrl-C save first, then raise SystemExit(143) and KeyboardInterrupt. That takes the rounds under way,
    at most two dispatches, and a save, or two if one is under way. A UserError of the data's source saves first too.
    UserError for too little data, another run or another process in the folder, a file of the run that cannot be
    written, and a loss or gradient that is no longer finite: the run stops, and the last good checkpoint stays.
    """
    schedule, folder, given = as_schedule(game), None if run is None else Path(run).absolute(), state
    data = as_data(data)
    check_enough(data, batch)
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}: it must be from 0 to {2**32 - 1}, or it would be cut to that.")
    if state is not None and folder:
        raise UserError(f"A State to go on from and the folder {folder}, which has its own, are one too many.")
    spec, found, saves = batch_spec(data, batch), None, None
    layout = population.layout(schedule(0), batch, devices, split_from)
    latest = (checkpoint.latest_step(folder / "checkpoints") if folder else None) or 0
    like = lambda t: layout.abstract(abstract_state(left_by(schedule, t), spec))
    if state is not None:
        state = jax.tree.map(jnp.copy, state)  # training donates it
        found = int(np.asarray(state.step).max()), state, {}
    else:  # what cannot play leaves no folder
        state = like(latest) if latest else _born(layout, schedule(0), seed, spec, start)
    if best:
        scores = [name for _, _, *names in callbacks for name in itertools.chain(*names)]
        _check_best(best, left_by(schedule, latest), state, spec, scores)

    def explain(step):
        """What first went wrong on the way to round `step`, played again from the last State that is kept."""
        kept = checkpoint.restore(folder / "checkpoints", like, say=tqdm.write) if folder else None
        state = kept[1] if kept else _born(layout, schedule(0), seed, spec, start) if given is None else given
        return first_fault(schedule, state, data, batch=batch, seed=seed, steps=step, progress=progress)

    with ExitStack() as held:
        if folder:
            config = {"batch": batch, "seed": seed} | (config or {})
            about = paper, config, content_hash(data), spec, population.members_of(schedule(0))
            parallel.first_alone(lambda: held.enter_context(open_folder(folder, *about)))
            say = tqdm.write if parallel.first() else lambda line: None
            found = checkpoint.restore(folder / "checkpoints", like, say=say)
            saves = checkpoint.open(folder / "checkpoints", keep_every=keep_every, best=best)
            parallel.first_alone(lambda: cut_rows(folder, found[0] if found else 0))
            checkpoint.go_back(saves, found[0] if found else 0)
        t, state, meta = found or (0, state, {})
        read, now = sum(schedule(i).slices for i in range(t)), time.perf_counter()
        feed = feeds.of(layout, data, seed, batch, read, resident, held)
        held.enter_context(_advice(explain, folder, paper))
        quiet = not (progress and parallel.first())
        bar = held.enter_context(tqdm(total=steps, initial=t, disable=quiet, unit=" rounds", dynamic_ncols=True))
        log = Log(folder, bar, writers, batch, epoch(data), read, now - meta.get("seconds", 0.0), now)
        stop = held.enter_context(_stop_signals())
        held.enter_context(_closing(saves))
        periods = [log_every, checkpoint_every, *(every for every, *_ in callbacks)]
        due = lambda every: t % every == 0 or t == steps
        waiting = []  # what the host still owes for the rounds before, done while these are under way
        played, failed = None, []
        rounds = _rounds(layout, schedule, state, feed, t, read, steps, seed, spec, dispatch, periods, stop)
        for played in _until_an_error(rounds, failed):
            t, state, current = played.step, played.state, Run(played.game, played.state, folder)
            log.mark += played.compiling
            _settle(waiting)
            bar.update(t - bar.n)
            waiting.append(partial(_check_finite, played))
            if due(log_every):
                waiting.append(partial(log.row, played))
            began = time.perf_counter()
            with jax.set_mesh(layout.mesh):
                owed = [fn(current, t) for every, fn, *_ in callbacks if due(every)]
            waiting += [partial(log.found, played, finish) for finish in owed if finish]
            log.mark += time.perf_counter() - began  # what a callback dispatches it first compiles
            # Read once: a signal that comes after this waits for the next round's save. Several processes must stop at
            # the same round, so they hear of it through the program that they share.
            stopping = bool(stop) if jax.process_count() == 1 else played.stop
            if saves and (due(checkpoint_every) or stopping):
                _save(saves, played, log, waiting)
            elif saves:
                checkpoint.seal(saves)
            if stopping:
                stop.extend([] if stop else [signal.SIGTERM])  # another process was told
                break
        if saves and failed and played and jax.process_count() == 1:  # the others know nothing of it
            _save(saves, played, log, waiting)
        _settle(waiting)
        for error in failed:
            raise error
    return Run(left_by(schedule, t), state, folder)


def _rounds(layout, schedule, state, feed, t, read, steps, seed, spec, dispatch, periods, stop):
    """Dispatch the rounds from t to `steps`, some at a time, never across a change of Game or a period's end."""
    game, played, previous = left_by(schedule, t), set(), None
    longest = dispatch or (1 if isinstance(game, Game) and jax.default_backend() == "cpu" else 10)
    flags = {told: parallel.flag(layout, told) for told in (False, True)}
    place = lambda state, game: (parallel.place(state, layout.state), parallel.place(game, layout.spread()))
    state, placed = place(state, game)
    while t < steps:
        if schedule(t) is not game:
            game = schedule(t)
            state, placed = place(carry(_born(layout, game, seed, spec), state), game)
        most = min(longest, steps - t, *(every - t % every for every in periods))
        k = next((i for i in range(1, most) if schedule(t + i) is not game), most)
        own, new = feed.take(game, read, k), (game, k) not in played
        start = parallel.place(np.int32(t), layout.whole)
        began = time.perf_counter()
        with jax.transfer_guard("disallow"), jax.set_mesh(layout.mesh):
            state, metrics = _dispatch(layout, feed.make, placed, state, feed.shared, own, start, flags[bool(stop)])
        compiling = new * (time.perf_counter() - began)  # a program's first call returns when it is compiled
        played.add((game, k))
        t, read = t + k, read + k * game.slices
        jax.block_until_ready(previous)  # one dispatch under way, one waiting: never a longer queue
        stopping, previous = previous is not None and bool(np.asarray(previous["stop"])), metrics
        yield Played(t, game, state, metrics, read, compiling, stopping)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _dispatch(layout, make, games, state, shared, own, t, stop):
    """The rounds of `own` [k, slices, B, …], or [members, k, slices, B, …], as one program; metrics are the last's, and
    "finite": whether those of all are, and the State."""

    def rounds(game, state, own, shared):
        play = lambda state, own: step(game, state, make(shared, own))
        if len(jax.tree.leaves(own)[0]) == 1:
            state, metrics = play(state, jax.tree.map(lambda x: x[0], own))
            good = finite(state, metrics)
        else:
            state, every = lax.scan(play, state, own)
            good, metrics = finite(state, every), jax.tree.map(lambda m: m[-1], every)
        return state, metrics | {"finite": good}

    state, metrics = population.advance(games, rounds, t, state, own, shared=(shared,))
    return layout.hold(state), parallel.whole(metrics | {"stop": stop.any()})


@partial(jax.jit, static_argnums=(0, 2))
def _init(layout, games, seed, batch):
    return layout.hold(population.born(games, seed, batch))


def _born(layout, game, seed, spec, start=None):
    """State at round 0; with `start`, weights, averages and memory are those of that State."""
    batch = parallel.place(zeros(game, spec), layout.whole)
    with jax.set_mesh(layout.mesh):
        state = _init(layout, parallel.place(game, layout.spread()), seed, batch)
    if start is None:
        return state
    born = carry(state, start, ("params", "ema", "memory"))
    theirs = {id(x) for x in jax.tree.leaves(start.params)}
    for name, params in born.params.items():
        if not all(id(x) in theirs for x in jax.tree.leaves(params)):
            raise UserError(f"The weights to start from do not fit network {name!r}: its shape must be the same.")
    fresh = {name: state.memory[name] for name in ("skipped", "rule")}
    return jax.tree.map(jnp.copy, born.replace(memory=born.memory | fresh))  # a copy: training donates it


def _settle(waiting):
    """Do what is owed, in order."""
    for task in waiting:
        task()
    waiting.clear()


def _save(saves, played, log, waiting):
    """Save the State of a round, once what is owed for it is done and it is found finite."""
    _settle(waiting)
    seconds = time.perf_counter() - log.began
    checkpoint.save(saves, played.step, played.state, {"seconds": seconds, "metrics": log.at(played.step)})


def _check_best(best, game, state, spec, scores):
    """UserError for what is neither a metric of the game nor a callback's score."""
    one = lambda game, state: step(game, state, zeros(game, spec))
    names = sorted([*jax.eval_shape(partial(population.each, game, one), state)[1], *scores])
    if best.removeprefix("-") not in names:
        raise UserError(f"This game has no metric {best!r} to choose the best by: it has {', '.join(names)}.")


class _NotFiniteError(Exception):
    """What is not, and by which round."""


def _check_finite(played):
    """_NotFiniteError if the training, or every member of a population, is no longer finite."""
    going = np.asarray(played.metrics["finite"])
    if not going.any():
        broken = {name: np.asarray(m).flat[0] for name, m in played.metrics.items() if not np.isfinite(m).all()}
        named = ", ".join(f"{name} is {value}" for name, value in broken.items())
        what = "Every member has diverged" if going.ndim else "A loss, a gradient or the State is not finite"
        raise _NotFiniteError(named or what, played)


@contextmanager
def _advice(explain, folder, paper):
    """UserError in place of _NotFiniteError: what broke, where, and how to go on."""
    try:
        yield
    except _NotFiniteError as error:
        what, played = error.args
    else:
        return
    kept, alone = folder and checkpoint.latest_step(folder / "checkpoints"), isinstance(played.game, Game)
    how = "lower the learning rates or strengthen the penalty, and start again"
    if kept and paper:
        how = f"{how} from there, as `python -m gan_jax fork {folder} --set FIELD=VALUE` does"
    place = f"{folder} keeps the last checkpoint before it, of round {kept}" if kept else "nothing was saved"
    where = "" if alone else f" `python -m gan_jax replay {folder} --member 0` tells where it broke." if paper else ""
    if alone and jax.process_count() == 1:
        tqdm.write(f"Round {played.step} is not finite: playing again from round {kept or 0} on to see why.")
        fault = explain(played.step)
        where = f" {fault}." if fault else " Played again, it stays finite."
    raise UserError(f"{what} in round {played.step}: {place}; {how}.{where}")


def _until_an_error(rounds, failed):
    """`rounds` up to a UserError of the data's source, which goes into `failed`: the State before it is sound."""
    try:
        yield from rounds
    except UserError as error:
        failed.append(error)


@contextmanager
def _stop_signals():
    """A list that SIGTERM and Ctrl-C append to; a second one acts at once. Afterwards, what they mean."""
    caught, before = [], {}

    def note(number, frame):
        caught.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGTERM in caught:
        raise SystemExit(128 + signal.SIGTERM)
    if caught:
        raise KeyboardInterrupt


@contextmanager
def _closing(saves):
    try:
        yield
    finally:
        if saves:
            checkpoint.close(saves)
