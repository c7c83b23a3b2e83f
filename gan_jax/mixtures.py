"""Mixtures of Gaussians whose modes are known: toy data that tell whether a generator has found all there is."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key


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
