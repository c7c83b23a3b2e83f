"""Tables made from the JSON files in this folder, which benchmarks/record.py writes.

``python experiments/results/table.py`` writes the short table of README.md, docs/results.md, docs/scores.md and
experiments/README.md.
"""

import json
import re
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from gan_jax.cli.list import kind, year
from gan_jax.errors import UserError
from gan_jax.runs import paper as papers
from gan_jax.runs.results import NUMBER, compared, printed, verdict
from gan_jax.runs.results import results as results_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
START, END = "<!-- results: made by experiments/results/table.py -->", "<!-- end of results -->"
SHORT = ("paper", "preset", "score", "published", "ours ± SE (seeds)", "verdict")
MADE = "Made by `python experiments/results/table.py`"
RULE = (
    "A verdict is *reproduced* if each published number differs from ours by at most two standard errors, both"
    " combined, or half of its last digit; *close* if by at most 10 %; otherwise *differs*; *partial n %* if that"
    " share of the recipe was run; *not run* below 5 %; – if nothing is published."
)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def short(folder: Path = HERE) -> str:
    """The README's table, of presets that were run to the end of their recipe, and a sentence on the others.

    Presets of a paper with published numbers are one row for each verdict; of other presets each is a row.
    """
    rows, waiting, links = [], [], []
    for paper in _papers():
        entries = [entry for entry in _entries(paper, folder) if (entry.get("share") or 1) >= 1]
        found = {}
        for entry in entries:
            found.setdefault(verdict(entry) if printed(entry) else _preset(entry), []).append(entry)
        rows += [_short_row(paper, group) for group in found.values()]
        missing = len(paper.presets) - len({entry["paper"] for entry in entries})
        waiting += [f"{_name(paper)} ({missing})"] if missing else []
        links += [f"[{_name(paper)}]: experiments/{paper.file.name}"] if found else []
    ready = textwrap.fill(f"Ready, not yet run to the end (presets): {', '.join(waiting)}.", 120)
    return "\n\n".join([markdown(SHORT, rows), ready, "\n".join(links)])


def _short_row(paper, entries):
    entry, *others = entries
    name = entry.get("headline") or next(iter(entry["scores"]))
    label = entry.get("label") or name.replace("_", " ")
    presets = f"{len(entries)} of {len(paper.presets)}" if others else _preset(entry)
    published, ours = "–", f"{_number(entry['scores'][name])} ({len(entry['seeds'])})"
    if printed(entry):
        agree = [agrees for one in entries for agrees, _ in compared(one)]
        published, ours = f"{len(agree)} numbers", f"{sum(agree)} agree"
    return (f"[{_name(paper)}] {year(paper)}", presets, label, published, ours, _word(entry))


def index() -> str:
    """experiments/README.md: every paper by kind of data and year, a line each."""
    found = {}
    for paper in _papers():
        what, about = paper.doc.splitlines()[0].rstrip(".").split(": ", 1)
        line = f"- {year(paper)} [{what}]({paper.file.name}): {about}."
        found.setdefault(kind(paper, paper.config()), []).append(line)
    parts = ["# Papers", f"{MADE}. `python -m gan_jax list` shows every preset, its size and its FLOPs."]
    for data, lines in sorted(found.items()):
        parts += [f"## {data.capitalize()}", "\n".join(sorted(lines))]
    return "\n\n".join(parts) + "\n"


def results(folder: Path = HERE) -> str:
    """docs/results.md: a section for each paper."""
    intro = f"{MADE} from the JSON files in [experiments/results](../experiments/results). {RULE}"
    return "\n\n".join(["# Results", intro, *(_section(paper, folder) for paper in _papers())]) + "\n"


def _section(paper, folder):
    """A table of scores, a table of where they come from, findings, and the presets that were not run."""
    entries = _entries(paper, folder)
    parts = [f"## [{_name(paper)}](../experiments/{paper.file.name}) ({year(paper)})"]
    if protocols := [entry["published"]["protocol"] for entry in entries if entry.get("published")]:
        parts.append(f"Published: {(paper.protocol or protocols[0]).rstrip('.')}.")
    if entries:
        head = ("preset", "score", "published", "ours ± SE", "verdict")
        parts.append(markdown(head, [row for entry in entries for row in _score_rows(entry)]))
        origins = {}
        for entry in entries:
            origins.setdefault(tuple(_origin(entry)), []).append(_preset(entry))
        head = ("presets", "ran", "seeds", "hardware", "commit", "command")
        parts.append(markdown(head, [(", ".join(presets), *origin) for origin, presets in origins.items()]))
    notes = [(_preset(entry), _sentences(entry)) for entry in entries]
    if notes := [f"- {preset}: {text}" for preset, text in notes if text]:
        parts.append("\n".join(notes))
    if missing := [preset for preset in paper.presets if preset not in map(_preset, entries)]:
        parts.append(f"Not run: {', '.join(missing)}.")
    return "\n\n".join(parts)


def _score_rows(entry):
    """A row for each score; preset and verdict are in the first."""
    first = [(_preset(entry), _word(entry))] + [("", "")] * (len(entry["scores"]) - 1)
    theirs = [found[0] for text in printed(entry) if (found := NUMBER.search(text))]
    theirs += ["–"] * (len(first) - len(theirs))
    for (preset, word), (name, score), published in zip(first, entry["scores"].items(), theirs, strict=True):
        yield preset, name.replace("_", " "), published, _number(score), word


def _origin(entry):
    """Cells that say where an entry comes from; the command without its notes."""
    words = shlex.split(entry["command"])
    if "--notes" in words:
        del words[words.index("--notes") : words.index("--notes") + 2]
    ran = re.sub(r" \(([\d.]+)%\)$", "", entry["ran"].replace(" of the recipe's ", " of "))
    return ran, str(len(entry["seeds"])), entry["hardware"], entry["commit"], f"`{shlex.join(words)}`"


def _sentences(entry):
    found = [entry.get("finding", ""), entry.get("notes", "")]
    return " ".join(text.rstrip(".") + "." for text in found if text)


def _papers():
    return [papers.paper(name) for name in papers.names()]


def _entries(paper, folder):
    """A paper's entries, in the order of its presets."""
    own = {f"{paper.name}:{preset}": i for i, preset in enumerate(paper.presets)}
    return sorted((e for e in results_of(folder) if e["paper"] in own), key=lambda entry: own[entry["paper"]])


def _name(paper):
    return paper.doc.partition(":")[0].partition(" on ")[0]


def _preset(entry):
    return entry["paper"].partition(":")[2]


def _word(entry):
    return verdict(entry).replace("-", "–")


def _number(score):
    """A score as "0.953 ± 0.004", without the error for a single seed."""
    if score["mean"] is None:
        return "∞"
    infinite = f" ({score['infinite']} more are ∞)" if score.get("infinite") else ""
    return f"{score['mean']:.3g}" + (f" ± {score['se']:.1g}" if score["se"] is not None else "") + infinite


def scores(folder: Path = HERE) -> str:
    """docs/scores.md: a section for each data set, with the scores of its real test images and of runs."""
    files = {path: json.loads(path.read_text()) for path in sorted(folder.glob("scores_*.json"))}
    intro = f"{MADE}. They are the floor for any GAN; runs were scored by the same protocol."
    parts = ["# Scores of real test images", intro, *{found["protocol"]: None for found in files.values()}]
    for path, found in files.items():
        head = ["score", "real test images", *(f"{run['paper']} ({Path(run['run']).name})" for run in found["runs"])]
        rows = []
        for key, value in found["floor"].items():
            shown = [_score(value), *(_score(run["scores"].get(key)) for run in found["runs"])]
            rows.append([value["name"] + " perfect" * key.endswith("perfect"), *shown])
        (reference,) = {v["protocol"]["reference"] for v in found["floor"].values() if "reference" in v["protocol"]}
        parts += [
            f"## {path.stem.removeprefix('scores_')}",
            f"{found.get('notes', '')} Reference: {reference}. Commit {found['commit']}, {found['hardware']}.".strip(),
            markdown(head, rows),
        ]
    return "\n\n".join(parts) + "\n"


def _score(fields):
    if fields is None:
        return ""
    return f"{fields['value']:.4g}" + (f" ± {fields['uncertainty']:.1g}" if fields["uncertainty"] is not None else "")


def update(readme: Path, folder: Path = HERE) -> str:
    """The README with the short table between its two marks. UserError if they are missing."""
    text, n = re.subn(f"(?s){START}.*{END}", lambda _: f"{START}\n{short(folder)}\n{END}", readme.read_text())
    if n != 1:
        raise UserError(f"{readme} has no place for the table: add the lines {START} and {END}.")
    return text


def pages() -> dict[Path, str]:
    """{file: its content}."""
    return {
        ROOT / "README.md": update(ROOT / "README.md"),
        ROOT / "docs" / "results.md": results(),
        ROOT / "docs" / "scores.md": scores(),
        ROOT / "experiments" / "README.md": index(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
