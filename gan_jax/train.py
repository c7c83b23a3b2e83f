"""The loop: step, log, save, resume. It knows neither scores nor pictures: those come as callbacks."""

import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tqdm import tqdm

from gan_jax import checkpoint, population
from gan_jax.data import check_enough, content_hash, gather, stream
from gan_jax.errors import UserError, keeping
from gan_jax.game import Game, State, carry, step
from gan_jax.population import Games
from gan_jax.run import Run, Schedule, abstract_state, as_schedule, batch_spec, cut_rows, left_by, open_folder, zeros

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
    callbacks: Sequence[Callback] = (),
    writers: Sequence[Callable[[dict], None]] = (),
    paper: str = "",
    config: dict[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Play `game` on `data` up to round `steps`; a run already in the folder `run` goes on from its checkpoint.

    game: a Game, a Population of them, or a schedule t -> either that returns one of a few made beforehand.
    data: an array [n, …] or {"x": [n, …], "y": [n]}; uint8 becomes float32 in [-1, 1] on the device.
    seed: of the first weights, the noise and the data's order; the members of a population have their own.
    start: the State of another training of the same networks, with whose weights and averages this one is born.
    state: a State of this very game, of any round, to go on from; not with a `run`, whose checkpoints say that.
    best: the metric, lower being better, whose best checkpoint is kept beside the last two and each `keep_every`-th;
        only checkpoints of rounds that it is logged at are compared.
    dispatch: rounds to a dispatch, by default 1 for a Game on a CPU, else 10.
    callbacks: (every, fn) or (every, fn, names): fn(run, step) each so many rounds and at the end. It dispatches what
        it needs of run.state and may return a function that waits for it, which is called once the next rounds are
        on their way. Numbers {name: value} that this one returns get a row of metrics.jsonl, and `best` may be one
        of the names.
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
    schedule, folder = as_schedule(game), None if run is None else Path(run).absolute()
    data = {name: np.asarray(x) for name, x in (data if isinstance(data, dict) else {"x": data}).items()}
    check_enough(data, batch)
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}: it must be from 0 to {2**32 - 1}, or it would be cut to that.")
    if state is not None and folder:
        raise UserError(f"A State to go on from and the folder {folder}, which has its own, are one too many.")
    spec, found = batch_spec(data, batch), None
    latest = (checkpoint.latest_step(folder / "checkpoints") if folder else None) or 0
    like = lambda t: abstract_state(left_by(schedule, t), spec)
    if state is not None:
        state = jax.tree.map(jnp.copy, state)  # training donates it
        found = int(np.max(state.step)), state, {}
    else:  # what cannot play leaves no folder
        state = like(latest) if latest else _born(schedule(0), seed, spec, start)
    if best:
        scores = [name for _, _, *names in callbacks for name in itertools.chain(*names)]
        _check_best(best, left_by(schedule, latest), state, spec, scores)
    opened = nullcontext((None, found))
    if folder:
        config = {"batch": batch, "seed": seed} | (config or {})
        about = paper, config, content_hash(data), spec, population.members_of(schedule(0))
        opened = _opened(folder, about, like, keep_every=keep_every, best=best)
    periods = [log_every, checkpoint_every, *(every for every, *_ in callbacks)]
    due = lambda every: t % every == 0 or t == steps
    with (
        opened as (saves, found),
        tqdm(
            total=steps, initial=found[0] if found else 0, disable=not progress, unit=" rounds", dynamic_ncols=True
        ) as bar,
        _stop_signals() as stop,
        _closing(saves),
    ):
        t, state, meta = found or (0, state, {})
        read, now = sum(schedule(i).slices for i in range(t)), time.perf_counter()
        log = _Log(folder, bar, writers, batch, len(data["x"]), read, now - meta.get("seconds", 0.0), now)
        waiting = []  # what the host still owes for the rounds before, done while these are under way
        played, failed = None, []
        rounds = _rounds(schedule, state, data, t, read, steps, seed, batch, spec, dispatch, periods)
        for played in _until_an_error(rounds, failed):
            t, state, current = played.step, played.state, Run(played.game, played.state, folder)
            log.mark += played.compiling
            _settle(waiting)
            bar.update(t - bar.n)
            if due(log_every):
                waiting.append(partial(log.row, played))
            began = time.perf_counter()
            owed = [fn(current, t) for every, fn, *_ in callbacks if due(every)]
            waiting += [partial(log.found, played, finish) for finish in owed if finish]
            log.mark += time.perf_counter() - began  # what a callback dispatches it first compiles
            stopping = bool(stop)  # read once: a signal that comes after this waits for the next round's save
            if saves and (due(checkpoint_every) or stopping):
                _save(saves, played, log, waiting)
            elif saves:
                checkpoint.seal(saves)
            if stopping:
                break
        if saves and failed and played:
            _save(saves, played, log, waiting)
        _settle(waiting)
        for error in failed:
            raise error
    return Run(left_by(schedule, t), state, folder)


class _Played(NamedTuple):
    """What a dispatch has put under way: the State after it, and the metrics of its last round."""

    step: int
    game: Games
    state: State
    metrics: dict[str, jax.Array]  # [] or [members]
    read: int  # batches, since round 0
    compiling: float  # seconds


def _rounds(schedule, state, data, t, read, steps, seed, batch, spec, dispatch, periods):
    """Dispatch the rounds from t to `steps`, some at a time, never across a change of Game or a period's end."""
    n = len(data["x"])
    game, played, previous = left_by(schedule, t), set(), None
    alone = isinstance(game, Game)
    longest = dispatch or (1 if alone and jax.default_backend() == "cpu" else 10)
    own, shared = population.shardings(game)
    place = partial(jax.device_put, device=own)  # as a restored State is: one program for both
    data, state, placed = jax.device_put(data, shared), place(state), place(game)
    while t < steps:
        if schedule(t) is not game:
            game, placed = schedule(t), place(schedule(t))
            state = place(continued(_born(game, seed, spec), state))
        most = min(longest, steps - t, *(every - t % every for every in periods))
        k = next((i for i in range(1, most) if schedule(t + i) is not game), most)
        orders = {i: stream(i, read * batch, k * game.slices * batch, n) for i in set(population.seeds(game, seed))}
        indices = np.stack([orders[i].reshape(k, game.slices, batch) for i in population.seeds(game, seed)])
        indices, new = place(indices[0] if alone else indices), (game, k) not in played
        start, began = jax.device_put(np.int32(t), shared), time.perf_counter()
        with jax.transfer_guard("disallow"):
            state, metrics = _dispatch(placed, state, data, indices, start)
        compiling = new * (time.perf_counter() - began)  # a program's first call returns when it is compiled
        played.add((game, k))
        t, read = t + k, read + k * game.slices
        jax.block_until_ready(previous)  # one dispatch under way, one waiting: never a longer queue
        previous = metrics
        yield _Played(t, game, state, metrics, read, compiling)


@partial(jax.jit, donate_argnums=1)
def _dispatch(games, state, data, indices, t):
    """The rounds of `indices` [k, slices, B], or [members, k, slices, B], as one program; metrics are the last's."""

    def rounds(game, state, indices, data):
        play = lambda state, i: step(game, state, gather(data, i))
        if len(indices) == 1:
            state, metrics = play(state, indices[0])
        else:
            state, metrics = lax.scan(play, state, indices)
            metrics = jax.tree.map(lambda m: m[-1], metrics)
        finite = jnp.stack([jnp.isfinite(m).all() for m in metrics.values()]).all()
        return state, metrics | {"finite": finite}

    return population.advance(games, rounds, t, state, indices, shared=(data,))


_init = jax.jit(population.born, static_argnums=1)


def _born(game, seed, spec, start=None):
    """State at round 0; with `start`, weights, averages and memory are those of that State."""
    state = _init(game, seed, zeros(game, spec))
    if start is None:
        return state
    born = continued(state, start, ("params", "ema", "memory"))
    theirs = {id(x) for x in jax.tree.leaves(start.params)}
    for name, params in born.params.items():
        if not all(id(x) in theirs for x in jax.tree.leaves(params)):
            raise UserError(f"The weights to start from do not fit network {name!r}: its shape must be the same.")
    fresh = {name: state.memory[name] for name in ("skipped", "rule")}
    return jax.tree.map(jnp.copy, born.replace(memory=born.memory | fresh))  # a copy: training donates it


def continued(new, old, *fields):
    """`new` with what it shares with `old`, as `carry`; an average that `old` did not keep begins at the weights."""
    state = carry(new, old, *fields)
    begun = {n: jax.tree.map(jnp.copy, (state.params[n], state.memory[n])) for n in state.ema if n not in old.ema}
    return state.replace(ema=state.ema | begun)


def _settle(waiting):
    """Do what is owed, in order."""
    for task in waiting:
        task()
    waiting.clear()


def _save(saves, played, log, waiting):
    """Save the State of a round, once what is owed for it is done and it is found finite."""
    _settle(waiting)
    _check_finite(played, log.folder)
    seconds = time.perf_counter() - log.began
    checkpoint.save(saves, played.step, played.state, {"seconds": seconds, "metrics": log.at(played.step)})


def _check_best(best, game, state, spec, scores):
    """UserError for what is neither a metric of the game nor a callback's score."""
    one = lambda game, state: step(game, state, zeros(game, spec))
    names = sorted([*jax.eval_shape(partial(population.each, game, one), state)[1], *scores])
    if best.removeprefix("-") not in names:
        raise UserError(f"This game has no metric {best!r} to choose the best by: it has {', '.join(names)}.")


def _check_finite(played, folder):
    """UserError if the training, or every member of a population, is no longer finite."""
    if not np.any(played.metrics["finite"]):
        broken = {name: np.asarray(m).flat[0] for name, m in played.metrics.items() if not np.isfinite(m).all()}
        kept = f"{folder} keeps the last checkpoint before it" if folder else "nothing was saved"
        raise UserError(
            f"{', '.join(f'{name} is {value}' for name, value in broken.items()) or 'Every member has diverged'} "
            f"in round {played.step}: {kept}; lower the learning rates or strengthen the penalty, and start again."
        )


@dataclass
class _Log:
    """Rows of metrics.jsonl, each said aloud, kept, and handed to the writers."""

    folder: Path | None
    bar: tqdm
    writers: Sequence[Callable[[dict], None]]
    batch: int
    n: int  # examples in an epoch
    read: int  # batches read up to the last row
    began: float  # when the run would have, had it never stopped
    mark: float  # the last row's time, put off by what was compiled since
    last: dict[str, Any] = field(default_factory=dict)
    resting: set[int] = field(default_factory=set)  # members that are no longer finite

    def row(self, played: _Played) -> None:
        """Wait for the round's metrics, then write them."""
        _check_finite(played, self.folder)
        now, images = time.perf_counter(), (played.read - self.read) * self.batch * int(played.metrics["finite"].sum())
        row = {
            "step": played.step,
            "seconds": round(now - self.began, 3),
            "images_per_second": round(images / (now - self.mark), 1),
            "epoch": round(played.read * self.batch / self.n, 3),
        }
        self.mark, self.read = now, played.read
        self._write(row, {name: m for name, m in sorted(played.metrics.items()) if name != "finite"}, played)

    def found(self, played: _Played, finish: Callable[[], dict[str, Any] | None]) -> None:
        """Do what a callback still owes, and write the numbers it finds: [] each, or [members]."""
        _check_finite(played, self.folder)
        try:
            numbers = finish()
        except UserError as error:
            goes_on = " The run goes on from its last checkpoint when started again." if self.folder else ""
            raise UserError(f"{error}{goes_on}") from error
        if numbers:
            row = {"step": played.step, "seconds": round(time.perf_counter() - self.began, 3)}
            self._write(row, numbers, played)

    def at(self, t: int) -> dict[str, Any]:
        """All that was written of round t, of a population its means."""
        return self.last if self.last.get("step") == t else {}

    def _write(self, row, numbers, played):
        """A row; of a population a row a member before it, and in it the means and standard errors."""
        numbers, going = {name: np.asarray(m) for name, m in numbers.items()}, np.asarray(played.metrics["finite"])
        rows = []
        for i in np.flatnonzero(going) if going.ndim else ():
            own = {name: float(m[i]) for name, m in numbers.items() if m.ndim}
            rows.append({"step": played.step, "member": int(i)} | own)
        if going.ndim:
            row |= {"members": int(going.sum())}
            self._say_who_rests(np.flatnonzero(~going), played)
        for name, m in numbers.items():
            row |= _mean(name, m[going]) if m.ndim else {name: float(m)}
        self.last = self.at(row["step"]) | row
        if not self.bar.disable:
            said = [f"{name} {value:.4g}" for name, value in row.items() if not name.endswith(" se")]
            self.bar.write("  ".join(said))
        if self.folder:
            path = self.folder / "metrics.jsonl"
            with keeping(path), path.open("a") as file:
                file.write("".join(json.dumps(r) + "\n" for r in [*rows, row]))
        for write in self.writers:
            write(row)

    def _say_who_rests(self, members, played):
        for i in set(members.tolist()) - self.resting:
            self.resting.add(i)
            own = {"seed": played.game.seeds[i]} | played.game.about(i)
            tqdm.write(f"Member {i} ({own}) is no longer finite by round {played.step}: it rests.")


def _mean(name, values):
    """The mean over the members and, from two on, its standard error."""
    values = values.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a score may be infinite
        error = {f"{name} se": float(values.std(ddof=1) / len(values) ** 0.5)} if len(values) > 1 else {}
    return {name: float(values.mean())} | error


def _until_an_error(rounds, failed):
    """`rounds` up to a UserError of the data's source, which goes into `failed`: the State before it is sound."""
    try:
        yield from rounds
    except UserError as error:
        failed.append(error)


@contextmanager
def _opened(folder, about, like, **options):
    """A run's folder, this process's alone meanwhile: where to save, and what the newest sound checkpoint holds."""
    with open_folder(folder, *about):
        found = checkpoint.restore(folder / "checkpoints", like, say=tqdm.write)
        t = found[0] if found else 0
        cut_rows(folder, t)
        saves = checkpoint.open(folder / "checkpoints", **options)
        checkpoint.go_back(saves, t)
        yield saves, found


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
