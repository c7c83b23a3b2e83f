"""Unrolled GAN: G descends its loss after K optimisation steps of D, which prevents cycling between modes.

Metz, Poole, Pfau, Sohl-Dickstein. Unrolled generative adversarial networks. ICLR 2017. arXiv:1611.02163. The ring of
8 Gaussians, after the notebook of one of the authors. Presets::

    k0     no unrolling: the minimax game with simultaneous updates
    k1     one unrolled step of D
    k5     five steps, as in the notebook
    k10    ten steps, as in the paper's figure

Usage::

    python experiments/unrolled_gan.py k5
    python experiments/unrolled_gan.py k0 --score-every 1000

The paper shows samples but no numbers: here the score is the number of modes covered, next to that of exact samples.

Differences: the notebook itself says that it is not identical to the paper. Its 8 Gaussians are 7, as the first and the
last coincide; here there are 8. It draws new points for each batch; here there are 100,000.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax

from gan_jax import data as sources
from gan_jax import losses, metrics, mixtures, priors
from gan_jax.data import synthetic
from gan_jax.game import Game, Player
from gan_jax.models import toy
from gan_jax.optimizers import keras_adam
from gan_jax.rules import unrolled
from gan_jax.two_player import ORDERS, gan


@dataclass(frozen=True)
class Config:
    """The numbers of the notebook."""

    data: Literal["ring"] = "ring"
    steps: int = 25_000
    batch: int = 512
    seed: int = 0
    unrolled: int = 5  # K, unrolled steps of D
    latent: int = 256
    width: int = 128  # of both networks
    lr_G: float = 1e-3
    lr_D: float = 1e-4
    beta1: float = 0.5
    samples: int = 2500  # to score


RING = mixtures.ring(radius=1.0, sigma=0.01)
PRESETS = {f"k{k}": Config(unrolled=k) for k in (0, 1, 5, 10)}
TINY = Config(steps=2, batch=8, unrolled=2, latent=4, width=8, samples=50)


def data(c: Config) -> sources.Set:
    return synthetic.mixture(RING)


def example(c: Config) -> dict[str, jax.ShapeDtypeStruct]:
    return {"x": jax.ShapeDtypeStruct((2,), "float32")}


def scores(c: Config) -> Callable:
    return lambda samples: metrics.modes_covered(samples["x"], RING)


def perfect(c: Config) -> dict[str, metrics.Score]:
    return metrics.perfect_modes(RING, c.samples)


def saddle(real, fake):
    """The zero-sum loss: G maximises all of D's loss, as unrolled steps of D change its error on real x too."""
    loss, _ = losses.minimax(real, fake)
    return loss, -loss


def game(c: Config) -> Game:
    return gan(
        Player(toy.TanhGenerator(width=c.width), keras_adam(c.lr_G, c.beta1, eps=1e-8)),
        Player(toy.TanhDiscriminator(c.width), keras_adam(c.lr_D, c.beta1, eps=1e-8)),
        saddle,
        priors.normal(c.latent),
        moves=ORDERS["simultaneous"],
        rule=unrolled(c.unrolled),
    )


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
