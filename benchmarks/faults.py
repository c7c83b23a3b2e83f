"""Faults injected into a run repeatedly: it is resumed after each, and the lost rounds are counted.

A run survives if it ends like an uninterrupted one, State and metrics bit for bit. dcgan:digits, narrowed as in
kill_and_resume.py, saves so often that some kills happen during a save; all starts share a compilation cache.

    unshare -Urm python benchmarks/faults.py --out experiments/results/faults.json  # unshare: may mount a small disk
    python benchmarks/faults.py --out OUT.json --faults "SIGTERM to one of two" "a picture disappears"
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from benchmarks.fault_kinds import EXPECTED, FAULTS, Training, until
from benchmarks.kill_and_resume import FLAGS, ROOT, TIMES, Command, command, compare, different
from benchmarks.record import record
from gan_jax.data import load
from gan_jax.game import Game
from gan_jax.runs.folder import read_rows
from gan_jax.training.checkpoint import SEAL

COMMAND = "unshare -Urm python benchmarks/faults.py --out experiments/results/faults.json"
DIGITS = FLAGS["dcgan:digits"]
STEPS = dict.fromkeys(FAULTS, DIGITS["steps"]) | {"SIGTERM to one of two": 600}  # two processes are slow on one machine
TOGETHER = """
import socket, subprocess, sys
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
start = lambda i: subprocess.Popen([*sys.argv[1:], "--distributed", f"127.0.0.1:{port}/2/{i}"])
codes = [child.wait() for child in [start(0), start(1)]]
sys.exit(codes[0] if codes[0] == codes[1] else f"they exited with {codes}")
"""
ON_DISK = """
import dataclasses, sys
import gan_jax
from benchmarks.fault_kinds import EXPECTED, FAULTS, Training, until
from benchmarks.kill_and_resume import FLAGS
from gan_jax import data
from gan_jax.cli import flags
from gan_jax.runs import paper as papers
fields = {name.replace("-", "_"): value for name, value in FLAGS["dcgan:digits"].items()}
every = {name: fields.pop(name) for name in ("log_every", "checkpoint_every")}
module, config = papers.configured("dcgan:digits", fields)
with flags.one_line_errors():
    pictures = data.load(sys.argv[2], channels=1, resident=0)
    about = {"paper": "dcgan:digits", "config": dataclasses.asdict(config), "run": sys.argv[1]}
    gan_jax.train(module.game(config), pictures, steps=config.steps, batch=config.batch, **about, **every)
"""


def commands(place: Path) -> dict[str, Command]:
    """The command of the run of each fault; most are the same."""
    alone = command("dcgan:digits", 1)
    on_disk = lambda folder: [sys.executable, "-c", ON_DISK, str(folder), str(place / "pictures")]
    fewer = command("dcgan:digits", 1, STEPS["SIGTERM to one of two"])
    together = lambda folder: [sys.executable, "-c", TOGETHER, *fewer(folder)]
    return dict.fromkeys(FAULTS, alone) | {"SIGTERM to one of two": together, "a picture disappears": on_disk}


def write_pictures(folder: Path, n: int = 400) -> None:
    """n of the embedded digits as PNGs."""
    folder.mkdir()
    for i, image in enumerate(load("digits")["x"][:n, :, :, 0]):
        Image.fromarray(image).save(folder / f"{i:03}.png")


def inject(
    faults: Sequence[str], rows: Sequence[int], run: Training, straight: Path, seed: int = 0, game: Game | None = None
) -> dict:
    """Start `run` repeatedly with each fault at or soon after its row, in order; then train it to its end.

    straight: the folder of an uninterrupted run.
    """
    rng, found = np.random.default_rng(seed), []
    for i, (name, row) in enumerate(zip(faults, rows, strict=True)):
        child = run.start()
        after = max(row, found[-1]["last row"] + 1 if found else 0)
        until(child, lambda after=after: run.last_row() >= after)
        _note_resumption(found, run)
        what = FAULTS[name](child, run, rng, i)
        fell = {
            "fault": name,
            "asked for": row,
            "last row": run.last_row(),
            "checkpoint": run.newest(),
            "unfinished saves": run.unfinished(),
            "sealed": (run.folder / "checkpoints" / str(run.newest()) / SEAL).exists(),
        }
        found.append(fell | what | {"metrics that differ": _differing(run.folder, straight)})
    if run.start().wait(600):
        raise RuntimeError(run.output().read_text())
    _note_resumption(found, run)
    same = compare(straight, run.folder, game)
    for fell in found:
        code, words = EXPECTED[fell["fault"]]
        expected = fell["exit"] == code and any(words in str(value) for value in fell.values())
        ended = not (same["leaves that differ"] or same["metrics that differ"] or fell["metrics that differ"])
        fell["survived"] = expected and ended
    return {"repetitions": found, "in the end": same}


def _note_resumption(found, run):
    """Add to the last fault what the start after it shows: the rounds lost, and the warning of a damaged checkpoint."""
    if found:
        began = run.began_at()
        reached = max(found[-1]["last row"], found[-1]["checkpoint"])
        found[-1] |= {"gone on from": began, "lost rounds": reached - began}
        if found[-1].get("damaged"):
            found[-1]["said"] = run.printed("is damaged")


def _differing(one, other):
    """Values of the first log that are not bit-identical to those of the second at the same round."""
    rows = {row["step"]: row for row in read_rows(other)}
    bits = lambda row: {name: np.asarray(x) for name, x in row.items() if not name.startswith(TIMES)}
    return [f"{name} in row {r['step']}" for r in read_rows(one) for name in different(bits(r), bits(rows[r["step"]]))]


def totals(repetitions: Sequence[dict]) -> dict:
    lost, seconds = ([fell[name] for fell in repetitions] for name in ("lost rounds", "seconds"))
    return {
        "repetitions": len(repetitions),
        "survived": sum(fell["survived"] for fell in repetitions),
        "with an unfinished save": sum(bool(fell["unfinished saves"]) for fell in repetitions),
        "lost rounds": {"mean": float(np.mean(lost)), "max": max(lost)},
        "seconds to the exit": {"mean": round(float(np.mean(seconds)), 2), "max": max(seconds)},
    }


@contextmanager
def small_disk(folder: Path, megabytes: int = 48):
    """A disk in memory, mounted at `folder`."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


ALONE = ("SIGKILL", "SIGTERM", "truncated", "bit flipped", "two processes", "disk full")


def main(out: Path, times: int = 20, seed: int = 0, faults: tuple[str, ...] = ALONE) -> None:
    """Inject each of --faults --times times, and write what happened to --out."""
    every, found = DIGITS["log-every"], {}
    with ExitStack() as held:
        place = Path(held.enter_context(tempfile.TemporaryDirectory()))
        disk = held.enter_context(small_disk(place / "disk")) if "disk full" in faults else place
        write_pictures(place / "pictures")
        env = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(place / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": str(ROOT),
        }
        starts, straight = commands(place), {}  # an uninterrupted run for each command
        for name in faults:
            command = starts[name]
            if command not in straight:
                straight[command] = place / f"straight-{len(straight)}"
                subprocess.run(command(straight[command]), env=env, capture_output=True, check=True)
            rng = np.random.default_rng([seed, list(FAULTS).index(name)])
            rows = sorted(rng.choice(np.arange(every, STEPS[name] - 150, every), times, replace=False).tolist())
            run = Training((disk if name == "disk full" else place) / "run", place, command, env)
            found[name] = inject([name] * times, rows, run, straight[command], seed)
            shutil.rmtree(run.folder)
            print(name, totals(found[name]["repetitions"]), flush=True)
            total = {name: totals(result["repetitions"]) for name, result in found.items()}
            how = {"command": COMMAND} if faults == ALONE else {}
            record(out, **how, recipe="dcgan:digits", flags=DIGITS, seed=seed, totals=total, results=found)


if __name__ == "__main__":
    tyro.cli(main)
