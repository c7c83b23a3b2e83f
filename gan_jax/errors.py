"""The one error that speaks to the user."""


class UserError(ValueError):
    """Something its reader can mend: one sentence that says what is wrong, where, and what to do.

    The command line prints it alone and exits with 2; Python code sees an ordinary ValueError.
    """
