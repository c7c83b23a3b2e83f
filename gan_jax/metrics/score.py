"""A score: a number, its uncertainty, and the protocol under which it was taken."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gan_jax.errors import UserError

DRAWS = 5  # fewest draws of samples that give an uncertainty


@dataclass(frozen=True)
class Score:
    """A number with its protocol.

    Two scores can be compared and subtracted if names and protocols are equal; otherwise a UserError says what differs.

    Attributes:
        name: "Fréchet distance".
        value: The number.
        protocol: What it depends on: {"real": 50_000, "fake": 10_000, "k": 5, …}.
        uncertainty: The standard error, if known.
        source: What the uncertainty was taken from: "5 draws of samples".

    >>> print(Score("recall", 0.5, {"real": 50_000, "fake": 10_000}, 0.01, "5 draws of samples"))
    recall 0.5 ± 0.01 (5 draws of samples); real 50,000, fake 10,000
    """

    name: str
    value: float
    protocol: Mapping[str, Any]
    uncertainty: float | None = None
    source: str = ""

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        spread = "" if self.uncertainty is None else f" ± {self.uncertainty:.2g} ({self.source})"
        return f"{self.name} {self.value:.6g}{spread}; " + ", ".join(_entry(*pair) for pair in self.protocol.items())

    def __sub__(self, other: "Score") -> float:
        _check_comparable([self, other])
        return self.value - other.value

    def __lt__(self, other: "Score") -> bool:
        return self - other < 0


def over_draws(scores: Sequence[Score]) -> Score:
    """The mean score of k independent draws of samples, and its standard error s / √k; none where one is infinite.

    Raises:
        UserError: Fewer than 5 draws, or different protocols.

    >>> print(over_draws([Score("recall", value, {"fake": 100}) for value in (0.5, 0.6, 0.5, 0.4, 0.5)]))
    recall 0.5 ± 0.032 (5 draws of samples); fake 100
    """
    if len(scores) < DRAWS:
        raise UserError(f"An uncertainty needs {DRAWS} independent draws of samples or more, not {len(scores)}.")
    return _mean(scores, f"{len(scores)} draws of samples")


def over_members(scores: Sequence[Score]) -> Score:
    """The mean score of k independent trainings, and its standard error s / √k; none where one is infinite.

    Raises:
        UserError: Fewer than 2 trainings, or different protocols.

    >>> print(over_members([Score("recall", value, {"fake": 100}) for value in (0.5, 0.7)]))
    recall 0.6 ± 0.1 (2 trainings); fake 100
    """
    if len(scores) < 2:
        raise UserError("An uncertainty over trainings needs 2 or more: take draws of samples of a single one.")
    return _mean(scores, f"{len(scores)} trainings")


def _mean(scores, source):
    _check_comparable(scores)
    values = np.array([score.value for score in scores])
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if np.isfinite(values).all() else None
    return replace(scores[0], value=float(values.mean()), uncertainty=error, source=source)


def over_halves(
    scores: Callable[[np.ndarray], Mapping[str, Score]], n: int, times: int = 10, seed: int = 0
) -> dict[str, Score]:
    """The scores of all n samples, with the standard error √E (A − B)² / 2 of scores A, B of complementary halves.

    That is unbiased for a mean. Unlike in a bootstrap no sample occurs twice, which would upset nearest neighbours.

    Args:
        scores: Rows [m] of the samples -> {name: Score}.
        n: Samples.
        times: Random pairs of halves.
        seed: Determines the halves.

    Raises:
        UserError: Fewer than 4 samples, or a half that cannot be scored.

    >>> x = np.arange(8.0)
    >>> score = lambda rows: {"mean": Score("mean", float(x[rows].mean()), {"n": len(rows)})}
    >>> float(over_halves(score, n=8)["mean"])
    3.5
    """
    if n < 4:
        raise UserError(f"An uncertainty from halves needs 4 samples or more, not {n}.")
    rng, half, gaps, whole = np.random.default_rng(seed), n // 2, [], scores(np.arange(n))
    for _ in range(times):
        rows = rng.permutation(n)
        try:
            a, b = scores(rows[:half]), scores(rows[half : 2 * half])
        except UserError as error:  # the whole can be scored
            raise UserError(
                f"Halves of the {n} samples, which the standard error is taken from, cannot be scored: {error}"
            ) from error
        gaps.append({name: a[name].value - b[name].value for name in a})
    error = lambda name: float(np.sqrt(np.mean([gap[name] ** 2 for gap in gaps])) / 2)
    source = f"{times} pairs of half the samples"
    return {name: replace(score, uncertainty=error(name), source=source) for name, score in whole.items()}


def _check_comparable(scores):
    first = scores[0]
    for other in scores[1:]:
        if first.name != other.name:
            raise UserError(f"A {first.name} cannot be compared with a {other.name}.")
        names = list(dict.fromkeys([*first.protocol, *other.protocol]))
        differ = [name for name in names if first.protocol.get(name) != other.protocol.get(name)]
        if differ:
            said = "; ".join(f"{name} {first.protocol.get(name)} and {other.protocol.get(name)}" for name in differ)
            raise UserError(f"Two values of the {first.name} differ in protocol ({said}): take both by the same one.")


def _entry(name, value):
    return f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
