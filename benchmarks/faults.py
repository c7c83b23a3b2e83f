"""Faults of every sort, injected into a run again and again: it is started anew after each, and its losses counted.

A run survives when it ends as one that was left alone, State and metrics bit for bit. dcgan:digits, narrowed as in
kill_and_resume.py, saves so often that kills also fall into saves; here a start finds what the first one compiled.

    unshare -Urm python benchmarks/faults.py     # so that it may mount a small disk, to fill it
    python benchmarks/faults.py --out OUT.json --faults "SIGTERM to one of two" "a picture disappears"
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from benchmarks.kill_and_resume import FLAGS, ROOT, TIMES, Command, command, compare, different
from benchmarks.record import record
from gan_jax.data import load
from gan_jax.game import Game
from gan_jax.runs.folder import read_rows
from gan_jax.training.checkpoint import SEAL

RESULT = ROOT / "experiments" / "results" / "faults.json"
COMMAND = "unshare -Urm python benchmarks/faults.py"
PATIENCE = 120  # seconds that a process gets to end


@dataclass(frozen=True)
class Training:
    """A run that may be started many times, and a place for what a start of it says, which no full disk concerns."""

    folder: Path
    place: Path
    command: Command
    env: Mapping[str, str] | None = None

    def start(self, name: str = "first") -> subprocess.Popen:
        with self.said_in(name).open("w") as said:
            return subprocess.Popen(self.command(self.folder), env=self.env, stdout=said, stderr=said)

    def said_in(self, name: str = "first") -> Path:
        return self.place / f"{name}.txt"

    def said(self, words: str, name: str = "first") -> str:
        """The last line with these words, less where the folder lies."""
        lines = [line for line in re.split(r"[\r\n]+", self.said_in(name).read_text()) if words in line]
        return (
            lines[-1].replace(f"{self.folder}", self.folder.name).replace(f"{self.place}/", "").strip() if lines else ""
        )

    def began_at(self) -> int:
        """The round that the last start went on from, as its progress bar says."""
        return int(re.findall(r"\| (\d+)/\d+ \[", self.said_in().read_text())[0])

    def last_row(self) -> int:
        return max((row["step"] for row in read_rows(self.folder)), default=0)

    def saves(self) -> list[str]:
        """Names in checkpoints/: a number once it is committed."""
        folder = self.folder / "checkpoints"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def newest(self) -> int:
        return max((int(name) for name in self.saves() if name.isdigit()), default=0)

    def unfinished(self) -> list[str]:
        return [name for name in self.saves() if not name.isdigit()]


Fault = Callable[[subprocess.Popen, Training, np.random.Generator, int], dict]  # (…, which time) -> what is to be said


def until(child: subprocess.Popen, true: Callable[[], object]) -> None:
    while not true():
        if child.poll() is not None:
            raise RuntimeError(f"{child.args} exited with {child.returncode} before it came there")
        time.sleep(1e-3)


def end(child: subprocess.Popen) -> dict:
    """Its exit code, and how long it took to end."""
    began = time.perf_counter()
    return {"exit": child.wait(PATIENCE), "seconds": round(time.perf_counter() - began, 2)}


def sigkill(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """SIGKILL; every other time with an unfinished save on the disk, some moments into it."""
    if i % 2:
        until(child, run.unfinished)
        time.sleep(rng.uniform(0, 0.03))
    child.kill()
    return end(child)


def sigterm(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """SIGTERM, which saves first."""
    time.sleep(rng.uniform(0, 0.2))
    child.terminate()
    return end(child)


def damage(change: Callable[[bytes, np.random.Generator], bytes]) -> Fault:
    """A stopped run, one of whose newest checkpoint's files is changed."""

    def fault(child, run, rng, i):
        child.terminate()
        ended, folder = end(child), run.folder / "checkpoints" / str(run.newest())
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
        path = files[rng.integers(len(files))]
        path.write_bytes(change(path.read_bytes(), rng))
        return ended | {"damaged": str(path.relative_to(run.folder))}

    return fault


def truncated(x: bytes, rng: np.random.Generator) -> bytes:
    return x[: rng.integers(len(x))]


def flipped(x: bytes, rng: np.random.Generator) -> bytes:
    at, bit = rng.integers(len(x)), rng.integers(8)
    return x[:at] + bytes([x[at] ^ (1 << bit)]) + x[at + 1 :]


def second(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """Another process on the same folder, which is to refuse; then the first is killed, and its lock with it.

    The first holds still meanwhile, or it would be at its end before the second is born.
    """
    child.send_signal(signal.SIGSTOP)
    refused, last = end(run.start("second")), run.last_row()
    child.send_signal(signal.SIGCONT)
    until(child, lambda: run.last_row() > last)
    child.kill()
    child.wait()
    said = run.said("error:", "second").replace(f"process {child.pid} ", "process PID ")
    return refused | {"second said": re.sub(r"PID on \S+:", "PID on HOST:", said)}


def full(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """No room left on the disk, every other time in the middle of a save; once the run has stopped there is room."""
    if i % 2:
        until(child, run.unfinished)
    ballast = run.folder.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**12))
        except OSError:  # full
            pass
    ended = end(child)
    ballast.unlink()
    return ended | {"said": run.said("error:")}


def sigterm_to_one(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """SIGTERM to one process of two that train together."""
    members = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    os.kill(int(members[i % 2]), signal.SIGTERM)
    return end(child)


def disappears(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """A picture that is still to be read is taken away, and put back once the run has stopped."""
    pictures = sorted((run.place / "pictures").iterdir())
    lost = pictures[rng.integers(len(pictures))]
    away = lost.rename(run.place / lost.name)
    ended = end(child)
    away.rename(lost)
    return ended | {"said": run.said("error:")}


EXPECTED = {  # exit code of the process that meets the fault, and a word of what it, or the next start, says
    "SIGKILL": (-signal.SIGKILL, ""),
    "SIGTERM": (143, ""),
    "truncated": (143, "is damaged"),
    "bit flipped": (143, "is damaged"),
    "two processes": (2, "is in use by process PID on HOST: wait until that has ended"),
    "disk full": (2, "the run goes on from"),
    "SIGTERM to one of two": (143, ""),
    "a picture disappears": (2, "has disappeared"),
}
FAULTS: dict[str, Fault] = {
    "SIGKILL": sigkill,
    "SIGTERM": sigterm,
    "truncated": damage(truncated),
    "bit flipped": damage(flipped),
    "two processes": second,
    "disk full": full,
    "SIGTERM to one of two": sigterm_to_one,
    "a picture disappears": disappears,
}
DIGITS = FLAGS["dcgan:digits"]
STEPS = dict.fromkeys(FAULTS, DIGITS["steps"]) | {"SIGTERM to one of two": 600}  # rounds of two are long on one machine
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
    """How the run of each fault is started; most are the same."""
    alone = command("dcgan:digits", 1)
    on_disk = lambda folder: [sys.executable, "-c", ON_DISK, str(folder), str(place / "pictures")]
    fewer = command("dcgan:digits", 1, STEPS["SIGTERM to one of two"])
    together = lambda folder: [sys.executable, "-c", TOGETHER, *fewer(folder)]
    return dict.fromkeys(FAULTS, alone) | {"SIGTERM to one of two": together, "a picture disappears": on_disk}


def write_pictures(folder: Path, n: int = 400) -> None:
    """Some of the embedded digits as files."""
    folder.mkdir()
    for i, image in enumerate(load("digits")["x"][:n, :, :, 0]):
        Image.fromarray(image).save(folder / f"{i:03}.png")


def inject(
    faults: Sequence[str], rows: Sequence[int], run: Training, straight: Path, seed: int = 0, game: Game | None = None
) -> dict:
    """Start `run` and let each fault befall it at or soon after its row, in order; then let it come to its end."""
    rng, found = np.random.default_rng(seed), []
    for i, (name, row) in enumerate(zip(faults, rows, strict=True)):
        child = run.start()
        after = max(row, found[-1]["last row"] + 1 if found else 0)
        until(child, lambda after=after: run.last_row() >= after)
        _told_by_the_next(found, run)
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
        raise RuntimeError(run.said_in().read_text())
    _told_by_the_next(found, run)
    same = compare(straight, run.folder, game)
    for fell in found:
        code, words = EXPECTED[fell["fault"]]
        told = fell["exit"] == code and any(words in str(value) for value in fell.values())
        ended = not (same["leaves that differ"] or same["metrics that differ"] or fell["metrics that differ"])
        fell["survived"] = told and ended
    return {"repetitions": found, "in the end": same}


def _told_by_the_next(found, run):
    """Note of the last fault what only the start after it shows."""
    if found:
        began = run.began_at()
        reached = max(found[-1]["last row"], found[-1]["checkpoint"])
        found[-1] |= {"gone on from": began, "lost rounds": reached - began}
        if found[-1].get("damaged"):
            found[-1]["said"] = run.said("is damaged")


def _differing(one, other):
    """Values of the first log that are not, bit for bit, those of the second's rows up to the same round."""
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
    """A disk of its own in `folder`, in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


ALONE = ("SIGKILL", "SIGTERM", "truncated", "bit flipped", "two processes", "disk full")


def main(out: Path = RESULT, times: int = 20, seed: int = 0, faults: tuple[str, ...] = ALONE) -> None:
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
        starts, straight = commands(place), {}  # one straight run for each way to start
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
