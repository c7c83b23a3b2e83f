"""Modes that a classifier tells apart: how many of them a set of samples has, and how evenly."""

import numpy as np
from jaxtyping import Array, Float, Int

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

Labels = Int[Array | np.ndarray, " n"]


def kl_to_uniform(labels: Labels, classes: int) -> Score:
    """KL(share of each class among the samples ‖ uniform) in nats, where 0 log 0 = 0: from 0 to log(classes).

    UserError for no labels, or for some outside 0 … classes − 1.
    """
    return Score("KL to uniform", histogram_kl(_counts(labels, classes)), _protocol(len(labels), classes))


def stacked_modes(digits: Int[Array | np.ndarray, "n 3"]) -> dict[str, Score]:
    """Stacked MNIST: which of the 1,000 triples of digits occur, and KL(their shares ‖ uniform).

    `digits` are a classifier's labels of the three channels. Lin et al. 2018 (PacGAN), Table 2 with 26,000 samples, and
    Table 3 with 25,600: the KL falls with their number. UserError as in kl_to_uniform.
    """
    digits = np.asarray(digits)
    _counts(digits.reshape(-1), 10)
    labels = digits @ [100, 10, 1]
    modes = Score("modes found", float(len(np.unique(labels))), _protocol(len(labels), 1000))
    return {"modes": modes, "kl_to_uniform": kl_to_uniform(labels, 1000)}


def perfect_kl(n: int, probabilities: Float[np.ndarray, " classes"]) -> Score:
    """What n labels drawn with these probabilities get in `kl_to_uniform`, as in `expected_kl`."""
    mean, deviation = expected_kl(n, probabilities)
    return Score("KL to uniform", mean, _protocol(n, len(probabilities)), deviation, exact(n))


def perfect_stacked_modes(n: int, prior: Float[np.ndarray, "10"] | None = None) -> dict[str, Score]:
    """What n real stacks get in `stacked_modes`, by the shares of the ten digits, uniform if not said.

    At n = 26,000 the KL is .0193 ± .0009, and .0236 ± .0010 with the shares of MNIST's training set.
    """
    prior = np.full(10, 0.1) if prior is None else prior
    triple = np.einsum("i,j,k->ijk", prior, prior, prior).reshape(-1)
    missed = (1 - triple) ** n
    spread = np.sqrt((missed * (1 - missed)).sum())  # as if independent: they are nearly so
    modes = Score("modes found", float((1 - missed).sum()), _protocol(n, 1000), float(spread), exact(n))
    return {"modes": modes, "kl_to_uniform": perfect_kl(n, triple)}


def histogram_kl(counts: Int[np.ndarray, " classes"]) -> float:
    """KL(counts / Σ counts ‖ uniform), ∞ if they are all 0."""
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(share @ np.log(len(counts) * share)) if len(share) else np.inf


def expected_kl(n: int, probabilities: Float[np.ndarray, " classes"]) -> tuple[float, float]:
    """The mean of KL(shares of n draws with probabilities π ‖ uniform), and its standard deviation; ∞ and 0 for n = 0.

    The mean is exact: Σ E (X/n) log(K X/n), X ~ Binomial(n, π); that is near KL(π ‖ uniform) + (K − 1) / 2n. The
    variance is to second order: Var log π / n + (K − 1) / 2n².
    """
    if n == 0:
        return np.inf, 0.0
    k, p = len(probabilities), probabilities[probabilities > 0]
    x, share = np.arange(n + 1), np.arange(1, n + 1) / n
    factorial = np.cumsum(np.log(np.maximum(x, 1)))  # log x!
    choose, term = factorial[n] - factorial - factorial[::-1], share * np.log(k * share)
    pmf = lambda q: np.exp(choose + x * np.log(q) + (n - x) * np.log1p(-q)) if q < 1 else (x == n).astype(float)
    distinct, times = np.unique(p.round(15), return_counts=True)
    mean = sum(count * (pmf(q)[1:] @ term) for q, count in zip(distinct, times, strict=True))
    variance = (p @ np.log(p) ** 2 - (p @ np.log(p)) ** 2) / n + (len(p) - 1) / (2 * n**2)
    return float(mean), float(np.sqrt(max(variance, 0)))


def exact(n: int) -> str:
    """The source of an anchor's ±."""
    return f"standard deviation of {n:,} exact samples"


def _counts(labels, classes):
    labels = np.asarray(labels)
    if not len(labels):
        raise UserError("There are no labels to count modes by: score some samples.")
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"Labels go from {labels.min()} to {labels.max()}, but the classes are 0 to {classes - 1}.")
    return np.bincount(labels, minlength=classes)


def _protocol(n, classes):
    return {"fake": n, "classes": classes}
