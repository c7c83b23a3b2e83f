"""`train`: a game on data, in a folder or in memory."""

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from gan_jax import limits
from gan_jax.data import as_data, check_enough, content_hash, several
from gan_jax.engine import step
from gan_jax.errors import UserError
from gan_jax.game import State
from gan_jax.population import Games
from gan_jax.runs.folder import cut_rows, describe, open_folder
from gan_jax.runs.pictures import finish, pictures
from gan_jax.runs.replay import first_fault
from gan_jax.runs.run import Run
from gan_jax.training import checkpoint, parallel
from gan_jax.training.cache import keep_programs
from gan_jax.training.loop import NotFiniteError, Start, check_best, loop
from gan_jax.training.options import check_counts, check_seed, options
from gan_jax.training.report import Report
from gan_jax.training.rounds import Training
from gan_jax.training.spec import Schedule, abstract_state, as_schedule, batch_spec, game_at, zeros

SAMPLE_EVERY = 500  # rounds between pictures of a run of one's own game


def train(
    game: Games | Schedule,
    data: Any,
    *,
    steps: int,
    batch: int = 64,
    seed: int = 0,
    run: str | Path | None = None,
    start: Run | State | None = None,
    state: State | None = None,
    paper: str = "",
    config: Mapping[str, Any] | None = None,
    **given: Any,
) -> Run:
    """Train `game` on `data` up to round `steps`; a run already in the folder `run` goes on from its checkpoint.

    Args:
        game: a Game, a Population, or a schedule round -> either that returns one of a few made beforehand.
        data: an array [n, …] or {"x": [n, …], "y": [n]}, in memory or OnDisk; or several such sets that are not paired,
            {"A": {"x": …}, "B": {"x": …}}. uint8 becomes float32 in [-1, 1] on the device.
        steps: rounds in all. batch: examples in each slice of a round. seed: of initialisation, noise and data order.
        run: a folder; None keeps the result in memory.
        start: a run, or its State, whose weights and averages this training starts from.
        state: a State of this very game, of any round, to go on from; not with a `run`, whose checkpoints say that.
        paper, config: what config.json says of where the game comes from, and every number it was made with.
        given: fields of `Saving`, `Logging` and `Devices` in gan_jax.training.options, such as log_every=100.

    Raises:
        UserError: data that does not fit, another run or another process in the folder, a file that cannot be written,
            and a loss or gradient that is no longer finite: the run stops, and the last good checkpoint stays.
        SystemExit, KeyboardInterrupt: after SIGTERM and Ctrl-C, once the State is saved.
    """
    saving, logging, devices = options(given)
    check_counts(batch=batch, **{"steps": steps} if steps else {})
    check_seed(seed)
    if devices.cache:
        keep_programs()
    folder = None if run is None else limits.path(run).absolute()
    training = prepare(game, data, batch, seed, devices, folder)
    begin = _start(training, folder, start, state)
    check_best(training, begin.state, saving, logging, begin.t)
    with ExitStack() as stack:
        if folder:
            about = identity(training, paper, config, start)
            begin = stack.enter_context(_opened(training, folder, begin, about, _notes(start)))
            logging = logging if paper else _with_pictures(training, folder, logging)
        report = Report(steps, begin.t, logging.progress, logging.verbose, header(training, begin.state, paper))
        stack.enter_context(_advice(training, folder, paper, start, state, logging.progress))
        how = {"saving": saving, "logging": logging, "devices": devices, "report": report}
        t, last = loop(training, begin, steps, folder=folder, as_run=partial(_as_run, folder), **how)
    if folder and parallel.first():
        finish(folder)
    return _as_run(folder, game_at(training.schedule, t), last)


def _as_run(folder, game, state):
    return Run(game, state, folder)


@contextmanager
def _opened(training, folder, begin, about, notes):
    """The run's folder, locked; yields where the training goes on: its newest sound checkpoint, or round 0."""
    say = tqdm.write if parallel.first() else lambda line: None
    with ExitStack() as stack:
        parallel.first_alone(lambda: stack.enter_context(open_folder(folder, about, notes)))
        found = checkpoint.restore(folder / "checkpoints", training.abstract, say=say)
        if found:
            begin = Start(*found)
        elif begin.t:  # every checkpoint that there was is gone
            begin = Start(0, training.initial(), {})
        parallel.first_alone(lambda: cut_rows(folder, begin.t))
        yield begin


def _with_pictures(training, folder, logging):
    """Of one's own game too: pages of samples, where it says how to sample."""
    if not game_at(training.schedule, 0).sample:
        return logging
    draw = pictures(training.data, training.seed, folder)
    return dataclasses.replace(logging, callbacks=[*logging.callbacks, (SAMPLE_EVERY, draw)])


def prepare(game: Any, data: Any, batch: int, seed: int, devices: Any, folder: Path | None) -> Training:
    """What is trained on what, and where it runs. UserError for data that is too little or does not fit."""
    schedule, data = as_schedule(game), as_data(data)
    first = schedule(0)
    check_enough(data, first.batch or batch)
    first.check(data)
    members = len(first.data_seeds(seed)) if first.axis else 0
    layout = parallel.layout(first.batch or batch, members, devices.devices, devices.split_from)
    origin = describe(folder).get("fork", {}) if folder and (folder / "config.json").exists() else {}
    training = Training(schedule, data, batch, seed, batch_spec(data, batch), layout)
    if "examples" in origin:
        training = dataclasses.replace(training, origin=(origin["step"], origin["examples"]))
    return training


def header(training: Training, state: State, paper: str) -> str:
    """One line: what is trained, on what, how large, and where."""
    data: Any = training.data
    sets = []
    for name, one in data.items() if several(data) else [("", data)]:
        shape = "x".join(map(str, one["x"].shape[1:])) or "numbers"
        sets.append(f"{name} {len(one['x']):,} of {shape}".strip())
    game = game_at(training.schedule, 0)
    size = lambda params: sum(math.prod(x.shape[game.axis :]) for x in jax.tree.leaves(params))
    weights = ", ".join(f"{name} {_thousands(size(params))}" for name, params in state.params.items())
    members = f" · {len(game.data_seeds(0))} members" if game.axis else ""
    device, count = jax.devices()[0].platform, training.layout.mesh.size
    where = f"{count} {device} device{'s' * (count > 1)}"
    return f"{paper or 'your game'} · {' and '.join(sets)} · weights: {weights}{members} · {where}"


def _thousands(n):
    return f"{n / 1e6:.1f}M" if n >= 1e6 else f"{n / 1e3:.0f}k" if n >= 1000 else str(n)


def _start(training, folder, start, state):
    """Where the training begins: at a State given, or at shapes that a checkpoint has, or at round 0.

    A game that cannot be played fails here, before a folder is made.
    """
    if state is not None:
        if folder:
            raise UserError(f"A State to go on from and the folder {folder}, which has its own, are one too many.")
        if start is not None:
            raise UserError("A State to go on from and a run to start from are one too many: leave out `start`.")
        state = jax.tree.map(jax.numpy.copy, state)  # training donates it
        return Start(int(np.asarray(state.step).max()), state, {})
    latest = (checkpoint.latest_step(folder / "checkpoints") if folder else None) or 0
    found = training.abstract(latest) if latest else training.initial(_weights(start))
    return Start(latest, found, {})


def _weights(start):
    return start.state if isinstance(start, Run) else start


def identity(
    training: Training, paper: str, config: Mapping[str, Any] | None, start: Run | State | None = None
) -> dict[str, Any]:
    """What a run is, for config.json: two starts in one folder must agree in it."""
    game = game_at(training.schedule, 0)
    about = {
        "paper": paper,
        "config": {"batch": training.batch, "seed": training.seed} | dict(config or {}),
        "data": content_hash(training.data),
        "batch": dict(training.spec),
    }
    about |= {"members": game.describe()} if game.axis else {}
    about |= {"start": checksum(_weights(start).params)} if start is not None else {}
    return about | ({} if paper else {"game": fingerprint(game, training.spec)})


def _notes(start):
    """Where the weights to start from lie, for whoever reads config.json."""
    return {"from": str(start.folder)} if isinstance(start, Run) and start.folder else {}


def checksum(tree: Any) -> str:
    """16 hexadecimal digits of the sha256 of all leaves."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def fingerprint(game: Games, spec: Any) -> str:
    """16 hexadecimal digits that change with a game's networks, losses, optimisers and numbers: a hash of its round as
    JAX traces it."""
    one = lambda member, state: step(member, state, zeros(member, spec))
    program = str(jax.make_jaxpr(partial(game.each, one))(abstract_state(game, spec)))
    return hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", program).encode()).hexdigest()[:16]


@contextmanager
def _advice(training, folder, paper, start, given, progress):
    """UserError in place of NotFiniteError: what broke, where, and how to go on."""
    try:
        yield
    except NotFiniteError as error:
        what, played = error.args
    else:
        return
    kept = folder and checkpoint.latest_step(folder / "checkpoints")
    how = "lower the learning rates or strengthen the penalty, and start again"
    if kept and paper:
        how = f"{how} from there, as `python -m gan_jax fork {folder} --set FIELD=VALUE` does"
    place = f"{folder} keeps the last checkpoint before it, of round {kept}" if kept else "nothing was saved"
    where = (
        f" `python -m gan_jax replay {folder} --member 0` tells where it broke." if played.game.axis and paper else ""
    )
    if not played.game.axis and jax.process_count() == 1:
        tqdm.write(f"Round {played.step} is not finite: playing again from round {kept or 0} on to see why.")
        found = checkpoint.restore(folder / "checkpoints", training.abstract, say=tqdm.write) if folder else None
        state = found[1] if found else training.initial(_weights(start)) if given is None else given
        fault = first_fault(training, state, played.step, progress=progress)
        where = f" {fault}." if fault else " Played again, it stays finite."
    raise UserError(f"{what} in round {played.step}: {place}; {how}.{where}")
