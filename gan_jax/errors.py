"""The one error that speaks to the user."""

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
