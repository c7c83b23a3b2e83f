"""Flags: fields of dataclasses and parameters of functions on the command line, and one line for a user's mistakes.

For instance::

    lr: float = 2e-4  # learning rate          --lr X     learning rate (0.0002)

A tuple takes several words and may be repeated; a bool is --flip or --no-flip; --seed=3 and --seed 3 are the same. A
name's last underscore is dropped, so `from_` is --from. What stands before a function's `/` is given without a name.
"""

import ast
import contextlib
import dataclasses
import inspect
import io
import shutil
import sys
import textwrap
import tokenize
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gan_jax.errors import UserError, mute, nearest, say
from gan_jax.runs import fields
from gan_jax.runs.fields import BIG, Field

MISSING = inspect.Parameter.empty
WIDTH, COLUMN = 100, 26  # of a page of help, and of the flags in it
HELP = {"-h", "--help"}


@dataclass(frozen=True)
class Flag:
    """A field that the command line may set."""

    field: Field
    comment: str  # beside it in the source
    named: bool = True  # False: given by its place

    @property
    def word(self) -> str:
        name = self.field.name.rstrip("_").replace("_", "-")
        return f"--{name}" if self.named else name.upper()


def of_dataclass(config: Any, most: int = fields.MOST) -> list[Flag]:
    """The flags of a dataclass, which `config` is an instance of. most: as for fields.of."""
    beside = {name: text for kind in reversed(type(config).__mro__) for name, text in comments(kind).items()}
    return [Flag(field, beside.get(name, "")) for name, field in fields.of(config, most).items()]


def of_function(f: Callable) -> list[Flag]:
    """The flags of a function's parameters."""
    beside, hints = comments(f), get_type_hints(f)
    return [
        Flag(
            fields.named(name, hints[name], parameter.default, BIG),
            beside.get(name, ""),
            parameter.kind is not inspect.Parameter.POSITIONAL_ONLY,
        )
        for name, parameter in inspect.signature(f).parameters.items()
    ]


def comments(thing: Any) -> dict[str, str]:
    """{field or parameter: the comment beside it} of a class or function; nothing where its source is not at hand."""
    try:
        source = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        return {}
    node: Any = ast.parse(source).body[0]
    found = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    if isinstance(node, ast.ClassDef):
        named = {n.target.id: n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    else:
        named = {arg.arg: arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
    lines = lambda n: range(n.lineno, (n.end_lineno or n.lineno) + 1)
    return {name: " ".join(found[line] for line in lines(n) if line in found) for name, n in named.items()}


def parse(words: Sequence[str], flags: Sequence[Flag]) -> dict[str, Any]:
    """{field: value} of what the words name.

    Raises:
        UserError: An unknown flag, a word too many, a value missing or one that the field cannot have.
    """
    table = {flag.word: flag for flag in flags if flag.named}
    switches = {f"--no-{word[2:]}": flag for word, flag in table.items() if flag.field.kind is bool}
    places, given, rest = [flag for flag in flags if not flag.named], {}, list(words)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        if not word.startswith("-"):
            if not places:
                raise UserError(f"{word!r} is one word too many: --help shows what can be given.")
            flag = places.pop(0)
            given[flag.field.name] = _checked(flag, [word + equals + value])
            continue
        word = word.replace("_", "-")
        if word not in table | switches:
            raise UserError(f"There is no flag {word}{nearest(word, table | switches)}: --help shows them all.")
        flag = table.get(word) or switches[word]
        name, kind = flag.field.name, flag.field.kind
        if kind is bool and not equals:
            given[name] = word in table
            continue
        values = [value] if equals else _following(rest, flag)
        given[name] = given.get(name, ()) + _checked(flag, values) if _is_tuple(kind) else _checked(flag, values)
    if needed := [flag.word for flag in flags if flag.field.default is MISSING and flag.field.name not in given]:
        raise UserError(f"{', '.join(needed)} must be given: --help shows how.")
    return given


def _following(rest, flag):
    """The words that are a flag's value, taken from the front of `rest`."""
    values = []
    while rest and not rest[0].startswith("--") and (not values or _is_tuple(flag.field.kind)):
        values.append(rest.pop(0))
    if not values:
        raise UserError(f"{flag.word} needs a value: --help shows of which kind.")
    return values


def _is_tuple(kind):
    return get_origin(kind) is tuple


def _checked(flag, words):
    """The words as a value of the flag's field."""
    kind = flag.field.kind
    value = tuple(read(word, get_args(kind)[0]) for word in words) if _is_tuple(kind) else read(words[0], kind)
    try:
        return fields.check(flag.field, value)
    except UserError as error:
        raise UserError(f"{flag.word} {error}") from None


def read(word: str, kind: Any) -> Any:
    """A word as a value of a type; the word itself where it is none.

    >>> read("3", int), read("3", float), read("none", int | None), read("b", Literal["a", "b"]), read("x", int)
    (3, 3.0, None, 'b', 'x')
    """
    if get_origin(kind) is Literal:
        return next((one for one in get_args(kind) if str(one) == word), word)
    if get_args(kind):  # a union: the narrowest that takes it
        order = sorted(get_args(kind), key=lambda one: (one is str, one is float))
        return next((value for one in order if fields.fits(value := read(word, one), one)), word)
    if kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(word)
    if kind is bool:
        return {"true": True, "false": False}.get(word.lower(), word)
    return None if kind is type(None) and word.lower() == "none" else word


def values(config: Any, word: str) -> tuple[str, list[Any]]:
    """("lr", [1e-4, 2e-4]) from "lr=1e-4,2e-4", each value read as that field's flag is. UserError for another form."""
    name, equals, given = word.partition("=")
    name, known = name.replace("-", "_"), {flag.field.name: flag for flag in of_dataclass(config)}
    if not equals or not given or name not in known:
        hint = "" if name in known else nearest(name, known)
        raise UserError(f"{word} is not FIELD=VALUE,…{hint}: a field is {next(iter(known))}.")
    return name, [_checked(known[name], [one]) for one in given.split(",")]


def help_text(usage: str, doc: str | None, groups: Mapping[str, Sequence[Flag]]) -> str:
    """The page that --help shows."""
    width = min(WIDTH, shutil.get_terminal_size().columns)
    parts = [f"usage: {usage}", inspect.cleandoc(doc or "")]
    for title, flags in groups.items():
        lines = [line for flag in flags for line in _help_lines(flag, width)]
        parts += ["\n".join([f"{title}:", *lines])] if lines else []
    return "\n\n".join(filter(None, parts))


def _help_lines(flag, width):
    """A flag with its kind, its comment and its default, wrapped."""
    kind, default = flag.field.kind, flag.field.default
    left = f"  {flag.word}{'' if not flag.named or kind is bool else ' ' + _kind(kind)}"
    notes = [f"one of {', '.join(map(str, get_args(kind)))}"] if get_origin(kind) is Literal else []
    if not any(default is nothing for nothing in (MISSING, None, False)) and default not in ("", ()):
        notes.append(f"--no-{flag.word[2:]}: not" if default is True else f"default {default}")
    text = " ".join(filter(None, [flag.comment, f"({'; '.join(notes)})" if notes else ""]))
    lines = textwrap.wrap(text, max(20, width - COLUMN - 1)) or [""]
    first = [f"{left:{COLUMN}} {lines[0]}".rstrip()] if len(left) <= COLUMN else [left, " " * (COLUMN + 1) + lines[0]]
    return first + [" " * (COLUMN + 1) + line for line in lines[1:]]


def _kind(kind):
    """What a value looks like: N, X or TEXT."""
    if _is_tuple(kind):
        return f"{_kind(get_args(kind)[0])} …"
    parts = [one for one in get_args(kind) if one is not type(None)]
    named = {int: "N", float: "X"}
    return "NAME" if get_origin(kind) is Literal else named.get(parts[0] if parts else kind, "TEXT")


def call(command: Callable, words: Sequence[str], program: str) -> None:
    """Run a command with the parameters that the words give it."""
    flags = of_function(command)
    if HELP.intersection(words):
        places = [flag.word for flag in flags if not flag.named]
        say(help_text(" ".join([program, *places, "[flags]"]), command.__doc__, {"flags": flags}))
        return
    given = parse(words, flags)
    places = [given.pop(flag.field.name) for flag in flags if not flag.named]
    command(*places, **given)


def fill(words: Sequence[str], usage: str, doc: str, recipe: Any, options: Any) -> tuple[Any, Any]:
    """The two dataclasses with the fields that flags in `words` name; --help is printed and exits."""
    groups = {"recipe": of_dataclass(recipe), "run": of_dataclass(options, BIG)}
    taken = {flag.field.name for flag in groups["run"]}
    if clash := [flag.field.name for flag in groups["recipe"] if flag.field.name in taken]:
        raise UserError(f"The recipe has a field {clash[0]!r}, which is a flag of every run: give it another name.")
    if HELP.intersection(words):
        say(help_text(usage, doc, groups))
        raise SystemExit(0)
    given = parse(words, [flag for flags in groups.values() for flag in flags])
    own = lambda flags: {flag.field.name: given[flag.field.name] for flag in flags if flag.field.name in given}
    return dataclasses.replace(recipe, **own(groups["recipe"])), dataclasses.replace(options, **own(groups["run"]))


@contextlib.contextmanager
def one_line_errors():
    """A UserError is one line and exit code 2, a warning of ours one line; Ctrl-C is 130."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message, category, filename, lineno, file=None, line=None):
            if category is UserWarning:
                say(f"warning: {message}", sys.stderr)
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        try:
            yield
        except UserError as error:
            say(f"error: {error}", sys.stderr)
            sys.exit(2)
        except BrokenPipeError:
            mute()
        except KeyboardInterrupt:
            sys.exit(130)
