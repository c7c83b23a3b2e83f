"""The smallest real trainings: points on a ring, and two players who take seconds to compile."""

import jax
import numpy as np
from flax import linen as nn

from gan_jax import losses, priors
from gan_jax.game import Player
from gan_jax.optimizers import adam
from gan_jax.two_player import gan

angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
POINTS = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)  # [64, 2]


class Generator(nn.Module):
    """z [b, 3] -> x [b, 2], through batch statistics."""

    @nn.compact
    def __call__(self, z, train=True):
        return nn.Dense(2)(nn.relu(nn.BatchNorm(not train)(nn.Dense(8)(z))))


class Critic(nn.Module):
    """x -> logits [b], through dropout."""

    @nn.compact
    def __call__(self, x, train=True):
        return nn.Dense(1)(nn.Dropout(0.3, deterministic=not train)(nn.relu(nn.Dense(8)(x))))[:, 0]


G, D = Player(Generator(), adam(1e-3), lambda step: 0.9), Player(Critic(), adam(1e-3))
GAME = gan(G, D, losses.non_saturating, priors.normal(3))


def bits(state) -> list[tuple]:
    """Every leaf by its path, as bytes."""
    raw = lambda x: jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [(jax.tree_util.keystr(path), str(x.dtype), x.shape, np.asarray(raw(x)).tobytes()) for path, x in leaves]
