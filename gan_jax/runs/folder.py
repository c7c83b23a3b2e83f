"""The folder of a run.

Its files are::

    config.json      identity of the run: paper and preset, hyper-parameters, shapes of a batch, versions, threads
    lock             locked by the training process, whose id it contains
    metrics.jsonl    one row per log
    samples/         STEP.png (or .wav, .txt …), real.png
    checkpoints/     the whole State
"""

import json
import math
import os
import platform
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from gan_jax import limits
from gan_jax.errors import UserError, writing
from gan_jax.training.log import as_json

FORMAT = 1  # version of the run folder, increased when older ones can no longer be read
FREE = {"steps", "data"}  # fields that may change when a run is resumed
MEMBERS = 4_096  # largest population that is read from a file
DTYPES = {"bool", "float16", "bfloat16", "float32", "float64"} | {
    f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)
}


def describe(folder: Path) -> dict[str, Any]:
    """The content of config.json, validated.

    Raises:
        UserError: The file does not exist, cannot be read, or has invalid entries.
    """
    try:
        about = json.loads(limits.text(folder / "config.json"))
    except UserError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is not a run: it has no config.json. Give the folder that --run named.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / 'config.json'} cannot be read ({error}): restore it from a copy.") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError(f"{folder / 'config.json'} is not of format {FORMAT}: {_who_reads(about)}.")
    for entry, why in _flaws(about):
        raise UserError(f"{folder / 'config.json'}: {entry} is {about.get(entry)!r:.60}, {why}.")
    return about


def _who_reads(about):
    """What to do about a config.json of another format."""
    if not isinstance(about, dict) or "format" not in about:
        return "it was not written by gan_jax, so restore it from a copy"
    versions = about.get("versions")
    wrote = versions.get("gan_jax") if isinstance(versions, dict) else None
    return f"it is of {about['format']!r}, so use {f'gan_jax {wrote}' if wrote else 'the version'}, which wrote it"


def _flaws(about):
    """Invalid entries of a config.json as (entry, what is wrong)."""
    for entry, kind in {"paper": str, "data": str, "config": dict, "batch": dict}.items():
        if not isinstance(about.get(entry), kind):
            yield entry, f"not a {kind.__name__}"
            return
    count = lambda n, most: type(n) is int and 0 <= n < most
    sets = [one if isinstance(one, dict) else {"": one} for one in about["batch"].values()]
    for leaf in (leaf for one in sets for leaf in one.values()):
        match leaf:
            case [[*shape], str(dtype)] if dtype in DTYPES and len(shape) <= 8 and all(count(n, 2**63) for n in shape):
                pass
            case _:
                yield "batch", "which must be {name: [shape, dtype]}, or that for each of several sets"
    number = lambda x: type(x) in (int, float) and abs(x) < 2**128  # the range of float32
    match about.get("members"):
        case None:
            pass
        case {"seeds": [_, *_] as seeds, "numbers": dict(numbers)} if (
            len(seeds) <= MEMBERS
            and all(count(seed, 2**32) for seed in seeds)
            and all(isinstance(x, list) and len(x) == len(seeds) and all(map(number, x)) for x in numbers.values())
        ):
            pass
        case _:
            yield "members", f"which must be 1 to {MEMBERS:,} seeds, and numbers {{field: one for each}}"


@contextmanager
def open_folder(folder: Path, about: Mapping[str, Any], notes: Mapping[str, Any] | None = None):
    """Context with a run's locked folder, which is created, or checked to be of the same run.

    Args:
        folder: The folder.
        about: Identity of the run: "paper", "config", "data" (a content hash), "batch" (a Spec), and optionally
            "members", "start" (a checksum of the initial weights) and "game" (a fingerprint).
        notes: Further entries of config.json.

    Raises:
        UserError: The folder holds another run (the fields that differ are named), is in use by another process, or
            cannot be written.
    """
    made = folder / "config.json"  # the first file of a run, except for those of an interrupted start
    strange = {path.name for path in folder.iterdir()} - {"lock", "config.json.tmp"} if folder.is_dir() else set()
    if made.exists():
        describe(folder)
    elif strange:
        raise UserError(f"{folder} is not empty and holds no run: give another --run.")
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(folder))
            if not made.exists():
                text = json.dumps({"format": FORMAT, **about, **(notes or {}), **_surroundings()}, indent=2)
                write_text(made, text + "\n")
            (folder / "samples").mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be written ({error.strerror}): give another --run.") from None
        _check_same(folder, describe(folder), about)
        yield


def _check_same(folder, old, new):
    """Raise a UserError if the folder holds another run."""
    was, now = _identity(old), _identity(new)
    if "start" not in new and any((folder / "checkpoints").glob("[0-9]*")):
        now["start"] = was["start"]  # not needed once the run has a checkpoint
    differ = sorted(field for field in was | now if was.get(field) != now.get(field))
    if differ:
        changes = ", ".join(f"{field} {was.get(field)} → {now.get(field)}" for field in differ)
        raise UserError(f"{folder} holds another run ({changes}): give another --run, or the same values again.")
    alike = _surroundings()["versions"] == old.get("versions")  # another version may trace a game differently
    if alike and "game" in old and "game" in new and old["game"] != new["game"]:
        raise UserError(
            f"{folder} holds a run of another game, with other losses, networks or learning rates: give another run=, "
            "or the game that it was trained with."
        )


@contextmanager
def _locked(folder):
    """Context with the folder's lock, which the operating system releases however the process ends."""
    with (folder / "lock").open("a+") as file:
        try:
            _lock(file)
        except BlockingIOError:
            file.seek(0)
            user = file.read() or "another process"
            raise UserError(f"{folder} is in use by {user}: wait until it has ended, or give another --run.") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def _lock(file):
    try:
        import fcntl
    except ImportError:  # not available on Windows, where two processes in one folder go undetected
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _identity(about):
    config = {field: value for field, value in about["config"].items() if field not in FREE}
    others = {name: about.get(name) for name in ("paper", "data", "members", "start")}
    return config | others


def _surroundings():
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "gan_jax")
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
        "backend": jax.default_backend(),
        "devices": jax.device_count(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, [] without the file. A last line that is incomplete, after a kill, is ignored.

    Raises:
        UserError: The file cannot be read or has a line that is not a row of numbers.

    >>> read_rows(Path("no/such/run"))
    []
    """
    path, rows = folder / "metrics.jsonl", []
    try:
        lines = limits.text(path).splitlines() if path.exists() else []
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it from a copy.") from None
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not _is_row(row):
            raise UserError(f"{path}: line {len(rows) + 1} is {line:.60}, not a row of numbers with a step: remove it.")
        rows.append({name: math.nan if x is None else x for name, x in row.items()})
    return rows


def _is_row(row):
    """Whether this is {"step": round, name: number, …}, where null stands for a number that is not finite."""
    number = lambda x: x is None or isinstance(x, float) or (isinstance(x, int) and abs(x) < 2**53)
    return isinstance(row, dict) and type(row.get("step")) is int and all(map(number, row.values()))


def cut_rows(folder: Path, step: int) -> None:
    """Remove the rows of metrics.jsonl after `step`, from which a run resumes."""
    rows = [json.dumps(as_json(row)) + "\n" for row in read_rows(folder) if row["step"] <= step]
    with writing(folder / "metrics.jsonl"):
        write_text(folder / "metrics.jsonl", "".join(rows))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    draft = path.with_name(path.name + ".tmp")
    draft.unlink(missing_ok=True)  # it might be a symbolic link
    draft.write_text(text)
    draft.replace(path)
