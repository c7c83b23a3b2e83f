"""A conditional GAN of two MLPs on the digits, which takes seconds to compile.

Mirza, Osindero. Conditional generative adversarial nets. 2014. arXiv:1411.1784
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax import data as sources
from gan_jax import losses, priors
from gan_jax.game import Player
from gan_jax.optimizers import adam, ema
from gan_jax.two_player import gan


@dataclass(frozen=True)
class Config:
    data: str = "digits"
    steps: int = 4  # rounds
    batch: int = 16
    seed: int = 0
    width: int = 8  # of the hidden layers
    loss: Literal["hinge", "minimax"] = "hinge"
    lr: float = 1e-3
    ema: float = 0.0  # decay of the averaged generator; 0 keeps none


class Generator(nn.Module):
    width: int

    @nn.compact
    def __call__(self, z, y):
        h = nn.relu(nn.Dense(self.width)(jnp.concatenate([z, jax.nn.one_hot(y, 10)], 1)))
        return nn.tanh(nn.Dense(64)(h)).reshape(-1, 8, 8, 1)


class Discriminator(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, y):
        h = jnp.concatenate([x.reshape(-1, 64), jax.nn.one_hot(y, 10)], 1)
        return nn.Dense(1)(nn.relu(nn.Dense(self.width)(h)))[:, 0]


PRESETS = {"small": Config(), "wide": Config(width=16)}
TINY = Config(steps=2)


def data(c):
    return sources.load(c.data)


def example(c):
    return {"x": jax.ShapeDtypeStruct((8, 8, 1), "float32"), "y": jax.ShapeDtypeStruct((), "int32")}


def game(c):
    prior = priors.labelled(priors.normal(4), 10)
    players = Player(Generator(c.width), adam(c.lr), ema(c.ema)), Player(Discriminator(c.width), adam(c.lr))
    return gan(*players, getattr(losses, c.loss), prior)
