"""How many modes of a mixture of Gaussians a set of samples covers."""

import jax
import numpy as np
from jax.scipy.special import gammainc
from jaxtyping import Array, Num

from gan_jax.errors import UserError
from gan_jax.metrics.modes import exact, expected_kl, histogram_kl
from gan_jax.metrics.score import Score
from gan_jax.mixtures import Mixture


def modes_covered(samples: Num[Array | np.ndarray, "n d"], mixture: Mixture) -> dict[str, Score]:
    """How many modes of a mixture the samples cover. The literature takes 2,500 samples.

    Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN), table 1 of both; the KL is that of PacGAN's code.

    Returns:
        high_quality: Share of samples within `mixture.within` σ of a centre.
        modes: Centres that are the nearest of some high-quality sample.
        reverse_kl: KL(shares of the modes among the high-quality samples ‖ uniform); ∞ if there are none.

    Raises:
        UserError: No samples, another number of columns, or samples that are not finite.

    >>> from gan_jax.mixtures import ring
    >>> eight = ring()
    >>> [modes_covered(eight.centres[:3], eight)[name].value for name in ("modes", "high_quality")]
    [3.0, 1.0]
    """
    y = np.asarray(samples, np.float64)
    if y.shape[1] != mixture.centres.shape[1] or not len(y):
        raise UserError(
            f"The {mixture.name} needs samples [n, {mixture.centres.shape[1]}]; these have shape {list(y.shape)}."
        )
    if not np.isfinite(y).all():
        raise UserError("Some of the samples to score are not finite: the training has diverged.")
    square = np.stack([np.square(y - centre).sum(1) for centre in mixture.centres], 1)
    near = square.min(1) < (mixture.within * mixture.sigma) ** 2
    counts = np.bincount(square.argmin(1)[near], minlength=len(mixture.centres))
    return _scores(mixture, len(y), (np.count_nonzero(counts), near.mean(), histogram_kl(counts)))


def perfect_modes(mixture: Mixture, n: int) -> dict[str, Score]:
    """The `modes_covered` of n exact samples: means ± standard deviations.

    The share of high quality is p = P(χ² < within²): 1 − e^(−9/2) = 98.89 % in two dimensions within 3 σ.

    >>> from gan_jax.mixtures import ring
    >>> round(float(perfect_modes(ring(), 2500)["high_quality"]), 4)
    0.9889
    """
    with jax.enable_x64(True):
        p = float(gammainc(mixture.noisy / 2, mixture.within**2 / 2))
    k = len(mixture.centres)
    missed, both = (1 - p / k) ** n, (1 - 2 * p / k) ** n  # P(a mode is missed), P(two modes are)
    spread = np.sqrt(max(k * missed * (1 - missed) + k * (k - 1) * (both - missed**2), 0))
    kl, kl_spread = expected_kl(round(n * p), np.full(k, 1 / k))
    return _scores(mixture, n, (k * (1 - missed), p, kl), (spread, np.sqrt(p * (1 - p) / n), kl_spread))


def _scores(mixture, n, values, spreads=None):
    protocol = {"fake": n, "mixture": mixture.name, "σ": mixture.sigma, "within": f"{mixture.within:g} σ"}
    names = {"modes": "modes covered", "high_quality": "high-quality share", "reverse_kl": "reverse KL over modes"}
    source = exact(n) if spreads else ""
    return {
        key: Score(name, float(value), protocol, None if spread is None else float(spread), source)
        for (key, name), value, spread in zip(names.items(), values, spreads or (None,) * 3, strict=True)
    }
