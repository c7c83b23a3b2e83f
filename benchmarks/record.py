"""A measurement as one JSON file, with what is needed to repeat it.

A run group, as experiments/results/table.py reads it:

    paper      "dcgan:digits"
    ran        "3,000 of the recipe's 6,000 rounds"
    share      0.5, of the recipe
    scores     {"precision": mean_se([0.93, 0.95, 0.94])}
    published  {"value": "0.94 ± 0.01", "protocol": "…"}, values in the order of the scores, or null
    headline   the score that the README shows; by default all that are published
    label      its name in the README
    seeds      [0, 1, 2]
    seconds    wall time of one run
    finding    what was compared with what, in words
    notes      what is seen in the samples

Other fields are written as they are. command, commit, versions, hardware and date are filled in unless given.
"""

import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn", "torch")


def record(path: str | Path, **fields) -> dict:
    """Write the fields, with their origin, to a JSON file, atomically; returns what was written."""
    row = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
    } | fields
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(row, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    unfinished.replace(path)
    return row


def mean_se(values: Sequence[float]) -> dict:
    """The mean, its standard error s / √n (None for one value), and the values.

    >>> mean_se([1.0, 3.0])
    {'mean': 2.0, 'se': 1.0, 'values': [1.0, 3.0]}
    """
    x = np.asarray(values, np.float64)
    se = float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else None
    return {"mean": float(x.mean()), "se": se, "values": x.tolist()}


def commit() -> str:
    """The checked-out commit, with -dirty if tracked files other than results and their pictures differ from it."""
    git = lambda *args: subprocess.run(
        ["git", *args], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        but = [f":(top,exclude)experiments/results/*.{kind}" for kind in ("json", "png", "gif")]
        changed = git("status", "--porcelain", "-uno", "--", ":/", *but)
        return git("rev-parse", "--short=12", "HEAD") + "-dirty" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def versions() -> dict[str, str]:
    """Of Python and PACKAGES."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def hardware() -> str:
    """The accelerators that JAX sees, else the CPU and the number of cores that this process may use."""
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{jax.device_count()} x {device.device_kind}"
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    name = (names or [platform.processor() or platform.machine()])[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"
