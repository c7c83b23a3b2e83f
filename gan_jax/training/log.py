"""Rows of metrics, written to metrics.jsonl, the screen and writers; for a population one per member and their mean."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.errors import UserError, writing
from gan_jax.training import parallel
from gan_jax.training.rounds import Played

LEAST = 0.1  # seconds: images_per_second is left out when it would be measured over less


@dataclass
class Log:
    """Writes rows {name: number}, with the round as "step".

    Attributes:
        folder: Folder of metrics.jsonl; None: no file is written.
        show: Called with each row for the screen, and notes about it.
        writers: Called with each row.
        epoch: Examples in an epoch.
        read: Examples read by the time `mark`.
        began: `time.perf_counter()` at the start of the run, shifted by the duration of earlier processes.
        mark: `time.perf_counter()` from which images_per_second is measured.
        last: The last row.
        stopped: Members of a population that are no longer finite.
    """

    folder: Path | None
    show: Callable[[dict, Sequence[str]], None]
    writers: Sequence[Callable[[dict], None]]
    epoch: int
    read: int
    began: float
    mark: float
    last: dict[str, Any] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)

    def row(self, played: Played) -> None:
        """Wait for the metrics of a dispatch and write them."""
        if not parallel.first():
            return
        going = int(np.asarray(played.finite).sum())
        now, examples = time.perf_counter(), max(played.position.values())
        row = {"step": played.step, "seconds": round(now - self.began, 3)}
        if now - self.mark >= LEAST and examples > self.read:
            row["images_per_second"] = round((examples - self.read) * going / (now - self.mark), 1)
            self.mark, self.read = now, examples
        row["epoch"] = round(examples / self.epoch, 3)
        self._write(row, dict(sorted(played.metrics.items())), played)

    def restart(self, played: Played) -> None:
        """Measure images_per_second from the end of this dispatch, whose program had to be compiled."""
        np.asarray(played.finite)
        self.mark, self.read = time.perf_counter(), max(played.position.values())

    def found(self, played: Played, finish: Callable[[], dict[str, Any] | None]) -> None:
        """Call the function that a callback returned, and write its numbers: scalars, or [members]."""
        if not parallel.first():
            return
        try:
            numbers = finish()
        except UserError as error:
            goes_on = " Started again, the run continues from its last checkpoint." if self.folder else ""
            raise UserError(f"{error}{goes_on}") from error
        if numbers:
            row = {"step": played.step, "seconds": round(time.perf_counter() - self.began, 3)}
            self._write(row, numbers, played)

    def at(self, t: int) -> dict[str, Any]:
        """All numbers written for round t, for a population their means; {} if none were."""
        return self.last if self.last.get("step") == t else {}

    def _write(self, row, numbers, played):
        numbers, going = {name: np.asarray(m) for name, m in numbers.items()}, np.asarray(played.finite)
        rows, notes = [], []
        for i in np.flatnonzero(going) if going.ndim else ():
            own = {name: float(m[i]) for name, m in numbers.items() if m.ndim}
            rows.append({"step": played.step, "member": int(i)} | own)
        if going.ndim:
            row |= {"members": int(going.sum())}
            notes = self._newly_stopped(np.flatnonzero(~going), played)
        for name, m in numbers.items():
            row |= _mean(name, m[going]) if m.ndim else {name: float(m)}
        self.last = self.at(row["step"]) | row
        self.show(row, notes)
        if self.folder:
            path = self.folder / "metrics.jsonl"
            with writing(path), path.open("a") as file:
                file.write("".join(json.dumps(as_json(r), allow_nan=False) + "\n" for r in [*rows, row]))
        for write in self.writers:
            write(row)

    def _newly_stopped(self, members, played):
        new = sorted(set(members.tolist()) - self.stopped)
        self.stopped |= set(new)
        about = lambda i: {"seed": played.game.data_seeds(0)[i]} | played.game.about(i)
        return [
            f"Member {i} ({about(i)}) is no longer finite in round {played.step}: it is not trained further."
            for i in new
        ]


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """The row with None for infinite numbers and NaN, which JSON does not have.

    >>> as_json({"step": 3, "loss/G": math.inf})
    {'step': 3, 'loss/G': None}
    """
    return {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}


def _mean(name, values):
    """The mean over the members and, for two or more, its standard error."""
    values = values.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a score may be infinite
        error = {f"{name} se": float(values.std(ddof=1) / len(values) ** 0.5)} if len(values) > 1 else {}
    return {name: float(values.mean())} | error
