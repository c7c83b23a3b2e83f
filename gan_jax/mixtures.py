"""Mixtures of Gaussians with known modes: toy data on which missed modes can be counted."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key


@dataclass(frozen=True, eq=False)
class Mixture:
    """Equally likely Gaussians N(centre, σ²) with noise on the first `noisy` axes and none on the others.

    >>> Mixture("two", np.array([[-1.0], [1.0]]), sigma=0.1, noisy=1).centres.shape
    (2, 1)
    """

    name: str
    centres: Float[np.ndarray, "modes d"]
    sigma: float
    noisy: int  # axes with noise
    within: float = 3.0  # σ: a sample nearer to a centre than this is of high quality


def ring(modes: int = 8, radius: float = 1.0, sigma: float = 0.01) -> Mixture:
    """Modes on a circle in the plane. Lin et al. 2018 (PacGAN), Table 1, with the constants of its code.

    >>> ring(modes=4).centres.round(6) + 0.0
    array([[ 1.,  0.],
           [ 0.,  1.],
           [-1.,  0.],
           [ 0., -1.]])
    """
    angle = 2 * np.pi * np.arange(modes) / modes
    return Mixture(f"ring of {modes}", radius * np.stack([np.cos(angle), np.sin(angle)], 1), sigma, 2)


def grid(side: int = 5, spacing: float = 2.0, sigma: float = 0.05) -> Mixture:
    """side² modes on a square lattice around 0. Lin et al. 2018 (PacGAN), Table 1, with the constants of its code.

    >>> grid(side=2).centres.tolist()
    [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]
    """
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return Mixture(f"grid of {side}²", np.stack(np.meshgrid(line, line), -1).reshape(-1, 2), sigma, 2)


def embedded(within: float = 10.0) -> Mixture:
    """10 modes in 1200 dimensions, 700 of them with noise. Srivastava et al. 2017 (VEEGAN), Table 1.

    The centres, each constant along its axes, are those of PacGAN's code. VEEGAN counts samples within 10 σ, but exact
    samples are √700 ≈ 26.5 σ away from their centre: its published shares reward samples with too little noise. With
    within=30 exact samples count.

    >>> embedded().centres.shape
    (10, 1200)
    """
    levels = np.array([-1, -0.5, 0, 0.5, -2, -2.5, 10, 0.25, -13, -5.5])
    return Mixture("10 in 1200-D", np.tile(levels[:, None], 1200), 1.0, 700, within)


def draw(key: Key[Array, ""], mixture: Mixture, n: int) -> Float[Array, "n d"]:
    """n exact samples.

    >>> draw(jax.random.key(0), ring(), 5).shape
    (5, 2)
    """
    which, noise = jax.random.split(key)
    centre = jnp.asarray(mixture.centres, jnp.float32)[jax.random.randint(which, (n,), 0, len(mixture.centres))]
    return centre.at[:, : mixture.noisy].add(mixture.sigma * jax.random.normal(noise, (n, mixture.noisy)))
