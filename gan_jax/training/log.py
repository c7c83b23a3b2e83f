"""Rows of metrics: in metrics.jsonl, on the screen, and to writers; a population has one a member and one of means."""

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

LEAST = 0.1  # seconds over which a pace is measured; over less, a row has none


@dataclass
class Log:
    """Writes rows, each of numbers {name: value} with the round as "step"."""

    folder: Path | None
    show: Callable[[dict, Sequence[str]], None]  # a row, and notes on it
    writers: Sequence[Callable[[dict], None]]
    epoch: int  # examples in an epoch
    read: int  # examples read up to where the pace is measured from
    began: float  # when the run would have begun, had it never stopped
    mark: float  # when the pace is measured from
    last: dict[str, Any] = field(default_factory=dict)
    resting: set[int] = field(default_factory=set)  # members that are no longer finite

    def row(self, played: Played) -> None:
        """Wait for the round's metrics, then write them."""
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
        """Measure the pace from the end of this dispatch on: it was the first of a program, which took compiling."""
        np.asarray(played.finite)
        self.mark, self.read = time.perf_counter(), max(played.position.values())

    def found(self, played: Played, finish: Callable[[], dict[str, Any] | None]) -> None:
        """Finish a callback, and write the numbers it finds: [] each, or [members]."""
        if not parallel.first():
            return
        try:
            numbers = finish()
        except UserError as error:
            goes_on = " The run goes on from its last checkpoint when started again." if self.folder else ""
            raise UserError(f"{error}{goes_on}") from error
        if numbers:
            row = {"step": played.step, "seconds": round(time.perf_counter() - self.began, 3)}
            self._write(row, numbers, played)

    def at(self, t: int) -> dict[str, Any]:
        """All that was written of round t, of a population its means."""
        return self.last if self.last.get("step") == t else {}

    def _write(self, row, numbers, played):
        numbers, going = {name: np.asarray(m) for name, m in numbers.items()}, np.asarray(played.finite)
        rows, notes = [], []
        for i in np.flatnonzero(going) if going.ndim else ():
            own = {name: float(m[i]) for name, m in numbers.items() if m.ndim}
            rows.append({"step": played.step, "member": int(i)} | own)
        if going.ndim:
            row |= {"members": int(going.sum())}
            notes = self._newly_resting(np.flatnonzero(~going), played)
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

    def _newly_resting(self, members, played):
        new = sorted(set(members.tolist()) - self.resting)
        self.resting |= set(new)
        about = lambda i: {"seed": played.game.data_seeds(0)[i]} | played.game.about(i)
        return [f"Member {i} ({about(i)}) is no longer finite by round {played.step}: it rests." for i in new]


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """The row with null for infinite numbers and NaN, which JSON has not."""
    return {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}


def _mean(name, values):
    """The mean over the members and, from two on, its standard error."""
    values = values.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a score may be infinite
        error = {f"{name} se": float(values.std(ddof=1) / len(values) ** 0.5)} if len(values) > 1 else {}
    return {name: float(values.mean())} | error
