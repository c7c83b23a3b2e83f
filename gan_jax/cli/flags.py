"""Flags: fields of dataclasses on the command line, and one line for whatever its user can mend."""

import contextlib
import dataclasses
import io
import itertools
import math
import re
import sys
import warnings
from typing import Any

import tyro

from gan_jax.errors import UserError, nearest, say


def parse(config: Any, options: Any, words: list[str], program: str, description: str | None) -> tuple:
    """Both dataclasses, or the one, with the fields that flags in `words` name. UserError for what they have not."""
    defaults = {"recipe": config} | ({"run": options} if options else {})
    fields = [field.name.replace("_", "-") for default in defaults.values() for field in dataclasses.fields(default)]
    known = {"--help", "-h", "--from"} | {f"--{no}{name}" for name in fields for no in ("", "no-")}
    for word in words:
        flag = word.split("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise UserError(f"There is no flag {flag}{nearest(flag, known)}: --help shows them all.")
    both: Any = dataclasses.make_dataclass("Both", [(name, type(default)) for name, default in defaults.items()])
    target, default = tyro.conf.OmitArgPrefixes[both], both(**defaults)
    found = vars(run(target, words, default=default, prog=program, description=description))
    for part, given in found.items():
        for field in dataclasses.fields(given):
            least = field.metadata.get("least", _least(getattr(defaults[part], field.name)))
            _check_number(field.name.replace("_", "-"), getattr(given, field.name), least)
    return tuple(found.values())


def values(config: Any, word: str) -> tuple[str, list[Any]]:
    """("lr", [1e-4, 2e-4]) from "lr=1e-4,2e-4", each value read as the field's flag is. UserError for another form."""
    field, equals, given = word.partition("=")
    field = field.replace("-", "_")
    known = [known.name for known in dataclasses.fields(config)]
    if not equals or not given or field not in known:
        raise UserError(f"{word} is not FIELD=VALUE,…{nearest(field, known)}: a field is {known[0]}.")
    flag = f"--{field.replace('_', '-')}"
    return field, [getattr(parse(config, None, [flag, value], flag, "")[0], field) for value in given.split(",")]


def _least(default):
    """No number of a config is negative, and a count that is not 0 by default cannot be, unless its field says so."""
    return 1 if type(default) is int and default > 0 else 0


def _check_number(name, value, least):
    if isinstance(value, int | float) and not least <= value < math.inf:
        raise UserError(f"--{name} is {value}: it must be {least} or more.")


def run(target, words, **how):
    """tyro.cli, whose box of a complaint becomes a UserError of one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(target, args=words, **how)
    except SystemExit as stop:
        if not stop.code:
            raise
        plain = re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue())  # a terminal is told in colours
        lines = [line.strip("│ ") for line in plain.splitlines()[1:]]  # below the title, between two rules
        rule = lambda line: not line.strip("─-╰╯")
        words = itertools.takewhile(lambda line: not rule(line), itertools.dropwhile(rule, lines))
        raise UserError(f"{' '.join(words)} (--help shows all flags)") from None


@contextlib.contextmanager
def one_line_errors():
    """A UserError is one line and exit code 2, a warning of ours one line; Ctrl-C is 130."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message, category, *where):
            if category is UserWarning:
                say(f"warning: {message}", sys.stderr)
            else:
                others(message, category, *where)

        warnings.showwarning = show
        try:
            yield
        except UserError as error:
            say(f"error: {error}", sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(130)
