"""Faults that can be injected into a run: signals, damaged files, a second process, a full disk, lost data."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.kill_and_resume import Command
from gan_jax.runs.folder import read_rows

PATIENCE = 120  # seconds that a process gets to end


@dataclass(frozen=True)
class Training:
    """A run that is started many times.

    place: a folder for what it prints, on another disk than the run.
    """

    folder: Path
    place: Path
    command: Command
    env: Mapping[str, str] | None = None

    def start(self, name: str = "first") -> subprocess.Popen:
        with self.output(name).open("w") as file:
            return subprocess.Popen(self.command(self.folder), env=self.env, stdout=file, stderr=file)

    def output(self, name: str = "first") -> Path:
        return self.place / f"{name}.txt"

    def printed(self, words: str, name: str = "first") -> str:
        """The last line printed that has these words, without the folder's path."""
        lines = [line for line in re.split(r"[\r\n]+", self.output(name).read_text()) if words in line]
        return (
            lines[-1].replace(f"{self.folder}", self.folder.name).replace(f"{self.place}/", "").strip() if lines else ""
        )

    def began_at(self) -> int:
        """The round that the last start resumed from, by its progress bar."""
        return int(re.findall(r"\| (\d+)/\d+ \[", self.output().read_text())[0])

    def last_row(self) -> int:
        return max((row["step"] for row in read_rows(self.folder)), default=0)

    def saves(self) -> list[str]:
        """Names in checkpoints/: a committed checkpoint's name is its round."""
        folder = self.folder / "checkpoints"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def newest(self) -> int:
        return max((int(name) for name in self.saves() if name.isdigit()), default=0)

    def unfinished(self) -> list[str]:
        return [name for name in self.saves() if not name.isdigit()]


Fault = Callable[[subprocess.Popen, Training, np.random.Generator, int], dict]  # (…, repetition) -> what to record


def until(child: subprocess.Popen, condition: Callable[[], object]) -> None:
    """Wait for a condition. RuntimeError if the process ends first."""
    while not condition():
        if child.poll() is not None:
            raise RuntimeError(f"{child.args} exited with {child.returncode} too early")
        time.sleep(1e-3)


def end(child: subprocess.Popen) -> dict:
    """Wait for the process to end: its exit code, and the seconds that took."""
    began = time.perf_counter()
    return {"exit": child.wait(PATIENCE), "seconds": round(time.perf_counter() - began, 2)}


def sigkill(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """SIGKILL; every second time during a save."""
    if i % 2:
        until(child, run.unfinished)
        time.sleep(rng.uniform(0, 0.03))
    child.kill()
    return end(child)


def sigterm(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """SIGTERM, after which the run saves and exits."""
    time.sleep(rng.uniform(0, 0.2))
    child.terminate()
    return end(child)


def damage(change: Callable[[bytes, np.random.Generator], bytes]) -> Fault:
    """A fault that stops the run and changes a file of its newest checkpoint."""

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
    """A second process on the same folder, which must refuse to start; then the first is killed.

    The first is stopped meanwhile, or it would finish before the second has started.
    """
    child.send_signal(signal.SIGSTOP)
    refused, last = end(run.start("second")), run.last_row()
    child.send_signal(signal.SIGCONT)
    until(child, lambda: run.last_row() > last)
    child.kill()
    child.wait()
    error = run.printed("error:", "second").replace(f"process {child.pid} ", "process PID ")
    return refused | {"second said": re.sub(r"PID on \S+:", "PID on HOST:", error)}


def full(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """A full disk, every second time during a save; space is freed once the run has stopped."""
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
    return ended | {"said": run.printed("error:")}


def sigterm_to_one(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """SIGTERM to one of two processes of a training."""
    members = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    os.kill(int(members[i % 2]), signal.SIGTERM)
    return end(child)


def disappears(child: subprocess.Popen, run: Training, rng: np.random.Generator, i: int) -> dict:
    """A picture of the training data is moved away, and back once the run has stopped."""
    pictures = sorted((run.place / "pictures").iterdir())
    lost = pictures[rng.integers(len(pictures))]
    away = lost.rename(run.place / lost.name)
    ended = end(child)
    away.rename(lost)
    return ended | {"said": run.printed("error:")}


EXPECTED = {  # exit code of the process with the fault, and words that it or the next start prints
    "SIGKILL": (-signal.SIGKILL, ""),
    "SIGTERM": (143, ""),
    "truncated": (143, "is damaged"),
    "bit flipped": (143, "is damaged"),
    "two processes": (2, "is in use by process PID on HOST: wait until it has ended"),
    "disk full": (2, "the run continues from"),
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
