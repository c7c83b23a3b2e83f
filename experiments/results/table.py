"""Tables made from the JSON files in this folder, which benchmarks/record.py writes.

``python experiments/results/table.py`` writes the short table of README.md, docs/results.md, docs/scores.md and
experiments/README.md.
"""

import json
import re
from pathlib import Path

from gan_jax.cli.list import kind, year
from gan_jax.errors import UserError
from gan_jax.runs import paper as papers
from gan_jax.runs.results import results as results_of
from gan_jax.runs.results import verdict

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
START, END = "<!-- results: made by experiments/results/table.py -->", "<!-- end of results -->"
SHORT = ("paper", "preset", "score", "published", "ours ± SE (seeds)", "verdict")
HEAD = ("paper:preset", "what was run", "published", "ours, mean ± SE", "seeds", "hardware", "verdict")
MOST = 12  # rows of the README


def short(folder: Path = HERE) -> str:
    """A table with one row for each paper that has a complete run of some preset, and a line with the other papers.

    The row shows the first such preset, with its first published score, or its last score if none is published.
    """
    rows, ready = [SHORT, ("---",) * len(SHORT)], []
    for name in papers.names():
        paper, entries = papers.paper(name), results_of(folder)
        ran = {
            preset: [e for e in entries if e["paper"] == f"{name}:{preset}" and _whole(e)] for preset in paper.presets
        }
        ran = {preset: found for preset, found in ran.items() if found}
        ready += [] if ran else [f"[{_called(paper)}]({_file(paper)})"]
        for preset, (entry, *_) in list(ran.items())[:1]:
            rows.append(_short_row(paper, preset, entry, [verdict(found[0]) for found in ran.values()]))
    lines = [f"| {' | '.join(row)} |" for row in rows[: MOST + 2]]
    return "\n".join([*lines, "", f"Ready, not yet run to the end: {', '.join(ready)}."] if ready else lines)


def _short_row(paper, preset, entry, verdicts):
    name, score = list(entry["scores"].items())[0 if entry.get("published") else -1]
    published = re.split("[;,]", entry["published"]["value"])[0].strip() if entry.get("published") else "–"
    same = verdicts.count("reproduced")
    said = f"{same} of {len(verdicts)} reproduced" if len(verdicts) > 1 and same else verdicts[0].replace("-", "–")
    title = f"[{_called(paper)}]({_file(paper)}) {year(paper)}"
    return title, preset, name.replace("_", " "), published, f"{_number(score)} ({len(entry['seeds'])})", said


def _whole(entry):
    return verdict(entry) in ("reproduced", "close", "differs", "-")


def _called(paper):
    return paper.doc.partition(":")[0]


def _file(paper):
    return f"experiments/{paper.file.name}"


def index() -> str:
    """All papers by kind of data and year, one line each, as Markdown."""
    found = {}
    for name in papers.names():
        paper = papers.paper(name)
        found.setdefault(kind(paper, paper.config()), []).append((year(paper), paper))
    parts = ["# Papers, by kind of data and year", "Made by `python experiments/results/table.py`."]
    for data, own in sorted(found.items()):
        line = lambda when, paper: f"- {when} [{paper.name}]({paper.file.name}): {paper.doc.splitlines()[0]}"
        parts += [f"## {data}", "\n".join(line(*one) for one in sorted(own, key=lambda one: (one[0], one[1].name)))]
    return "\n\n".join(parts) + "\n"


def results(folder: Path = HERE) -> str:
    """The page of all results, as Markdown."""
    how = (
        "Made by `python experiments/results/table.py` from the JSON files in `experiments/results`, which also hold"
        " the command, commit, versions and wall time. A verdict follows from `gan_jax/runs/results.py`: reproduced,"
        " close (within 10 %), differs, partial n % (of the recipe), not run (under 5 %); – where nothing is published."
    )
    return f"# Results\n\n{how}\n\n{table(folder)}\n"


def table(folder: Path = HERE) -> str:
    """A table with a row per group of runs, and one for the presets of a paper that were not run, as Markdown."""
    results, rows = results_of(folder), [HEAD, ("---",) * len(HEAD)]
    for name in papers.names():
        waiting = []
        for preset in papers.paper(name).presets:
            mine = [_row(result) for result in results if result["paper"] == f"{name}:{preset}"]
            rows += mine
            waiting += [] if mine else [preset]
        if waiting:
            rows.append((f"{name}:{', '.join(waiting)}", "not run", *[""] * (len(HEAD) - 3), "not run"))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(result):
    published = result.get("published")
    return (
        result["paper"],
        result["ran"],
        f"{published['value']} ({published['protocol']})" if published else "–",
        "; ".join(f"{name.replace('_', ' ')} {_number(score)}" for name, score in result["scores"].items()),
        str(len(result["seeds"])),
        result["hardware"],
        verdict(result).replace("-", "–"),
    )


def _number(score):
    """A score as "0.953 ± 0.004", without the error for a single seed."""
    if score["mean"] is None:
        return "∞"
    infinite = f" ({score['infinite']} more are ∞)" if score.get("infinite") else ""
    return f"{score['mean']:.3g}" + (f" ± {score['se']:.1g}" if score["se"] is not None else "") + infinite


def scores(folder: Path = HERE) -> str:
    """A section per data set with the scores of its real test images and of runs, as Markdown."""
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
    """Insert the short table between its two marks. UserError if they are missing."""
    text, n = re.subn(f"(?s){START}.*{END}", lambda _: f"{START}\n{short(folder)}\n{END}", readme.read_text())
    if n != 1:
        raise UserError(f"{readme} has no place for the table: add the lines {START} and {END}.")
    readme.write_text(text)


def pages() -> dict[Path, str]:
    """{file: its content}."""
    return {
        ROOT / "docs" / "results.md": results(),
        ROOT / "docs" / "scores.md": scores(),
        ROOT / "experiments" / "README.md": index(),
    }


if __name__ == "__main__":
    update(ROOT / "README.md")
    for path, text in pages().items():
        path.write_text(text)
