"""What experiments/results says of papers, and the verdict that follows from it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_jax.runs.paper import FOLDER

TRIED, CLOSE = 0.05, 0.1  # a run of less than this share of its recipe is none; close is within this share
NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(?: ± ([\d.e-]+))?$")


def results(folder: Path | None = None) -> list[dict[str, Any]]:
    """The entries about papers in the JSON files there, one a file or several as its `rows`."""
    folder = FOLDER / "results" if folder is None else folder
    files = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    rows = [{**found, **row} for found in files for row in found.get("rows", [found])]
    return [row for row in rows if "paper" in row]


def verdict(entry: Mapping[str, Any]) -> str:
    """How far an entry reproduces what is published.

    Returns::

        "not run"       less than 5 % of the recipe was run
        "partial n %"   less than the whole recipe was run
        "reproduced"    all published numbers agree: they differ by at most 2 √(SE² + SE²), or by half of the last digit
                        that is printed
        "close"         all agree or are within 10 %
        "differs"       some are not
        "-"             the whole recipe was run, and there is no published number to compare with
    """
    share = entry.get("share") or 1.0
    if share < TRIED:
        return "not run"
    if share < 1:
        return f"partial {share:.0%}".replace("%", " %")
    apart = compared(entry)
    if not apart:
        return "-"
    if all(agrees for agrees, _ in apart):
        return "reproduced"
    return "close" if all(agrees or far <= CLOSE for agrees, far in apart) else "differs"


def compared(entry: Mapping[str, Any]) -> list[tuple[bool, float]]:
    """For each published number: whether ours agrees with it, and the relative difference."""
    pairs = zip(printed(entry), entry["scores"].values(), strict=False)
    return [_apart(NUMBER.search(text), score) for text, score in pairs]


def printed(entry: Mapping[str, Any]) -> list[str]:
    """The published numbers as they are printed, in the order of the scores."""
    published = entry.get("published")
    return [text.strip() for text in re.split("[;,]", published["value"])] if published else []


def _apart(printed, score):
    theirs, ours = float(printed[1]), score["mean"]
    if ours is None:  # infinite
        return False, float("inf")
    error = ((float(printed[2] or 0)) ** 2 + (score["se"] or 0) ** 2) ** 0.5
    digits, _, power = printed[1].partition("e")
    rounding = 0.5 * 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    far = abs(ours - theirs)
    return far <= 2 * error + rounding * (1 + 1e-9), far / abs(theirs) if theirs else float("inf")


def verdicts(folder: Path | None = None) -> dict[str, str]:
    """{"paper:preset": verdict}, of several entries that of the largest share."""
    entries = sorted(results(folder), key=lambda entry: entry.get("share") or 1.0)
    return {entry["paper"]: verdict(entry) for entry in entries}
