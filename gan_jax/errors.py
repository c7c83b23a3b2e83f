"""The one error that speaks to the user, and words for people."""

import difflib
import sys
import unicodedata
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLAIN = str.maketrans({"±": "+/-", "×": "x", "→": "->", "–": "-", "−": "-", "·": "*", "σ": "sigma", "ε": "epsilon"})


class UserError(ValueError):
    """Something its reader can mend: one sentence that says what is wrong, where, and what to do.

    The command line prints it alone and exits with 2; Python code sees an ordinary ValueError.
    """


@contextmanager
def keeping(path: Path):
    """Around what writes a file of a run. UserError where the system refuses, as on a full disk: the run stops."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): mend that and start again, and the run goes on from its "
            f"last checkpoint."
        ) from None


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint to append to a sentence: the known word most like `word`, or nothing if none is.

    >>> nearest("stpes", ["steps", "batch"])
    " (did you mean 'steps'?)"
    """
    close = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def say(text: str, file: Any = None) -> None:
    """Print a line, by default to stdout; in plain letters where the stream cannot encode it, as in an ASCII locale."""
    file = sys.stdout if file is None else file
    print(encodable(text, getattr(file, "encoding", None) or "utf-8"), file=file)


def encodable(text: str, encoding: str) -> str:
    """The text as it is, or, where `encoding` lacks some of it, without accents and with "?" for what remains.

    >>> encodable("Fréchet distance 1 ± 2", "ascii")
    'Frechet distance 1 +/- 2'
    """
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        apart = unicodedata.normalize("NFKD", text.translate(PLAIN))
        plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
        return plain.encode(encoding, "replace").decode(encoding)
