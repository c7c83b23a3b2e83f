"""Text: a line per sample."""

from collections.abc import Sequence

import numpy as np

from gan_jax.errors import UserError
from gan_jax.show.pages import Show


def text_of(vocabulary: Sequence[str], between: str = "") -> Show:
    """Text of tokens [n, t], or of scores or probabilities [n, t, v], of which the largest is the token.

    Args:
        vocabulary: What token i stands for.
        between: Written between tokens: "" for characters, " " for words.

    >>> text_of("ab ").draw({"x": np.array([[0, 1, 1], [2, 0, 0]])}, None)
    {'txt': b'abb\\n aa\\n'}
    """
    known = np.array(list(vocabulary))

    def draw(samples, real):
        tokens = _tokens(samples["x"])
        if tokens.min() < 0 or tokens.max() >= len(known):
            raise UserError(
                f"Tokens run from {tokens.min()} to {tokens.max()}, and the vocabulary has {len(known)} entries:"
                f" 0 to {len(known) - 1}."
            )
        return _lines(between.join(line) for line in known[tokens])

    return Show(draw)


def _draw(samples, real):
    x = samples["x"]
    if np.asarray(x).dtype.kind in "OU":
        return _lines(map(str, x))
    return _lines(" ".join(map(str, line)) for line in _tokens(x))


text = Show(_draw)
"""Text: strings [n], or tokens [n, t] as numbers; `text_of` a vocabulary writes what they stand for."""


def _tokens(x):
    """[n, t] of integers."""
    x = np.asarray(x)
    x = x.argmax(-1) if x.ndim == 3 else x
    if x.ndim != 2 or x.dtype.kind not in "iu" or not x.size:
        raise UserError(
            f"Text needs strings [n], tokens [n, t] or probabilities [n, t, v]; this is {x.dtype} {list(x.shape)}."
        )
    return x


def _lines(lines):
    """A line per sample; a line break within a sample is written as \\n."""
    return {"txt": "".join(line.replace("\n", "\\n") + "\n" for line in lines).encode()}
