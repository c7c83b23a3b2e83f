"""The one error that speaks to the user."""

import difflib
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path


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
