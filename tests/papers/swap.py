"""Translations between the digits and their negatives, pixel by pixel, which take seconds to compile.

Zhu, Park, Isola, Efros. Unpaired image-to-image translation using cycle-consistent adversarial networks. ICCV 2017.
arXiv:1703.10593
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn

from gan_jax import data as sources
from gan_jax.data.held_out import HeldOut
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam


@dataclass(frozen=True)
class Config:
    data: str = "digits"
    steps: int = 4
    batch: int = 4
    seed: int = 0
    lr: float = 1e-2


class Pixels(nn.Module):
    """x [b, h, w, c] -> tanh(w x + v), h and w even."""

    @nn.compact
    def __call__(self, x):
        if x.shape[1] % 2 or x.shape[2] % 2:
            raise UserError("This network takes pictures of even sides.")
        return jnp.tanh(nn.Dense(x.shape[-1])(x))


PRESETS = {"negatives": Config()}
TINY = Config(steps=2)


def held_out(c):
    x = sources.load(c.data)["x"]
    return HeldOut({"A": x, "B": 255 - x}, paired=True)


def data(c):
    return {name: {"x": x} for name, x in held_out(c).images.items()}


def example(c):
    return {name: {"x": jax.ShapeDtypeStruct((8, 8, 1), "float32")} for name in "AB"}


def game(c):
    def play(nets, batch, key, step):
        a, b = batch["A"]["x"], batch["B"]["x"]
        apart = lambda x, y: jnp.square(x.mean() - y.mean())
        return {"AB": Loss(apart(nets["AB"](a), b)), "BA": Loss(apart(nets["BA"](b), a))}

    players = {name: Player(Pixels(), adam(c.lr)) for name in ("AB", "BA")}
    ways = {"B": lambda nets, x, key: nets["AB"](x), "A": lambda nets, x, key: nets["BA"](x)}
    return Game(players, play, (move("AB", "BA"),), translations=ways)
