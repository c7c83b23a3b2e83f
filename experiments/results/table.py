"""The README's table of papers, made from the JSON files beside this one (their form: benchmarks/record.py).

python experiments/results/table.py
"""

import json
import re
from pathlib import Path

from gan_jax import papers
from gan_jax.errors import UserError

HERE = Path(__file__).resolve().parent
START, END = "<!-- results: made by experiments/results/table.py -->", "<!-- end of results -->"
HEAD = ("paper:preset", "what was run", "published", "ours, mean ± SE", "seeds", "hardware", "verdict")


def table(folder: Path = HERE) -> str:
    """A row a run group, and one for each preset that was not run, as Markdown."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    presets = [f"{name}:{preset}" for name in papers.names() for preset in papers.paper(name).PRESETS]
    rows = [HEAD, ("---",) * len(HEAD)]
    for title in presets:
        mine = [_row(result) for result in results if result.get("paper") == title]
        rows += mine or [(title, "not run", *[""] * (len(HEAD) - 2))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(result):
    published = result.get("published")
    return (
        result["paper"],
        result["ran"],
        f"{published['value']} ({published['protocol']})" if published else "none",
        "; ".join(f"{name.replace('_', ' ')} {_number(score)}" for name, score in result["scores"].items()),
        str(len(result["seeds"])),
        result["hardware"],
        result.get("verdict", ""),
    )


def _number(score):
    """0.953 ± 0.004; the mean alone from one seed."""
    return f"{score['mean']:.3g}" + (f" ± {score['se']:.1g}" if score["se"] is not None else "")


def update(readme: Path, folder: Path = HERE) -> None:
    """Put the table between its two marks. UserError if they are not there."""
    text, n = re.subn(f"(?s){START}.*{END}", lambda _: f"{START}\n{table(folder)}\n{END}", readme.read_text())
    if n != 1:
        raise UserError(f"{readme} has no place for the table: add the lines {START} and {END}.")
    readme.write_text(text)


if __name__ == "__main__":
    update(HERE.parents[1] / "README.md")
