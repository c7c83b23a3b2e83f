"""`list`: every paper and preset."""

import re

import jax

from gan_jax import show
from gan_jax.runs import costs, results
from gan_jax.runs import paper as papers

HEAD = ("paper:preset", "data", "year", "example", "parameters", "GFLOP/round", "verdict")


def list_papers(
    recount: bool = False,  # count every preset anew and write experiments/costs.json
) -> None:
    """Every paper and preset: kind of data, year, shape of an example, parameters, FLOPs of a round, verdict.

    FLOPs are those of a round on a CPU, as XLA counts them. A verdict says how far published numbers are reproduced:
    reproduced, close, differs, partial n % (of the recipe was run) or not run; - where none are published. The results
    that verdicts are made of lie in the repository, in experiments/results, not in the package.
    """
    found = [papers.paper(name) for name in papers.names()]
    if recount:
        costs.recount(found)
    counts, verdicts = costs.costs(found), results.verdicts()
    print(_line(HEAD if verdicts else (*HEAD[:-1], "")))
    for paper in found:
        for preset, config in paper.presets.items():
            title, (weights, work) = paper.title(preset), counts[paper.name][preset]
            shape = "x".join(map(str, jax.tree.leaves(paper.example(config))[0].shape))
            amount = f"{work / 1e9:,.2f}" if work >= 1e7 else "<0.01"
            verdict = verdicts.get(title, "not run") if verdicts else ""
            print(_line((title, kind(paper, config), year(paper), shape, f"{weights:,}", amount, verdict)))


def _line(cells):
    title, data, when, shape, weights, work, verdict = cells
    return f"{title:25} {data:7} {when:4} {shape:>11} {weights:>12} {work:>11}  {verdict}".rstrip()


def kind(paper: papers.Paper, config: object) -> str:
    """The modality, by how samples are shown: images, points, text …; "own" for a paper's own way."""
    shown = paper.shown(config)
    return next((name for name in show.__all__ if getattr(show, name) is shown), "own")


def year(paper: papers.Paper) -> str:
    """The year of the paper: the one before its arXiv number, or else the first that its docstring names."""
    found = re.search(r"\b((?:19|20)\d\d)\.\s+arXiv", paper.doc) or re.search(r"\b((?:19|20)\d\d)\b", paper.doc)
    return found[1] if found else ""
