"""A dot that moves right or down: a paper of video [n, t, h, w, c], with labels."""

from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax import gan, losses, priors, show
from gan_jax.game import Player
from gan_jax.metrics import Score
from gan_jax.optimizers import adam

SHAPE = (3, 4, 4, 1)


@dataclass(frozen=True)
class Config:
    data: str = "dots"
    steps: int = 2
    batch: int = 8
    seed: int = 0
    lr: float = 1e-3
    samples: int = 12  # to score


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z, y):
        h = jnp.concatenate([z, jax.nn.one_hot(y, 2)], 1)
        return jnp.tanh(nn.Dense(prod(SHAPE))(nn.relu(nn.Dense(8)(h)))).reshape(-1, *SHAPE)


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x, y):
        h = jnp.concatenate([x.reshape(-1, prod(SHAPE)), jax.nn.one_hot(y, 2)], 1)
        return nn.Dense(1)(nn.relu(nn.Dense(8)(h)))[:, 0]


PRESETS = {"dots": Config()}
TINY = Config()
show = show.video_at(5)


def data(c):
    x, y = np.zeros((32, *SHAPE), np.uint8), np.arange(32, dtype=np.int32) % 2
    for i, label in enumerate(y):
        for t in range(3):
            place = (i // 2 % 4, t) if label == 0 else (t, i // 2 % 4)
            x[i, t][place] = 255
    return {"x": x, "y": y}


def example(c):
    return {"x": jax.ShapeDtypeStruct(SHAPE, "float32"), "y": jax.ShapeDtypeStruct((), "int32")}


def game(c):
    players = Player(Generator(), adam(c.lr)), Player(Discriminator(), adam(c.lr))
    return gan(*players, losses.non_saturating, priors.labelled(priors.normal(4), 2))


def scores(c):
    """How much frames differ from the next."""
    motion = lambda samples: float(np.abs(np.diff(samples["x"], axis=1)).mean())
    return lambda samples: {"motion": Score("motion", motion(samples), {"fake": len(samples["x"])})}
