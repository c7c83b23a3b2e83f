"""The parameters and FLOPs of every preset that is shipped, kept in a file: to trace them all takes half a minute.

experiments/costs.json is written by `python -m gan_jax list --recount`. A paper whose code has changed since is
counted anew.
"""

import ast
import hashlib
import json
from typing import Any

from gan_jax.runs.paper import FOLDER, Paper
from gan_jax.show import write

Counts = dict[str, list[int | float]]  # {preset: [parameters, FLOPs of a round]}


def costs(papers: list[Paper]) -> dict[str, Counts]:
    """{paper: {preset: [parameters, FLOPs of a round]}}."""
    file = FOLDER / "costs.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    known = lambda paper: kept.get(paper.name, {}).get("code") == code(paper)
    return {paper.name: kept[paper.name]["presets"] if known(paper) else count(paper) for paper in papers}


def count(paper: Paper) -> Counts:
    """The presets of a paper, counted from their jaxprs; nothing is compiled."""
    from gan_jax.runs import cost
    from gan_jax.training.spec import as_schedule

    found = {}
    for preset, config in paper.presets.items():
        game, spec = as_schedule(paper.game(config))(0), paper.spec(config)
        found[preset] = [sum(cost.parameters(game, spec).values()), cost.flops(game, spec)]
    return found


def recount(papers: list[Paper]) -> None:
    """Write the file."""
    table = {paper.name: {"code": code(paper), "presets": count(paper)} for paper in papers}
    write(FOLDER / "costs.json", (json.dumps(table, indent=1) + "\n").encode())


def code(paper: Paper) -> str:
    """16 hexadecimal digits that change with a paper's code, but not with its comments and docstrings."""
    tree: Any = ast.parse(paper.file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body[0] = ast.Pass()
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]
