"""Where the papers are: one file each in the experiments folder, which lies beside the package.

A paper is found by its file name, never by a path or module that a run names. Its file holds PRESETS (name ->
Config, the default first), `game(config)`, `data(config)`, and `example(config)`: the shape of one example.

It may hold scores of its own: `score(config)`, which takes samples [n, …] to {name: Score}, n being `config.samples`;
`perfect(config)`, what exact samples get; and PUBLISHED, {preset: {name: (mean, standard error or None)}}, by PROTOCOL.
Where its game translates images, `held_out(config)` has those that pictures and scores are made of.
"""

import dataclasses
import difflib
import json
import math
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from gan_jax.errors import UserError

TIMES = 100  # the preset's: no count of a run's file that decides how much is built is larger
LENGTHS = {"steps", "batch"}  # decide nothing of that
FOLDER = Path(__file__).resolve().parents[2] / "experiments"


def names() -> list[str]:
    """Every paper, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def paper(name: str) -> ModuleType:
    """The paper's file as a module."""
    known = names()
    if name not in known:
        raise UserError(f"There is no paper {name!r}{nearest(name, known)}: `python -m gan_jax list` shows them all.")
    module_name = f"experiments.{name}"
    if module_name not in sys.modules:
        sys.modules[module_name] = module = ModuleType(module_name)
        module.__file__ = str(FOLDER / f"{name}.py")  # `--help` reads the comments beside the fields there
        SourceFileLoader(module_name, module.__file__).exec_module(module)
    return sys.modules[module_name]


def preset(title: str) -> tuple[ModuleType, Any]:
    """("paper:preset", or "paper" for its first) -> the paper's module and that Config."""
    name, _, chosen = title.partition(":")
    module = paper(name)
    chosen = chosen or next(iter(module.PRESETS))
    if chosen not in module.PRESETS:
        hint = nearest(chosen, module.PRESETS)
        raise UserError(f"{name} has no preset {chosen!r}{hint}: it has {', '.join(module.PRESETS)}.")
    return module, module.PRESETS[chosen]


def configured(title: str, fields: dict[str, Any]) -> tuple[ModuleType, Any]:
    """The paper's module and the preset with `fields` in place of its own, as a run's file has them.

    UserError for a field that it has not, and for a value that is none of that field's.
    """
    module, config = preset(title)
    known = {field.name: field.type for field in dataclasses.fields(config)}
    for field, value in fields.items():
        if field not in known:
            raise UserError(f"{title} has no field {field!r}{nearest(field, known)}.")
        if not _fits(value, known[field]):
            raise UserError(f"{title}: {field} is {value!r:.40}, which is no value of it.")
        default, number = getattr(config, field), type(value) in (int, float)
        if number and not 0 <= value < math.inf:
            raise UserError(f"{title}: {field} is {value}: no number of a config is negative or infinite.")
        counts = type(default) is int and default > 0 and field not in LENGTHS
        most = TIMES * default if counts else 2**128  # past float32
        if number and value > most:
            raise UserError(
                f"{title}: {field} is {value!r:.40}, more than the {most:.6g} that a run's file may ask for: build"
                f" its game yourself if you trust it, and give it as load(run, game=…)."
            )
    return module, dataclasses.replace(config, **fields)


def _fits(value, kind):
    """Whether what JSON holds is of a field's type."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_args(kind):
        return any(_fits(value, one) for one in get_args(kind))
    return type(value) is kind or (kind is float and type(value) is int)


def nearest(word: str, known) -> str:
    """A hint to append to a sentence: the known word that is most like `word`, if any is."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def reproduction(title: str) -> str:
    """What the results say of "paper:preset": the verdicts recorded for it, or "not run"."""
    found = [row.get("verdict") for row in results(FOLDER / "results") if row["paper"] == title]
    return "; ".join(verdict for verdict in found if verdict) or "not run"


def results(folder: Path) -> list[dict[str, Any]]:
    """What the JSON files there say of papers: a run group a file, or several as its `rows`."""
    files = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    rows = [{**found, **row} for found in files for row in found.get("rows", [found])]
    return [row for row in rows if "paper" in row]
