"""Modes that a classifier distinguishes: how many of them a set of samples covers, and how evenly."""

import numpy as np
from jaxtyping import Array, Float, Int

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score

Labels = Int[Array | np.ndarray, " n"]


def kl_to_uniform(labels: Labels, classes: int) -> Score:
    """KL(shares of the classes among the samples ‖ uniform) in nats: from 0 to log(classes).

    Raises:
        UserError: There are no labels, or some outside 0 … classes − 1.

    >>> round(kl_to_uniform(np.array([0, 0, 1, 1]), classes=4).value, 4)  # log 2
    0.6931
    """
    return Score("KL to uniform", histogram_kl(_counts(labels, classes)), _protocol(len(labels), classes))


def stacked_modes(digits: Int[Array | np.ndarray, "n 3"]) -> dict[str, Score]:
    """Stacked MNIST: how many of the 1,000 triples of digits occur, and KL(their shares ‖ uniform).

    Lin et al. 2018 (PacGAN), table 2 with 26,000 samples and table 3 with 25,600. The KL falls with their number.

    Args:
        digits: A classifier's labels of the three channels, [n, 3].

    Returns:
        {"modes": …, "kl_to_uniform": …}.

    Raises:
        UserError: There are no samples, or labels outside 0 … 9.

    >>> stacked_modes(np.array([[1, 2, 3], [1, 2, 3], [3, 2, 1]]))["modes"].value
    2.0
    """
    digits = np.asarray(digits)
    _counts(digits.reshape(-1), 10)
    labels = digits @ [100, 10, 1]
    modes = Score("modes found", float(len(np.unique(labels))), _protocol(len(labels), 1000))
    return {"modes": modes, "kl_to_uniform": kl_to_uniform(labels, 1000)}


def perfect_kl(n: int, probabilities: Float[np.ndarray, " classes"]) -> Score:
    """The `kl_to_uniform` of n labels drawn with these probabilities: its mean ± its standard deviation.

    >>> print(perfect_kl(1000, np.full(10, 0.1)))
    KL to uniform 0.00450833 ± 0.0021 (standard deviation of 1,000 exact samples); fake 1,000, classes 10
    """
    mean, deviation = expected_kl(n, probabilities)
    return Score("KL to uniform", mean, _protocol(n, len(probabilities)), deviation, exact(n))


def perfect_stacked_modes(n: int, prior: Float[np.ndarray, "10"] | None = None) -> dict[str, Score]:
    """The `stacked_modes` of n stacks of real digits: means ± standard deviations.

    At n = 26,000 the KL is .0193 ± .0009, and .0236 ± .0010 with the shares of MNIST's training set.

    Args:
        n: Stacks.
        prior: Shares of the ten digits, uniform by default.

    >>> round(float(perfect_stacked_modes(26_000)["kl_to_uniform"]), 4)
    0.0193
    """
    prior = np.full(10, 0.1) if prior is None else prior
    triple = np.einsum("i,j,k->ijk", prior, prior, prior).reshape(-1)
    missed = (1 - triple) ** n
    spread = np.sqrt((missed * (1 - missed)).sum())  # as if they were independent, which is nearly true
    modes = Score("modes found", float((1 - missed).sum()), _protocol(n, 1000), float(spread), exact(n))
    return {"modes": modes, "kl_to_uniform": perfect_kl(n, triple)}


def histogram_kl(counts: Int[np.ndarray, " classes"]) -> float:
    """KL(counts / Σ counts ‖ uniform), with 0 log 0 = 0; ∞ if all counts are 0.

    >>> round(histogram_kl(np.array([10, 0])), 4)  # log 2
    0.6931
    """
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(share @ np.log(len(counts) * share)) if len(share) else np.inf


def expected_kl(n: int, probabilities: Float[np.ndarray, " classes"]) -> tuple[float, float]:
    """Mean and standard deviation of KL(shares of n draws with probabilities π ‖ uniform); ∞ and 0 for n = 0.

    The mean Σ E (X/n) log(K X/n), X ~ Binomial(n, π), is exact; it is about KL(π ‖ uniform) + (K − 1) / 2n. The
    variance is taken to second order: Var log π / n + (K − 1) / 2n².

    >>> mean, _ = expected_kl(1, np.full(4, 0.25))
    >>> round(mean, 4)  # a single draw: log 4
    1.3863
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
    """The source of the uncertainty of perfect scores.

    >>> exact(1000)
    'standard deviation of 1,000 exact samples'
    """
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
