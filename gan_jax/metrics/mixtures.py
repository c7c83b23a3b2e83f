"""Mixtures of Gaussians whose modes are known, and how many of them a set of samples covers."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc
from jaxtyping import Array, Float, Key, Num

from gan_jax.errors import UserError
from gan_jax.metrics.modes import exact, expected_kl, histogram_kl
from gan_jax.metrics.score import Score


@dataclass(frozen=True, eq=False)
class Mixture:
    """Equally likely Gaussians N(centre, σ²) on the first `noisy` axes, which are their centre itself on the others."""

    name: str
    centres: Float[np.ndarray, "modes d"]
    sigma: float
    noisy: int
    within: float = 3.0  # a sample is of high quality if it is nearer to a centre than this many σ


def ring(modes: int = 8, radius: float = 1.0, sigma: float = 0.01) -> Mixture:
    """[modes, 2] on a circle. Lin et al. 2018 (PacGAN), Table 1, with the constants of its code."""
    angle = 2 * np.pi * np.arange(modes) / modes
    return Mixture(f"ring of {modes}", radius * np.stack([np.cos(angle), np.sin(angle)], 1), sigma, 2)


def grid(side: int = 5, spacing: float = 2.0, sigma: float = 0.05) -> Mixture:
    """[side², 2] on a square around 0. Lin et al. 2018 (PacGAN), Table 1, with the constants of its code."""
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return Mixture(f"grid of {side}²", np.stack(np.meshgrid(line, line), -1).reshape(-1, 2), sigma, 2)


def embedded(within: float = 10.0) -> Mixture:
    """[10, 1200], each centre constant along its axes, of which 700 vary. Srivastava et al. 2017 (VEEGAN), Table 1.

    The centres are those of PacGAN's code. VEEGAN counts what is within 10 σ, and no exact sample is: they lie
    √700 ≈ 26.5 σ away. Its published shares reward samples with too little noise; with `within=30` exact ones pass.
    """
    levels = np.array([-1, -0.5, 0, 0.5, -2, -2.5, 10, 0.25, -13, -5.5])
    return Mixture("10 in 1200-D", np.tile(levels[:, None], 1200), 1.0, 700, within)


def draw(key: Key[Array, ""], mixture: Mixture, n: int) -> Float[Array, "n d"]:
    """n exact samples."""
    which, noise = jax.random.split(key)
    centre = jnp.asarray(mixture.centres, jnp.float32)[jax.random.randint(which, (n,), 0, len(mixture.centres))]
    return centre.at[:, : mixture.noisy].add(mixture.sigma * jax.random.normal(noise, (n, mixture.noisy)))


def modes_covered(samples: Num[Array | np.ndarray, "n d"], mixture: Mixture) -> dict[str, Score]:
    """How a set of samples lies to the modes, with 2,500 samples in the literature:

    modes         those nearest to a high-quality sample
    high_quality  the share of samples nearer than `within` σ to a centre
    reverse_kl    KL(histogram of the high-quality samples over the modes ‖ uniform), ∞ if there are none

    Srivastava et al. 2017 (VEEGAN), and Lin et al. 2018 (PacGAN), Table 1 of both; the KL as in the latter's code.
    UserError for samples of another width, none, or some that are not finite.
    """
    y = np.asarray(samples, np.float64)
    if y.shape[1] != mixture.centres.shape[1] or not len(y):
        raise UserError(
            f"The {mixture.name} is scored on samples [n, {mixture.centres.shape[1]}]; {list(y.shape)} are not."
        )
    if not np.isfinite(y).all():
        raise UserError("Some of the samples to score are not finite: the training has diverged.")
    square = np.stack([np.square(y - centre).sum(1) for centre in mixture.centres], 1)
    near = square.min(1) < (mixture.within * mixture.sigma) ** 2
    counts = np.bincount(square.argmin(1)[near], minlength=len(mixture.centres))
    return _scores(mixture, len(y), (np.count_nonzero(counts), near.mean(), histogram_kl(counts)))


def perfect_modes(mixture: Mixture, n: int) -> dict[str, Score]:
    """What n exact samples get in `modes_covered`: its expectation, ± its standard deviation.

    A share p = P(χ² < within²) is of high quality: 1 − e^(−9/2) = 98.89 % in 2-D within 3 σ.
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
