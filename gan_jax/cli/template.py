"""A GAN of my own: what it is, in a line.

python template.py                        # train the first preset
python template.py small --lr 5e-4        # every field of Config is a flag
python -m gan_jax sample runs/template-small --paper template.py
"""

from dataclasses import dataclass

import jax
from flax import linen as nn

from gan_jax import Game, Player, gan
from gan_jax import data as sources
from gan_jax.losses import non_saturating
from gan_jax.optimizers import adam


@dataclass(frozen=True)
class Config:
    data: str = "digits"  # a built-in set, or a folder, tar or .npz of images
    size: int = 8  # pixels a side
    channels: int = 1  # 1 grey, 3 colour
    steps: int = 5000  # rounds
    batch: int = 32
    seed: int = 0
    latent: int = 16
    width: int = 128  # of the hidden layers
    lr: float = 2e-4


PRESETS = {"small": Config(), "wide": Config(width=512)}  # the first is the default
TINY = Config(steps=2, batch=4, width=8)  # for tests


class Generator(nn.Module):
    """z [b, latent] -> images [b, size, size, channels] in [-1, 1]."""

    size: int
    channels: int
    width: int

    @nn.compact
    def __call__(self, z):
        h = nn.relu(nn.Dense(self.width)(z))
        h = nn.relu(nn.Dense(self.width)(h))
        x = nn.tanh(nn.Dense(self.size**2 * self.channels)(h))
        return x.reshape(-1, self.size, self.size, self.channels)


class Discriminator(nn.Module):
    """Images [b, size, size, channels] -> logits [b]."""

    width: int

    @nn.compact
    def __call__(self, x):
        h = nn.leaky_relu(nn.Dense(self.width)(x.reshape(x.shape[0], -1)), 0.2)
        h = nn.leaky_relu(nn.Dense(self.width)(h), 0.2)
        return nn.Dense(1)(h)[:, 0]


def data(c: Config) -> sources.Set:
    """{"x": images [n, size, size, channels]}, and "y" where there are labels."""
    return sources.load(c.data, size=c.size, channels=c.channels)


def example(c: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """One example as the game sees it: what the networks' shapes follow from."""
    return {"x": jax.ShapeDtypeStruct((c.size, c.size, c.channels), "float32")}


def game(c: Config) -> Game:
    G = Player(Generator(c.size, c.channels, c.width), adam(c.lr, 0.5))
    D = Player(Discriminator(c.width), adam(c.lr, 0.5))
    return gan(G, D, non_saturating, c.latent)


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
