"""The inception score, from the probabilities [n, c] of any classifier."""

import jax
import numpy as np
from jaxtyping import Float

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score


def inception_score(probabilities: Float[np.ndarray | jax.Array, "n c"], splits: int = 10) -> Score:
    """exp E KL(p(c|x) ‖ p(c)), between 1 and c: the mean over consecutive splits, with standard error s / √splits.

    Salimans et al. 2016, section 4. Published spreads are the standard deviation s over the splits, with 1 / splits.

    Args:
        probabilities: p(c|x) of each sample, [n, c].
        splits: Equal parts of the samples.

    Raises:
        UserError: The rows are not probabilities, or there are fewer samples than splits.

    >>> round(inception_score(np.eye(4)[[0, 1, 2, 3]], splits=1).value, 6)
    4.0
    """
    p = np.asarray(probabilities, np.float64)
    n = len(p)
    if not 1 <= splits <= n:
        raise UserError(f"{n} samples cannot be cut into {splits} splits: take 1 to {n}.")
    if not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(1), 1, atol=1e-3)):
        raise UserError("An inception score needs the probabilities of a classifier: each row ≥ 0 and of sum 1.")
    entropy = lambda q: -(q * np.log(np.where(q > 0, q, 1))).sum(-1)
    parts = [p[i * n // splits : (i + 1) * n // splits] for i in range(splits)]
    values = np.array([np.exp(entropy(part.mean(0)) - entropy(part).mean()) for part in parts])
    error = float(values.std(ddof=1) / np.sqrt(splits)) if splits > 1 else None
    protocol = {"fake": n, "classes": p.shape[1], "splits": splits}
    return Score("inception score", float(values.mean()), protocol, error, f"{splits} splits" if splits > 1 else "")
