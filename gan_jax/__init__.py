"""gan_jax: every landmark GAN as one short, pure-functional JAX program.

A GAN is a game (`gan_jax.game`); the ordinary one is made by `gan_jax.gan.gan`. `train` plays it, `load` brings a run
back, `Run.sample` draws from it, `replay` tells where one broke.
"""

from gan_jax.runs.replay import replay
from gan_jax.runs.run import Run, load
from gan_jax.training.loop import train

__all__ = ["Run", "load", "replay", "train"]
