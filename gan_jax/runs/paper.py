"""What a paper is: one record, gathered from the paper's file.

A paper's file defines::

    PRESETS       {name: Config}, the default first; a Config is a frozen dataclass with data, steps, batch and seed
    data(c)       the training data: {"x": [n, …], "y": [n]}, or several such sets
    example(c)    the shape and dtype of one example, known before the data is at hand
    game(c)       the Game, or a schedule of Games

and may define TINY (a Config for tests), show (a show.Show), scores(c) -> (samples -> {name: Score}), perfect(c) (the
scores of exact samples), held_out(c) (what translations and conditional scores are measured on), and PUBLISHED,
PROTOCOL and CLAIMS.

The papers that are shipped are found by name, "dcgan" or "dcgan:mnist"; any other by the path of its file. Nothing read
from a run is executed: a run of one's own file is loaded by giving the file again.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from gan_jax.errors import UserError, nearest
from gan_jax.runs import fields
from gan_jax.show import Show, infer

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = PACKAGE / "_experiments"  # in a wheel; a checkout has the papers beside the package
FOLDER = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "experiments"
REQUIRED = ("PRESETS", "data", "example", "game")
EVERY = ("data", "steps", "batch", "seed")  # fields of every Config


@dataclass(frozen=True, eq=False)
class Paper:
    """A paper as code: its presets, data, game, and how samples are shown and scored.

    Attributes:
        name: "dcgan", the name of its file.
        file: Path of the file.
        shipped: Whether it comes with gan_jax and can be found by its name.
        doc: The file's docstring.
        presets: {name: Config}, the default first.
        data: Config -> the training data, checked against `example`.
        example: Config -> jax.ShapeDtypeStructs of one example.
        game: Config -> Game, or a schedule of Games.
        tiny: A Config that trains in seconds, for tests.
        show: How samples are drawn, a show.Show; None for what suits the shape of the data.
        scores: Config -> (samples -> {name: Score}), the paper's own protocol.
        perfect: Config -> {name: Score} of exact samples.
        held_out: Config -> what translations and conditional scores are measured on.
        published: {preset: {name: (mean, standard error or None)}}.
        protocol: How the published numbers were measured.
        claims: {name: Claim}, what the paper states and `reproduce` re-runs.
        module: The file as a module.
    """

    name: str
    file: Path
    shipped: bool
    doc: str
    presets: Mapping[str, Any]
    data: Callable[[Any], Any]
    example: Callable[[Any], Any]
    game: Callable[[Any], Any]
    tiny: Any
    show: Any
    scores: Callable[[Any], Callable] | None
    perfect: Callable[[Any], Mapping[str, Any]] | None
    held_out: Callable[[Any], Any] | None
    published: Mapping[str, Mapping[str, tuple[float, float | None]]]
    protocol: str
    claims: Mapping[str, Any]
    module: ModuleType = dataclasses.field(repr=False)

    def title(self, preset: str) -> str:
        """What a run's config.json calls it: "dcgan:mnist", or "mine.py:small" for a file of one's own."""
        return f"{self.name if self.shipped else self.file.name}:{preset}"

    def shown(self, config: Any) -> Show:
        """How samples are drawn, by default as suits the shape of an example, of several sets that of the first."""
        example = self.example(config)
        first = next(iter(example.values()))
        return self.show or infer(first if isinstance(first, Mapping) else example)

    def spec(self, config: Any) -> dict[str, Any]:
        """{name: [shape of a batch, dtype]} of what the game of a Config reads."""
        return jax.tree.map(lambda x: [[config.batch, *x.shape], str(x.dtype)], self.example(config))

    def config(self, preset: str = "") -> Any:
        """The Config of a preset, by default the first. UserError if there is none of that name."""
        preset = preset or next(iter(self.presets))
        if preset not in self.presets:
            hint = nearest(preset, self.presets)
            raise UserError(f"{self.name} has no preset {preset!r}{hint}: it has {', '.join(self.presets)}.")
        return self.presets[preset]


def names() -> list[str]:
    """The papers that are shipped, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def paper(which: str | Path) -> Paper:
    """The Paper of a name, "dcgan", or of the path of a file, "mine.py".

    Raises:
        UserError: there is no such paper or file, or the file lacks what a paper needs.
    """
    file = Path(which).expanduser()
    if file.suffix != ".py":
        return _shipped(str(which))
    if not file.is_file():
        raise UserError(f"There is no file {which}: give the path of a paper's file, or a name such as 'dcgan'.")
    file = file.resolve()
    started = sys.modules["__main__"]
    if file == _path(started):
        return gather(started)
    return _shipped(file.stem) if file.parent == FOLDER.resolve() else gather(_executed(file, f"paper {file}"))


def _shipped(name: str) -> Paper:
    known = names()
    if name not in known:
        raise UserError(
            f"There is no paper {name!r:.60}{nearest(name, known)}: `python -m gan_jax list` shows them all, and a file"
            " of your own is given by its path, such as mine.py."
        )
    key, file = f"gan_jax._experiments.{name}", FOLDER.resolve() / f"{name}.py"
    module = sys.modules.get(key)
    return gather(module if module and _path(module) == file else _executed(file, key))


def _path(module):
    """Of the file that a module was made from, None for one without."""
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _executed(file, key):
    """The module that results from executing a file."""
    sys.modules[key] = module = ModuleType(key)  # dataclasses and typing look their module up there
    module.__file__ = str(file)
    try:
        SourceFileLoader(key, str(file)).exec_module(module)
    except BaseException:
        del sys.modules[key]
        raise
    return module


def gather(module: ModuleType) -> Paper:
    """The record of a paper's module. UserError names what the file lacks."""
    file: Any = _path(module)
    if missing := [name for name in REQUIRED if not hasattr(module, name)]:
        raise UserError(
            f"{file.name} does not define {' or '.join(missing)}: a paper's file defines PRESETS, data, example and"
            " game (`python -m gan_jax new mine.py` writes one to start from)."
        )
    _check_presets(file, module.PRESETS)
    optional = partial(getattr, module)
    return Paper(
        name=file.stem,
        file=file,
        shipped=file.parent == FOLDER.resolve(),
        doc=module.__doc__ or "",
        presets=module.PRESETS,
        data=partial(_data, file.name, module.data, module.example),
        example=module.example,
        game=module.game,
        tiny=optional("TINY", None),
        show=_show(optional("show", None)),
        scores=optional("scores", None),
        perfect=optional("perfect", None),
        held_out=optional("held_out", None),
        published=optional("PUBLISHED", {}),
        protocol=optional("PROTOCOL", ""),
        claims=optional("CLAIMS", {}),
        module=module,
    )


def _show(how):
    """A Show; a plain function draws the samples of one training."""
    return Show(how) if callable(how) and not isinstance(how, Show) else how


def _check_presets(file, presets):
    if not isinstance(presets, Mapping) or not presets:
        raise UserError(f"{file.name}: PRESETS must be {{name: Config}} with one entry or more.")
    for name, config in presets.items():
        if not dataclasses.is_dataclass(config) or not type(config).__dataclass_params__.frozen:
            raise UserError(f"{file.name}: preset {name!r} must be an instance of a frozen dataclass.")
        if missing := [field for field in EVERY if field not in type(config).__dataclass_fields__]:
            raise UserError(f"{file.name}: preset {name!r} needs the fields {', '.join(EVERY)}; it lacks {missing[0]}.")
        fields.check_types(file.name, config)


def _data(name, load, example, c):
    """`load(c)`, whose arrays have the shapes and dtypes that `example(c)` says."""
    data = load(c)
    for path, says in jax.tree_util.tree_leaves_with_path(example(c)):
        x = data
        for key in path:
            x = x.get(key.key) if isinstance(x, Mapping) else None
        where = "/".join(str(key.key) for key in path)
        if x is None:
            raise UserError(f"{name}: its example has {where}, its data has not: make them agree.")
        dtype = "float32" if x.dtype == np.uint8 else str(jax.dtypes.canonicalize_dtype(x.dtype))
        if (x.shape[1:], dtype) != (says.shape, str(says.dtype)):
            shape = lambda sizes: "x".join(map(str, sizes)) or "a number"
            raise UserError(
                f"{name}: its data has {where} of {shape(x.shape[1:])}, {dtype}; its example says {shape(says.shape)},"
                f" {says.dtype}: make them agree."
            )
    return data


def preset(title: str) -> tuple[Paper, Any]:
    """("dcgan:mnist", or "dcgan" for its first preset) -> the paper and that Config; also "mine.py:small"."""
    found, chosen = split(title)
    return found, found.config(chosen)


def split(title: str) -> tuple[Paper, str]:
    """("dcgan:mnist", "dcgan", "mine.py:small" …) -> the paper and the preset's name, by default the first."""
    which, _, chosen = title.partition(".py:") if ".py:" in title else title.partition(":")
    found = paper(f"{which}.py" if ".py:" in title else which)
    chosen = chosen or next(iter(found.presets))
    found.config(chosen)
    return found, chosen


def configured(title: str, values: Mapping[str, Any], file: str | Path | None = None) -> tuple[Paper, Any]:
    """The paper and Config that a run's config.json describes.

    Args:
        title: As Paper.title gives it.
        values: {field: value}, in place of the preset's.
        file: The paper's file, for a run of a paper that is not shipped.

    Raises:
        UserError: the paper is not shipped and no file is given; there is no such preset or field; a value that the
            field's flag would not take either.
    """
    name, _, chosen = title.partition(":")
    if file is None and name.endswith(".py"):
        raise UserError(
            f"This is a run of {name!r:.60}, a paper of your own: give its file again, by --paper or as in"
            f" gan_jax.load(run, paper={name!r:.60})."
        )
    found = _shipped(name) if file is None else paper(file)
    if found.title(chosen) != title:
        raise UserError(f"This is a run of {title!r:.60}, not of {found.title(chosen)!r:.60}: give that paper's file.")
    return found, fields.replaced(title, found.config(chosen), values)
