"""gan_jax: every landmark GAN as one short, pure-functional JAX program.

A GAN is a game of players, losses and moves (`Game`); the ordinary one of two is made by `gan`. `train` plays it,
`load` brings a run back, `Run.sample` draws from it.
"""

from importlib import metadata as _metadata

from gan_jax import (
    analysis,
    augment,
    data,
    losses,
    metrics,
    models,
    nn,
    optimizers,
    penalties,
    population,
    priors,
    reparam,
    rules,
)
from gan_jax.game import Game, Loss, Move, Player, move
from gan_jax.runs.load import load
from gan_jax.runs.run import Run
from gan_jax.runs.train import train
from gan_jax.two_player import gan

__version__ = _metadata.version("gan_jax")

__all__ = [
    "Game",
    "Loss",
    "Move",
    "Player",
    "Run",
    "__version__",
    "analysis",
    "augment",
    "data",
    "gan",
    "load",
    "losses",
    "metrics",
    "models",
    "move",
    "nn",
    "optimizers",
    "penalties",
    "population",
    "priors",
    "reparam",
    "rules",
    "train",
]


def __dir__() -> list[str]:
    return __all__
