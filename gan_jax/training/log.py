"""What a training says of its rounds: rows of metrics.jsonl, of a population a row a member and one of their means."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from gan_jax.errors import UserError, writing
from gan_jax.game import State
from gan_jax.population import Games
from gan_jax.training import parallel


class Played(NamedTuple):
    """What a dispatch has put under way: the State after it, and the metrics of its last round."""

    step: int
    game: Games
    state: State
    metrics: dict[str, jax.Array]  # [] or [members]
    read: int  # batches, since round 0
    compiling: float  # seconds
    stop: bool  # some process was told to stop, rounds before


@dataclass
class Log:
    """Rows of metrics.jsonl, each said aloud, kept, and handed to the writers."""

    folder: Path | None
    bar: tqdm
    writers: Sequence[Callable[[dict], None]]
    batch: int
    n: int  # examples in an epoch
    read: int  # batches read up to the last row
    began: float  # when the run would have, had it never stopped
    mark: float  # the last row's time, put off by what was compiled since
    last: dict[str, Any] = field(default_factory=dict)
    resting: set[int] = field(default_factory=set)  # members that are no longer finite

    def row(self, played: Played) -> None:
        """Wait for the round's metrics, then write them."""
        if not parallel.first():
            return
        going = int(np.asarray(played.metrics["finite"]).sum())
        now, images = time.perf_counter(), (played.read - self.read) * self.batch * going
        row = {
            "step": played.step,
            "seconds": round(now - self.began, 3),
            "images_per_second": round(images / (now - self.mark), 1),
            "epoch": round(played.read * self.batch / self.n, 3),
        }
        self.mark, self.read = now, played.read
        told = {name: m for name, m in sorted(played.metrics.items()) if name not in ("finite", "stop")}
        self._write(row, told, played)

    def found(self, played: Played, finish: Callable[[], dict[str, Any] | None]) -> None:
        """Do what a callback still owes, and write the numbers it finds: [] each, or [members]."""
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
        """A row; of a population a row a member before it, and in it the means and standard errors."""
        numbers, going = {name: np.asarray(m) for name, m in numbers.items()}, np.asarray(played.metrics["finite"])
        rows = []
        for i in np.flatnonzero(going) if going.ndim else ():
            own = {name: float(m[i]) for name, m in numbers.items() if m.ndim}
            rows.append({"step": played.step, "member": int(i)} | own)
        if going.ndim:
            row |= {"members": int(going.sum())}
            self._say_who_rests(np.flatnonzero(~going), played)
        for name, m in numbers.items():
            row |= _mean(name, m[going]) if m.ndim else {name: float(m)}
        self.last = self.at(row["step"]) | row
        if not self.bar.disable:
            said = [f"{name} {value:.4g}" for name, value in row.items() if not name.endswith(" se")]
            self.bar.write("  ".join(said))
        if self.folder:
            path = self.folder / "metrics.jsonl"
            with writing(path), path.open("a") as file:
                file.write("".join(json.dumps(r) + "\n" for r in [*rows, row]))
        for write in self.writers:
            write(row)

    def _say_who_rests(self, members, played):
        for i in set(members.tolist()) - self.resting:
            self.resting.add(i)
            own = {"seed": played.game.seeds[i]} | played.game.about(i)
            tqdm.write(f"Member {i} ({own}) is no longer finite by round {played.step}: it rests.")


def _mean(name, values):
    """The mean over the members and, from two on, its standard error."""
    values = values.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a score may be infinite
        error = {f"{name} se": float(values.std(ddof=1) / len(values) ** 0.5)} if len(values) > 1 else {}
    return {name: float(values.mean())} | error
