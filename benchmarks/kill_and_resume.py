"""Whether a run that is killed at random and resumed equals an uninterrupted one: State and metrics, bit for bit.

dcgan:digits is narrowed so that it compiles in seconds; it keeps its batch statistics, dropout and averages. cyclegan,
on digits and their negatives, has two data orders, four optimizers, two image pools and a learning rate schedule.
Checkpoints are frequent, so that some kills happen during a save.

    python benchmarks/kill_and_resume.py dcgan:digits --out OUT.json
    python benchmarks/kill_and_resume.py cyclegan:mnist-inverted --out OUT.json
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.record import record
from gan_jax import load
from gan_jax.game import Game
from gan_jax.runs.folder import read_rows

ROOT = Path(__file__).resolve().parents[1]
OFTEN = {"batch": 8, "steps": 1500, "log-every": 10, "checkpoint-every": 50}
SMALL = {"data": "digits", "size": 16, "edge": 0, "width": 4, "blocks": 1, "width-D": 4, "batch": 2, "steps": 900}
FLAGS: dict[str, dict[str, Any]] = {
    "dcgan:digits": OFTEN | {"width-G": 8, "width-D": 8},
    "cyclegan:mnist-inverted": OFTEN | SMALL | {"schedule-steps": 900},
}
TIMES = ("seconds", "images_per_second")
Command = Callable[[Path], list[str]]  # the run's folder -> the command that starts or resumes it


def command(title: str, dispatch: int, steps: int = 0) -> Command:
    paper, _, preset = title.partition(":")
    steps = steps or FLAGS[title]["steps"]
    flags = FLAGS[title] | {"steps": steps, "sample-every": steps, "dispatch": dispatch}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    script = str(ROOT / "experiments" / f"{paper}.py")
    return lambda folder: [sys.executable, script, preset, *words, "--run", str(folder)]


def kill_and_resume(
    command: Command, steps: list[int], folder: Path, game: Game | None = None, env: Mapping[str, str] | None = None
) -> dict:
    """Run in folder/straight uninterrupted and in folder/killed with a kill at each of `steps`; compare both."""
    straight, killed, kills = folder / "straight", folder / "killed", []
    for step in steps:
        after = kills[-1]["last row"] + 1 if kills else 0
        child = subprocess.Popen(command(killed), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        kills.append(kill_at(child, killed, max(step, after)))
    for place in (killed, straight):
        subprocess.run(command(place), env=env, capture_output=True, check=True)
    return {"kills": kills} | compare(straight, killed, game)


def kill_at(child: subprocess.Popen, folder: Path, step: int) -> dict:
    """SIGKILL as soon as metrics.jsonl has a row of round `step` or later; what the folder held at that time."""
    last = lambda: max((row["step"] for row in read_rows(folder)), default=0)
    while last() < step:
        if child.poll() is not None:
            raise RuntimeError(f"{child.args} exited with {child.returncode} before round {step}")
        time.sleep(1e-3)
    child.kill()
    child.wait()
    names = [path.name for path in (folder / "checkpoints").iterdir()]
    return {
        "asked for": step,
        "last row": last(),
        "checkpoint": max((int(name) for name in names if name.isdigit()), default=0),
        "a save in progress": any(not name.isdigit() for name in names),
    }


def compare(one: Path, other: Path, game: Game | None = None) -> dict:
    """Leaves of the two States, and values of the two logs, that are not bit-identical."""
    states = [load(folder, game).state for folder in (one, other)]
    raw = lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
    leaves = [{jax.tree_util.keystr(path): raw(x) for path, x in jax.tree.leaves_with_path(s)} for s in states]
    rows = [[(f"{name} in row {row['step']}", row[name]) for row in read_rows(f) for name in row] for f in (one, other)]
    values = [{name: np.asarray(x) for name, x in row if not name.startswith(TIMES)} for row in rows]
    return {
        "leaves": len(leaves[0]),
        "leaves that differ": different(*leaves),
        "metrics": len(values[0]),
        "metrics that differ": different(*values),
    }


def different(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """Names of values that are missing in one, or differ in dtype or bits."""
    bits = lambda x: (x.dtype, x.tobytes()) if x is not None else None
    return [name for name in one | other if bits(one.get(name)) != bits(other.get(name))]


def main(title: tyro.conf.Positional[str], /, out: Path, kills: int = 5, seed: int = 0) -> None:
    """Kill PAPER:PRESET at --kills random rounds, with 1 and with 10 rounds per dispatch."""
    found, flags = {}, FLAGS[title]
    for dispatch in (1, 10):
        rows = np.arange(flags["log-every"], flags["steps"], flags["log-every"])
        steps = sorted(np.random.default_rng([seed, dispatch]).choice(rows, kills, replace=False).tolist())
        with tempfile.TemporaryDirectory() as folder:
            found[f"{dispatch} rounds per dispatch"] = kill_and_resume(command(title, dispatch), steps, Path(folder))
    record(out, recipe=title, flags=flags, seed=seed, results=found)


if __name__ == "__main__":
    tyro.cli(main)
