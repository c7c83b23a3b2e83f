"""`train`: train a game on data, in a run folder or in memory."""

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

SAMPLE_EVERY = 500  # rounds between pictures of samples, for games that are not of a paper


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
    """Train a game on data up to round `steps`. A run that is already in the folder resumes from its last checkpoint.

    Args:
        game: A Game, a Population, or a schedule: round -> one of several of these that exist beforehand.
        data: An array [n, …] or {"x": [n, …], "y": [n]}, in memory or OnDisk; or several unpaired sets
            {"A": {"x": …}, "B": {"x": …}}. uint8 is converted to float32 in [-1, 1] on the device.
        steps: Total number of rounds.
        batch: Batch size: examples in each slice of a round.
        seed: Seed of initialisation, noise and data order.
        run: The run's folder; None: nothing is written.
        start: A Run or State whose weights and averages initialise this training.
        state: A State of this game from which to continue at its round; not together with `run`.
        paper: Name "paper:preset" for config.json.
        config: Hyper-parameters for config.json.
        given: Fields of `Saving`, `Logging` and `Devices` (gan_jax.training.options), such as log_every=100.

    Returns:
        The trained Run.

    Raises:
        UserError: The data do not fit the game, the folder has another run or is in use, a file cannot be written, or a
            loss or gradient is no longer finite (the last good checkpoint is kept).
        SystemExit, KeyboardInterrupt: After SIGTERM or Ctrl-C, once the State is saved.

    Example::

        run = gan_jax.train(game, images, steps=2000, run="runs/mine", log_every=50)
        run.sample(0, 64)["x"]    # [64, h, w, c]
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
    """Context with the locked run folder; yields the Start: the latest intact checkpoint, or round 0."""
    say = tqdm.write if parallel.first() else lambda line: None
    with ExitStack() as stack:
        parallel.first_alone(lambda: stack.enter_context(open_folder(folder, about, notes)))
        found = checkpoint.restore(folder / "checkpoints", training.abstract, say=say)
        if found:
            begin = Start(*found)
        elif begin.t:  # all checkpoints have been deleted
            begin = Start(0, training.initial(), {})
        parallel.first_alone(lambda: cut_rows(folder, begin.t))
        yield begin


def _with_pictures(training, folder, logging):
    """Logging with a callback that saves pictures of samples, if the game has a sampler."""
    if not game_at(training.schedule, 0).sample:
        return logging
    draw = pictures(training.data, training.seed, folder)
    return dataclasses.replace(logging, callbacks=[*logging.callbacks, (SAMPLE_EVERY, draw)])


def prepare(game: Any, data: Any, batch: int, seed: int, devices: Any, folder: Path | None) -> Training:
    """The Training of a game on data.

    Args:
        game: A Game, a Population, or a schedule.
        data: As for `train`.
        batch: Batch size.
        seed: Seed of initialisation, noise and data order.
        devices: `Devices`.
        folder: The run's folder; a fork's config.json says from where in the data it continues.

    Raises:
        UserError: There is less data than a batch, it does not fit the game, or the batch does not fit the devices.
    """
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
    """The line printed at the start: game, data, numbers of weights, devices."""
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
    """The Start: a given State, the shapes of the latest checkpoint, or round 0.

    The game is traced here, before the folder is created, so that a failing game leaves nothing behind.
    """
    if state is not None:
        if folder:
            raise UserError(f"Both state= and a run folder, {folder}, are given: leave out one of them.")
        if start is not None:
            raise UserError("Both state= and start= are given: leave out one of them.")
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
    """The entries of config.json that identify a run: a training resumes in a folder only if they agree.

    Args:
        training: What is trained on what.
        paper: Name "paper:preset", or "".
        config: Hyper-parameters.
        start: The Run or State that initialised the weights.
    """
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
    """For config.json: the folder of the run that initialised the weights."""
    return {"from": str(start.folder)} if isinstance(start, Run) and start.folder else {}


def checksum(tree: Any) -> str:
    """The first 16 hexadecimal digits of the sha256 of all leaves.

    >>> checksum({"w": np.zeros(3)})
    '9d908ecfb6b256de'
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def fingerprint(game: Games, spec: Any) -> str:
    """16 hexadecimal digits that identify a game's computation: a hash of the jaxpr of a round."""
    one = lambda member, state: step(member, state, zeros(member, spec))
    program = str(jax.make_jaxpr(partial(game.each, one))(abstract_state(game, spec)))
    return hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", program).encode()).hexdigest()[:16]


@contextmanager
def _advice(training, folder, paper, start, given, progress):
    """Context that replaces NotFiniteError by a UserError with the cause and what to do."""
    try:
        yield
    except NotFiniteError as error:
        what, played = error.args
    else:
        return
    kept = folder and checkpoint.latest_step(folder / "checkpoints")
    how = "lower the learning rates or strengthen the penalty, and start again"
    if kept and paper:
        how = f"{how} from there, with `python -m gan_jax fork {folder} --set FIELD=VALUE`"
    place = f"the last checkpoint before it in {folder} is of round {kept}" if kept else "nothing was saved"
    where = f" `python -m gan_jax replay {folder} --member 0` finds the cause." if played.game.axis and paper else ""
    if not played.game.axis and jax.process_count() == 1:
        tqdm.write(f"Round {played.step} is not finite: repeating the rounds from {kept or 0} on to find the cause.")
        found = checkpoint.restore(folder / "checkpoints", training.abstract, say=tqdm.write) if folder else None
        state = found[1] if found else training.initial(_weights(start)) if given is None else given
        fault = first_fault(training, state, played.step, progress=progress)
        where = f" {fault}." if fault else " Repeated, the rounds are finite."
    raise UserError(f"{what} in round {played.step}: {place}; {how}.{where}")
