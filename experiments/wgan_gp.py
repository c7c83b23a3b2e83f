"""WGAN-GP: a critic that is kept 1-Lipschitz by a penalty on the norm of its gradient.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville. Improved training of Wasserstein GANs. NeurIPS 2017. arXiv:1704.00028.
The three toy problems of Figure 1, after the authors' code. Presets::

    8gaussians   8 modes on a circle
    25gaussians  25 modes on a square lattice
    swissroll    a spiral

Usage::

    python experiments/wgan_gp.py 8gaussians
    python experiments/wgan_gp.py swissroll --steps 10_000 --score-every 1000

The paper shows level sets of the critic but no numbers: here the scores are the number of modes covered, and the
Wasserstein distance between samples and as many real points, next to that between two sets of real points.

Differences: the original draws new points of the circle and the spiral for each batch; here all three data sets have
100,000 points, and the modes of the square have different numbers of points. It updates G before the critic except in
the first round, which is the same order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np

from gan_jax import data as sources
from gan_jax import losses, metrics, mixtures, penalties, priors
from gan_jax.data import synthetic
from gan_jax.game import Game, Player, move
from gan_jax.models import toy
from gan_jax.optimizers import adam
from gan_jax.two_player import gan

Points = Literal["8gaussians", "25gaussians", "swissroll"]


@dataclass(frozen=True)
class Config:
    """The numbers of the authors' code."""

    data: Points = "8gaussians"
    steps: int = 100_000
    batch: int = 256
    seed: int = 0
    critic_moves: int = 5  # per move of G
    penalty: float = 0.1  # λ
    latent: int = 2
    width: int = 512  # of both networks
    lr: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.9
    samples: int = 2500  # to score


PRESETS = {name: Config(name) for name in ("8gaussians", "25gaussians", "swissroll")}
TINY = Config(steps=2, batch=8, width=8, samples=50)
MIXTURES = {
    "8gaussians": mixtures.ring(radius=2 / 1.414, sigma=0.02 / 1.414),
    "25gaussians": mixtures.grid(spacing=2 / 2.828, sigma=0.05 / 2.828),
}


def data(c: Config, n: int = 100_000, seed: int = 0) -> sources.Set:
    if c.data in MIXTURES:
        return synthetic.mixture(MIXTURES[c.data], n, seed)
    return {"x": synthetic.swiss_roll(n, seed=seed)["x"] / np.float32(7.5)}


def example(c: Config) -> dict[str, jax.ShapeDtypeStruct]:
    return {"x": jax.ShapeDtypeStruct((2,), "float32")}


def scores(c: Config) -> Callable:
    real = data(c, c.samples, seed=1)["x"]

    def score(samples):
        x = samples["x"]
        modes = metrics.modes_covered(x, MIXTURES[c.data]) if c.data in MIXTURES else {}
        return modes | {"wasserstein1": metrics.wasserstein1(real[: len(x)], x)}

    return score


def perfect(c: Config) -> dict[str, metrics.Score]:
    score = scores(c)
    draws = [score(data(c, c.samples, seed))["wasserstein1"] for seed in range(2, 7)]
    modes = metrics.perfect_modes(MIXTURES[c.data], c.samples) if c.data in MIXTURES else {}
    return modes | {"wasserstein1": metrics.over_draws(draws)}


def game(c: Config) -> Game:
    return gan(
        Player(toy.ReLUGenerator(width=c.width), adam(c.lr, c.beta1, c.beta2)),
        Player(toy.ReLUCritic(c.width), adam(c.lr, c.beta1, c.beta2)),
        losses.wasserstein,
        priors.normal(c.latent),
        penalty=lambda *given: c.penalty * penalties.wgan_gp(*given),
        moves=c.critic_moves * (move("D"),) + (move("G", again=("batch",)),),
    )


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
