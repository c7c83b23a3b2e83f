"""Words of four letters in two alphabets: a paper of tokens [n, t], with labels and a play of its own."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan_jax import Game, Loss, Player, losses, move, priors, show
from gan_jax.metrics import Score
from gan_jax.optimizers import adam

LETTERS, LENGTH = "abcdwxyz", 4


@dataclass(frozen=True)
class Config:
    data: str = "words"
    steps: int = 2
    batch: int = 8
    seed: int = 0
    lr: float = 1e-3
    samples: int = 12  # to score


class Generator(nn.Module):
    """z, y -> logits [b, LENGTH, letters]."""

    @nn.compact
    def __call__(self, z, y):
        h = nn.relu(nn.Dense(8)(jnp.concatenate([z, jax.nn.one_hot(y, 2)], 1)))
        return nn.Dense(LENGTH * len(LETTERS))(h).reshape(-1, LENGTH, len(LETTERS))


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x, y):
        h = jnp.concatenate([x.reshape(-1, LENGTH * len(LETTERS)), jax.nn.one_hot(y, 2)], 1)
        return nn.Dense(1)(nn.relu(nn.Dense(8)(h)))[:, 0]


PRESETS = {"words": Config()}
TINY = Config()
show = show.text_of(LETTERS)


def data(c):
    y = np.arange(40) % 2
    letters = np.random.default_rng(0).integers(0, 4, (40, LENGTH)) + 4 * y[:, None]
    return {"x": letters.astype(np.int32), "y": y.astype(np.int32)}


def example(c):
    return {"x": jax.ShapeDtypeStruct((LENGTH,), "int32"), "y": jax.ShapeDtypeStruct((), "int32")}


def game(c):
    prior = priors.labelled(priors.normal(4), 2)

    def play(nets, batch, key, step):
        k_z, k_gumbel = jax.random.split(key)
        z, y = prior(k_z, c.batch)
        logits = nets["G"](z, y)
        fake = jax.nn.softmax(logits + jax.random.gumbel(k_gumbel, logits.shape))  # Jang et al. 2017, temperature 1
        real = nets["D"](jax.nn.one_hot(batch["x"], len(LETTERS)), batch["y"])
        loss_D, loss_G = losses.non_saturating(real, nets["D"](fake, y))
        return {"D": Loss(loss_D), "G": Loss(loss_G)}

    def sample(nets, key, n, **given):
        z, y = prior(key, n, **given)
        return {"x": nets["G"](z, y).argmax(-1), "y": y}

    players = {"G": Player(Generator(), adam(c.lr)), "D": Player(Discriminator(), adam(c.lr))}
    return Game(players, play, (move("D"), move("G")), sample=sample)


def scores(c):
    """How many letters are of their word's alphabet."""
    right = lambda samples: float((samples["x"] // 4 == samples["y"][:, None]).mean())
    return lambda samples: {"alphabet": Score("letters of the alphabet", right(samples), {"fake": len(samples["x"])})}
