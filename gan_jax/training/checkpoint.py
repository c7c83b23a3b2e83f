"""Checkpoints of the whole State, written asynchronously and verified before they are restored::

    DIRECTORY/STEP/state, meta     committed by Orbax atomically
    DIRECTORY/STEP/sha256.json     the seal: a checksum of every file, added after the commit,
                                   because Orbax loads most flipped bits without an error

Nothing in a checkpoint is executed. This is the only file that uses Orbax.
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
for name in ("absl", "asyncio"):  # one error per failed save, instead of a traceback for each of its tasks
    logging.getLogger(name).addFilter(lambda record: "orbax" not in record.pathname + record.getMessage())


def open(directory: str | Path, *, keep_last: int = 2, keep_every: int | None = None, best: str | None = None) -> Saves:
    """A manager of the checkpoints in a directory, which is created.

    Args:
        directory: The folder.
        keep_last: Number of latest checkpoints to keep.
        keep_every: Checkpoints at multiples of this step are never deleted.
        best: A metric; the checkpoint whose meta["metrics"] has its lowest value ("-NAME": highest) is kept.

    Raises:
        UserError: The directory cannot be written.
    """
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
    """The metric as a score, higher is better; −∞ if it is missing or not finite."""
    value = metrics.get(best.removeprefix("-"), np.nan) * (1 if best.startswith("-") else -1)
    return value if np.isfinite(value) else -np.inf


def save(saves: Saves, step: int, state: Tree, meta: dict) -> None:
    """Start to save a checkpoint. On return the values have been copied, so that their buffers may be donated.

    Checkpoints of later steps are deleted, and so is a damaged one of this step; an intact one is left as it is.

    Args:
        saves: From `open`.
        step: The step.
        state: A pytree of arrays.
        meta: JSON; its "metrics" decide which checkpoint is best.

    Raises:
        UserError: The disk is too full, or the previous checkpoint could not be written.
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
        state=ocp.args.StandardSave({name: x for name, x in leaves.items() if x.size}),  # Orbax rejects empty arrays
        meta=ocp.args.JsonSave({"meta": meta, "leaves": {name: _kind(x) for name, x in leaves.items()}}),
    )
    with _as_user_error(saves):
        saves.save(step, args=items, metrics=meta.get("metrics", {}), force=True)


def go_back(saves: Saves, step: int) -> None:
    """Delete the checkpoints after `step`, from which the run is resumed: they belong to an abandoned trajectory."""
    for there in sorted((s for s in saves.all_steps() if s > step), reverse=True):
        saves.delete(there)


def seal(saves: Saves) -> None:
    """Write the checksums of committed checkpoints that have none. Returns immediately while a save is in progress.

    Raises:
        UserError: The last save has failed.
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
    """Wait for a save in progress, seal it, and close the manager. Raises UserError if the save failed."""
    try:
        _finish(saves)
        seal(saves)
    except UserError:
        with contextlib.suppress(Exception):
            saves.close()  # it raises the same failure again
        raise
    with _as_user_error(saves):
        saves.close()


def latest_step(directory: str | Path) -> int | None:
    """The latest committed step, intact or not; None if there is none.

    >>> latest_step("no/such/folder") is None
    True
    """
    return max(_steps(directory), default=None)


def restore(
    directory: str | Path, like: Callable[[int], Tree], step: int | None = None, say: Callable[[str], Any] = print
) -> tuple[int, Tree, dict] | None:
    """Restore the latest intact checkpoint, or that of `step`.

    A checkpoint without a seal (the process was killed before it) is used if it can be read.

    Args:
        directory: The folder.
        like: Step -> pytree of `jax.ShapeDtypeStruct`; leaves without a sharding go to the default device.
        step: A step; None: the latest intact one.
        say: Called with a message about each damaged checkpoint that is skipped.

    Returns:
        (step, state, meta); None if there are no checkpoints.

    Raises:
        UserError: There is no such step, all checkpoints are damaged, or shapes and dtypes differ from like(step).
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
        raise UserError(f"{'. '.join(damaged)}. No intact checkpoint is left: restore a copy, or delete {directory}.")
    return None


class _DamagedError(Exception):
    """The files of a checkpoint are damaged; the message says how."""


def _read(folder: Path, abstract: Tree) -> tuple[Tree, dict]:
    if why := _damage(folder):
        raise _DamagedError(why)
    try:
        return _load(folder, abstract)
    except Exception as e:  # corrupt files raise many kinds of errors in Orbax
        if isinstance(e, UserError):
            raise
        raise _DamagedError(f"cannot be read: {_first_line(e)}") from e


def _load(folder: Path, abstract: Tree) -> tuple[Tree, dict]:
    wanted, here = _named(abstract), jnp.zeros(()).sharding
    most = (
        1 + sum(x.size * x.dtype.itemsize for x in wanted.values()) // 10**9
    )  # limits the allocation for a chunk of corrupt size
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
    """Raise a UserError that names the first leaf whose shape or dtype differs."""
    for name in wanted | saved:
        if saved.get(name) != wanted.get(name):
            raise UserError(
                f"Checkpoint {folder} has {saved.get(name, 'nothing')} for {name} where this game has "
                f"{wanted.get(name, 'nothing')}; use the settings it was trained with, or another --run."
            )


def _named(tree: Tree) -> dict[str, Any]:
    """{"params/G/Dense_0/kernel": leaf}, so that the format does not depend on container classes."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}


def _kind(x) -> str:
    return f"{x.dtype}{list(x.shape)}"


def _steps(directory) -> list[int]:
    """Committed steps. Unfinished ones have another name; symbolic links are ignored."""
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
    """The first difference from the seal; None if there is none, or no seal. Links and pipes count as damage."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return f"{path.relative_to(folder)} is not a regular file"
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
    """Wait for a save in progress; UserError if it failed."""
    with _as_user_error(saves):
        saves.wait_until_finished()


@contextlib.contextmanager
def _as_user_error(saves: Saves):
    """Context in which a failed save raises a UserError, with the operating system's message if there is one."""
    try:
        yield
    except Exception as e:
        number = re.search(r"os_error_code='(\d+)'", str(e))
        why = os.strerror(int(number[1])) if number else getattr(e, "strerror", None) or _first_line(e)
        raise UserError(
            f"A checkpoint could not be written to {saves.directory} ({why}): fix that and start again, and the run "
            f"continues from the last one."
        ) from e


def _first_line(e: Exception) -> str:
    return (str(e) or repr(e)).splitlines()[0]


SPARE = 2**20  # upper bound on the bytes of a checkpoint other than its arrays


def _check_room(saves: Saves, leaves: dict[str, Any]) -> None:
    """Raise a UserError if a checkpoint would not fit on the disk, before it is begun and fills the rest."""
    needed = sum(x.size * x.dtype.itemsize for x in leaves.values()) + SPARE
    free = shutil.disk_usage(saves.directory).free
    if free < needed:
        raise UserError(
            f"A checkpoint needs {needed / 1e6:,.1f} MB in {saves.directory}, where {free / 1e6:,.1f} MB are left: "
            f"free some space and start again, and the run continues from the last one."
        )
