"""Output on the terminal during a training: a progress bar, about ten rows of metrics, and a warning when D wins."""

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gan_jax.errors import encodable, mute
from gan_jax.training import parallel

ROWS = 10  # about so many in a run
WINS = 0.98, 0.02, 3  # D wins if D(x) is above, D(G(z)) below, for so many rows in a row
REAL, FAKE = "D(x)", ("D(G(z)) after", "D(G(z))", "D(G(z)) before")
WIDTH = 10  # characters of a column


@dataclass
class Report:
    """Context manager that prints the progress of a training, in the first process only.

    Attributes:
        steps: The last round.
        start: The round from which the training is resumed.
        progress: False: nothing is printed.
        verbose: Print every row with all its numbers.
        header: A first line about what is trained.
        bar: The progress bar.
        began: When it started.
        compiling: Whether the first program is still being compiled.
        columns: Names of the columns.
        shown: Tenths of the run for which a row has been printed.
        winning: The last consecutive rounds in which D wins.
    """

    steps: int
    start: int = 0
    progress: bool = True
    verbose: bool = False
    header: str = ""
    bar: Any = None
    began: float = 0.0
    compiling: bool = True
    columns: list[str] = field(default_factory=list)
    shown: int = -1
    winning: list[int] = field(default_factory=list)

    @property
    def quiet(self) -> bool:
        """Whether nothing is printed."""
        return not (self.progress and parallel.first())

    def __enter__(self) -> "Report":
        from tqdm.auto import tqdm

        how = {"unit": " rounds", "dynamic_ncols": True, "leave": False, "disable": self.quiet}
        if not self.quiet and self.header:
            self.write(self.header)
        self.bar, self.began = tqdm(total=self.steps, initial=self.start, desc="compiling", **how), time.perf_counter()
        return self

    def __exit__(self, *error) -> None:
        self.bar.close()

    def write(self, line: str) -> None:
        """Print a line above the progress bar."""
        if not self.quiet:
            self._print(line)

    def _print(self, line):
        """A reader who has gone, as of `| head`, ends the report and not the training."""
        try:
            text = encodable(line, getattr(sys.stdout, "encoding", None) or "utf-8")
            self.bar.write(text) if self.bar else print(text)
        except BrokenPipeError:
            self.progress = False
            mute()

    def advance(self, t: int) -> None:
        """Move the progress bar to round t."""
        self.bar.update(t - self.bar.n)

    def compiled(self) -> None:
        """Print how long the first program took to compile."""
        if self.compiling and not self.quiet:
            self.compiling = False
            self.bar.set_description_str("", refresh=False)
            self.write(f"compiled in {time.perf_counter() - self.began:.1f} s")

    def row(self, row: dict[str, Any], notes: Sequence[str] = ()) -> None:
        """Print a row of metrics: about ten rows in a run, or with `verbose` all of them with all their numbers."""
        for note in notes:  # about members that are no longer finite: printed even without progress
            self._print(note)
        if self.quiet:
            return
        if self.verbose:
            numbers = [f"{name} {_number(x)}" for name, x in row.items() if not name.endswith(" se")]
            self.write("  ".join(numbers))
            return
        chosen = [name for name in row if re.match(r"(loss|score)/|D\(", name) and not name.endswith(" se")]
        losses = {name: row[name] for name in sorted(chosen, key=lambda name: (not name.startswith("loss/"), name))}
        newest = [f"{name} {_number(x)}" for name, x in list(losses.items())[:3]]
        self.bar.set_postfix_str("  ".join(newest), refresh=False)
        self._warn(row)
        tenth = row["step"] * ROWS // self.steps
        if tenth > self.shown or row["step"] == self.steps:
            self.shown = tenth
            self._table(row, losses)

    def _table(self, row, numbers):
        pace = {"images/s": row["images_per_second"]} if "images_per_second" in row else {}
        named = {_short(name): x for name, x in numbers.items()} | pace
        new = [name for name in named if name not in self.columns]
        if new and (not self.columns or set(new) - {"images/s"}):
            self.columns = [*(name for name in named if name != "images/s"), "images/s"][-8:]
            self.write(f"{'round':>9}      " + "".join(f"{name[: WIDTH - 1]:>{WIDTH}}" for name in self.columns))
        cells = [f"{_number(named[name]) if name in named else '':>{WIDTH}}" for name in self.columns]
        self.write(f"{row['step']:>9,} {row['step'] / self.steps:>4.0%}" + " " + "".join(cells))

    def _warn(self, row):
        """Print a warning when D has won for some rows, if it reports probabilities."""
        real, fake = row.get(REAL), next((row[name] for name in FAKE if name in row), None)
        if real is None or fake is None:
            return
        high, low, rows = WINS
        self.winning = [*self.winning, row["step"]] if high < real <= 1 and 0 <= fake < low else []
        if len(self.winning) == rows:
            self.write(
                f"D wins: D(x) {real:.2f}, D(G(z)) {fake:.2f} since round {self.winning[0]:,}, so G learns little. "
                "Try a gradient penalty, a lower learning rate of D, or fewer moves of D."
            )


def _short(name):
    """loss/D -> loss D."""
    return name.removeprefix("score/").replace("/", " ").replace("D(G(z)) after", "D(G(z))")


def _number(x):
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"
