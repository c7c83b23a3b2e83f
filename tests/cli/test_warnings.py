"""gan_jax/cli/flags.py: what a user may have to know or mend is one line, in any locale."""

import io
import sys
import warnings

import pytest

from gan_jax.cli import flags
from gan_jax.errors import UserError


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(capsys):
    with flags.one_line_errors():
        warnings.warn("there are few images", stacklevel=1)
    assert capsys.readouterr().err == "warning: there are few images\n"
    with pytest.warns(DeprecationWarning, match="by others"), flags.one_line_errors():
        warnings.warn("by others", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == ""


def test_an_error_survives_an_ascii_locale(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(SystemExit, match="2"), flags.one_line_errors():
        raise UserError("the Fréchet distance needs 2 … 9")
    stream.seek(0)
    assert stream.read() == "error: the Frechet distance needs 2 ... 9\n"
