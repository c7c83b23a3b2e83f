"""Checkpoints: the whole state, written while training goes on, and checked before it is believed.

    DIRECTORY/STEP/state, meta     committed by Orbax, whole or not at all
    DIRECTORY/STEP/sha256.json     the seal: a checksum of every file, added after the commit,
                                   because Orbax loads most flipped bits without a word

A file from outside is data: nothing that is loaded here executes. Orbax is used in this file only.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from gan_jax import limits
from gan_jax.errors import UserError, writing

Tree = Any  # a pytree of arrays
Saves = ocp.CheckpointManager
SEAL = "sha256.json"
for name in ("absl", "asyncio"):  # a save that fails is told once, not in a traceback for each of its tasks
    logging.getLogger(name).addFilter(lambda record: "orbax" not in record.pathname + record.getMessage())


def open(directory: str | Path, *, keep_last: int = 2, keep_every: int | None = None, best: str | None = None) -> Saves:
    """Where to save. Kept are the last few steps, the multiples of `keep_every`, and the one step whose
    meta["metrics"] has the lowest `best` ("-name": the highest). UserError where nothing can be written."""
    directory = Path(directory).absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as e:
        raise UserError(f"Cannot write checkpoints to {directory} ({e.strerror}); choose another --run.") from e
    policies = ocp.checkpoint_managers
    score = lambda metrics: _score(metrics, best or "")
    kept: list[policies.PreservationPolicy] = [policies.LatestN(keep_last)]
    if keep_every:
        kept.append(policies.EveryNSteps(keep_every))
    if best:
        kept.append(policies.BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy(kept),
        best_fn=score if best else None,  # also has Orbax store the metrics
        cleanup_tmp_directories=True,
    )
    return ocp.CheckpointManager(directory, options=options)


def _score(metrics: dict, best: str) -> float:
    """Higher is better; a metric that is missing or not finite is the worst."""
    value = metrics.get(best.removeprefix("-"), np.nan) * (1 if best.startswith("-") else -1)
    return value if np.isfinite(value) else -np.inf


def save(saves: Saves, step: int, state: Tree, meta: dict) -> None:
    """Start to write `state` and the JSON `meta`; on return the values are copied and may be donated.

    What is there at a later step is dropped, and so is a damaged checkpoint at this very step; a sound one stays as it
    is. UserError if there is no room for this one, or if the one before could not be written.
    """
    _finish(saves)
    seal(saves)
    leaves = _named(state)
    go_back(saves, step)
    if step in saves.all_steps():
        if not _damage(Path(saves.directory) / str(step)):
            return
        saves.delete(step)
    _check_room(saves, leaves)
    items = ocp.args.Composite(
        state=ocp.args.StandardSave({name: x for name, x in leaves.items() if x.size}),  # Orbax refuses empty ones
        meta=ocp.args.JsonSave({"meta": meta, "leaves": {name: _kind(x) for name, x in leaves.items()}}),
    )
    with _told(saves):
        saves.save(step, args=items, metrics=meta.get("metrics", {}), force=True)


def go_back(saves: Saves, step: int) -> None:
    """Drop what lies after `step`, from which the run goes on: it is no longer its future, and would be kept for it."""
    for there in sorted((s for s in saves.all_steps() if s > step), reverse=True):
        saves.delete(there)


def seal(saves: Saves) -> None:
    """Write the checksums of each committed step that has none. Returns at once while a save is under way.

    UserError if the last save has failed.
    """
    if saves.is_saving_in_progress():
        return
    _finish(saves)
    if jax.process_index() != 0:
        return
    for step in _steps(saves.directory):
        folder = Path(saves.directory) / str(step)
        if not (folder / SEAL).exists():
            unfinished = folder / f"{SEAL}.tmp"
            unfinished.unlink(missing_ok=True)  # it might be a link to elsewhere
            with writing(folder / SEAL):
                unfinished.write_text(json.dumps(_checksums(folder), indent=1))
                unfinished.replace(folder / SEAL)


def close(saves: Saves) -> None:
    """Wait for the save under way, and seal it."""
    try:
        _finish(saves)
        seal(saves)
    except UserError:
        with contextlib.suppress(Exception):
            saves.close()  # it tells of the same failure again
        raise
    with _told(saves):
        saves.close()


def latest_step(directory: str | Path) -> int | None:
    """The newest committed step, sound or not."""
    return max(_steps(directory), default=None)


def restore(
    directory: str | Path, like: Callable[[int], Tree], step: int | None = None, say: Callable[[str], Any] = print
) -> tuple[int, Tree, dict] | None:
    """(step, state, meta) of the newest sound checkpoint, or of `step`; None when there are none.

    Each leaf lands where its `ShapeDtypeStruct` in like(step) says, by default on the default device. A checkpoint
    that a kill left unsealed is used if it can be read. A damaged one is passed over, and `say` is told.
    UserError if all are damaged, or if the state is not of the shapes and types of like(step).
    """
    directory = Path(directory).absolute()
    steps, damaged = sorted(_steps(directory), reverse=True), []
    if step is not None and step not in steps:
        raise UserError(f"There is no checkpoint {step} in {directory}; there are {sorted(steps)}.")
    for s in steps if step is None else [step]:
        folder = directory / str(s)
        try:
            state, meta = _read(folder, like(s))
        except _DamagedError as e:
            damaged.append(f"Checkpoint {folder} is damaged ({e})")
            continue
        for line in damaged:
            say(f"{line}; using step {s} instead.")
        return s, state, meta
    if damaged:
        raise UserError(f"{'. '.join(damaged)}. None is left to use: put back a copy, or remove {directory}.")
    return None


class _DamagedError(Exception):
    """What is wrong with a checkpoint's files."""


def _read(folder: Path, abstract: Tree) -> tuple[Tree, dict]:
    if why := _damage(folder):
        raise _DamagedError(why)
    try:
        return _load(folder, abstract)
    except Exception as e:  # whatever a broken file makes Orbax say
        if isinstance(e, UserError):
            raise
        raise _DamagedError(f"cannot be read: {_first_line(e)}") from e


def _load(folder: Path, abstract: Tree) -> tuple[Tree, dict]:
    wanted, here = _named(abstract), jnp.zeros(()).sharding
    most = 1 + sum(x.size * x.dtype.itemsize for x in wanted.values()) // 10**9  # or a chunk of any size is believed
    handlers = {"state": ocp.StandardCheckpointHandler(restore_concurrent_gb=most), "meta": ocp.JsonCheckpointHandler()}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler(**handlers)) as orbax:
        saved = orbax.restore(folder, ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
        if not isinstance(saved["meta"], dict) or not isinstance(saved["leaves"], dict):
            raise _DamagedError("meta is not of this format")
        _compare(folder, saved["leaves"], {name: _kind(x) for name, x in wanted.items()})
        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding or here)
        target = {name: place(x) for name, x in wanted.items() if x.size}
        found = orbax.restore(folder, ocp.args.Composite(state=ocp.args.StandardRestore(target))).state
    leaves = [found[name] if x.size else jnp.zeros(x.shape, x.dtype) for name, x in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves), saved["meta"]


def _compare(folder: Path, saved: dict[str, str], wanted: dict[str, str]) -> None:
    """UserError naming the first leaf that is not the same in both."""
    for name in wanted | saved:
        if saved.get(name) != wanted.get(name):
            raise UserError(
                f"Checkpoint {folder} has {saved.get(name, 'nothing')} for {name} where this game has "
                f"{wanted.get(name, 'nothing')}; use the settings it was trained with, or another --run."
            )


def _named(tree: Tree) -> dict[str, Any]:
    """{"params/G/Dense_0/kernel": leaf}: what is stored does not depend on the containers' classes."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}


def _kind(x) -> str:
    return f"{x.dtype}{list(x.shape)}"


def _steps(directory) -> list[int]:
    """Committed steps; what Orbax is still writing has another name. Links to elsewhere are none."""
    directory = Path(directory)
    step = lambda p: re.fullmatch("0|[1-9][0-9]{0,9}", p.name) and p.is_dir() and not p.is_symlink()
    return sorted(int(p.name) for p in directory.iterdir() if step(p)) if directory.is_dir() else []


def _checksums(folder: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(SEAL)):
        with path.open("rb") as file:
            sums[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _damage(folder: Path) -> str | None:
    """What is not as it was sealed; None when all is, or when nothing was. Links and pipes are damage."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return f"{path.relative_to(folder)} is no plain file"
    if not (folder / SEAL).exists():
        return None
    try:
        sealed = dict(json.loads(limits.text(folder / SEAL)))
    except (OSError, ValueError, TypeError, RecursionError):
        return f"{SEAL} cannot be read"
    now = _checksums(folder)
    wrong = [name for name in sealed | now if sealed.get(name) != now.get(name)]
    return f"{wrong[0]} {'has changed' if wrong[0] in now else 'is missing'}" if wrong else None


def _finish(saves: Saves) -> None:
    """Wait for the save under way; UserError if it failed."""
    with _told(saves):
        saves.wait_until_finished()


@contextlib.contextmanager
def _told(saves: Saves):
    """UserError for whatever keeps Orbax from saving: the system's own words where it passes them on."""
    try:
        yield
    except Exception as e:
        number = re.search(r"os_error_code='(\d+)'", str(e))
        why = os.strerror(int(number[1])) if number else getattr(e, "strerror", None) or _first_line(e)
        raise UserError(
            f"A checkpoint could not be written to {saves.directory} ({why}): mend that and start again, and the run "
            f"goes on from the last one."
        ) from e


def _first_line(e: Exception) -> str:
    return (str(e) or repr(e)).splitlines()[0]


SPARE = 2**20  # bytes of a checkpoint beside its leaves, at most


def _check_room(saves: Saves, leaves: dict[str, Any]) -> None:
    """UserError where a checkpoint would not fit: begun, it would fill the disk and be of no use."""
    needed = sum(x.size * x.dtype.itemsize for x in leaves.values()) + SPARE
    free = shutil.disk_usage(saves.directory).free
    if free < needed:
        raise UserError(
            f"A checkpoint needs {needed / 1e6:,.1f} MB in {saves.directory}, where {free / 1e6:,.1f} MB are left: "
            f"make room and start again, and the run goes on from the last one."
        )
