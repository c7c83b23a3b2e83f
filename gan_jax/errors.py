"""The one exception that is written for the user, and how its sentences are printed."""

import difflib
import os
import sys
import unicodedata
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLAIN = str.maketrans({"±": "+/-", "×": "x", "→": "->", "–": "-", "−": "-", "·": "*", "σ": "sigma", "ε": "epsilon"})


class UserError(ValueError):
    """A mistake that the user can correct: one sentence that says what is wrong, where, and what to do.

    The command line prints the sentence alone and exits with 2; from Python it is an ordinary ValueError.
    """


@contextmanager
def writing(path: Path):
    """Context for writing a file of a run: an OSError, such as a full disk, becomes a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): fix that and start again, and the run continues from its "
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
    """Print a line, by default to stdout; in plain letters where the stream cannot encode it, as in an ASCII locale.

    >>> say("Fréchet distance 1 ± 2")
    Fréchet distance 1 ± 2
    """
    file = sys.stdout if file is None else file
    try:
        print(encodable(text, getattr(file, "encoding", None) or "utf-8"), file=file, flush=True)
    except BrokenPipeError:
        mute()


def mute() -> None:
    """Send what else is printed nowhere: whoever read it has gone, as `| head` has after some lines."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
