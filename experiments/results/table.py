"""The README's table of papers, and scores.md, made from the JSON files beside this one (benchmarks/record.py).

python experiments/results/table.py
"""

import json
import re
from pathlib import Path

from gan_jax.errors import UserError
from gan_jax.runs import paper as papers
from gan_jax.runs.results import results as results_of

HERE = Path(__file__).resolve().parent
START, END = "<!-- results: made by experiments/results/table.py -->", "<!-- end of results -->"
HEAD = ("paper:preset", "what was run", "published", "ours, mean ± SE", "seeds", "hardware", "verdict")


def table(folder: Path = HERE) -> str:
    """A row a run group, and one for each paper's presets that were not run, as Markdown."""
    results, rows = results_of(folder), [HEAD, ("---",) * len(HEAD)]
    for name in papers.names():
        waiting = []
        for preset in papers.paper(name).presets:
            mine = [_row(result) for result in results if result["paper"] == f"{name}:{preset}"]
            rows += mine
            waiting += [] if mine else [preset]
        if waiting:
            rows.append((f"{name}:{', '.join(waiting)}", "not run", *[""] * (len(HEAD) - 2)))
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
    if score["mean"] is None:
        return "∞"
    infinite = f" ({score['infinite']} more are ∞)" if score.get("infinite") else ""
    return f"{score['mean']:.3g}" + (f" ± {score['se']:.1g}" if score["se"] is not None else "") + infinite


def scores(folder: Path = HERE) -> str:
    """A section a data set: each score of its real test images, and of runs beside them, as Markdown."""
    parts = ["# Scores: real test images, the floor that a GAN is measured against, and runs under the same protocol"]
    for path in sorted(folder.glob("scores_*.json")):
        found = json.loads(path.read_text())
        head = ["score", "real test images", *(f"{run['paper']} ({Path(run['run']).name})" for run in found["runs"])]
        rows = [head, ["---"] * len(head)]
        for key, value in found["floor"].items():
            shown = [_score(value), *(_score(run["scores"].get(key)) for run in found["runs"])]
            rows.append([value["name"] + " perfect" * key.endswith("perfect"), *shown])
        (reference,) = {v["protocol"]["reference"] for v in found["floor"].values() if "reference" in v["protocol"]}
        parts += [
            f"## {path.stem.removeprefix('scores_')}",
            f"{found['protocol']} {found.get('notes', '')} Reference: {reference}. Commit {found['commit']}, "
            f"{found['hardware']}.".replace("  ", " "),
            "\n".join(f"| {' | '.join(row)} |" for row in rows),
        ]
    return "\n\n".join(parts) + "\n"


def _score(fields):
    if fields is None:
        return ""
    return f"{fields['value']:.4g}" + (f" ± {fields['uncertainty']:.1g}" if fields["uncertainty"] is not None else "")


def update(readme: Path, folder: Path = HERE) -> None:
    """Put the table between its two marks. UserError if they are not there."""
    text, n = re.subn(f"(?s){START}.*{END}", lambda _: f"{START}\n{table(folder)}\n{END}", readme.read_text())
    if n != 1:
        raise UserError(f"{readme} has no place for the table: add the lines {START} and {END}.")
    readme.write_text(text)


if __name__ == "__main__":
    update(HERE.parents[1] / "README.md")
    (HERE / "scores.md").write_text(scores())
