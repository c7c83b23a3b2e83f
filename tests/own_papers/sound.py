"""Tones of three pitches: a paper of sound [n, t, 1], with labels."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax import gan, losses, priors, show
from gan_jax.game import Player
from gan_jax.metrics import Score
from gan_jax.optimizers import adam

CLASSES, RATE = 3, 800


@dataclass(frozen=True)
class Config:
    data: str = "tones"
    steps: int = 2
    batch: int = 8
    seed: int = 0
    length: int = 64
    lr: float = 1e-3
    samples: int = 12  # to score


class Generator(nn.Module):
    length: int

    @nn.compact
    def __call__(self, z, y):
        h = jnp.concatenate([z, jax.nn.one_hot(y, CLASSES)], 1)
        return jnp.tanh(nn.Dense(self.length)(nn.relu(nn.Dense(8)(h))))[..., None]


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x, y):
        h = jnp.concatenate([x[..., 0], jax.nn.one_hot(y, CLASSES)], 1)
        return nn.Dense(1)(nn.relu(nn.Dense(8)(h)))[:, 0]


PRESETS = {"tones": Config()}
TINY = Config()
show = show.audio_at(RATE, n=6)


def data(c):
    y = np.arange(60, dtype=np.int32) % CLASSES
    phase = np.arange(60)[:, None] + 2 * np.pi * (4 + 4 * y[:, None]) * np.arange(c.length) / c.length
    return {"x": np.sin(phase)[..., None].astype(np.float32), "y": y}


def example(c):
    return {"x": jax.ShapeDtypeStruct((c.length, 1), "float32"), "y": jax.ShapeDtypeStruct((), "int32")}


def game(c):
    players = Player(Generator(c.length), adam(c.lr)), Player(Discriminator(), adam(c.lr))
    return gan(*players, losses.hinge, priors.labelled(priors.normal(4), CLASSES))


def scores(c):
    """How many samples have the pitch of their label."""

    def score(samples):
        pitch = np.abs(np.fft.rfft(samples["x"][..., 0])).argmax(1)
        value = float((pitch == 4 + 4 * samples["y"]).mean())
        return {"pitch": Score("right pitch", value, {"fake": len(pitch)})}

    return score
