"""gan_jax/errors.py: what is printed survives any locale."""

import io

import pytest

from gan_jax.errors import encodable, say


@pytest.mark.parametrize(
    ("text", "encoding", "printed"),
    [
        ("Fréchet distance 1.5 ± 0.1; σ 2, ε 3", "ascii", "Frechet distance 1.5 +/- 0.1; sigma 2, epsilon 3"),
        ("Fréchet × 10³ → W₁ …", "ascii", "Frechet x 103 -> W1 ..."),
        ("Fréchet ± 1", "latin-1", "Fréchet ± 1"),
        ("Fréchet ± 1 → 2", "latin-1", "Frechet +/- 1 -> 2"),
        ("数 1", "ascii", "? 1"),
        ("Fréchet", "utf-8", "Fréchet"),
    ],
)
def test_a_line_is_printed_under_any_encoding(text, encoding, printed):
    assert encodable(text, encoding) == printed
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    say(text, stream)
    stream.flush()
    assert raw.getvalue().decode(encoding) == f"{printed}\n"


def test_a_line_goes_to_stdout(capsys):
    say("1 ± 2")
    assert capsys.readouterr().out == "1 ± 2\n"
