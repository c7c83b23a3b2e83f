"""What experiments/results says of papers."""

import json
from pathlib import Path
from typing import Any

from gan_jax.runs.paper import FOLDER


def results(folder: Path) -> list[dict[str, Any]]:
    """The entries about papers in the JSON files there: one a file, or several as its `rows`."""
    files = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    rows = [{**found, **row} for found in files for row in found.get("rows", [found])]
    return [row for row in rows if "paper" in row]


def reproduction(title: str) -> str:
    """The verdicts recorded for "paper:preset", or "not run"."""
    found = [row.get("verdict") for row in results(FOLDER / "results") if row["paper"] == title]
    return "; ".join(verdict for verdict in found if verdict) or "not run"
