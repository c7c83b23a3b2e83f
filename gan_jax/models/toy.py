"""Small fully connected networks for points x [b, d]."""

from functools import reduce

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import glorot_uniform, he_uniform, normal, orthogonal

from gan_jax.nn.norm import BatchNorm


class NormGenerator(nn.Module):
    """z [b, latent] -> x [b, features]: PacGAN's for mixtures, four linear layers with batch normalisation and ReLU.

    As in its code, of width 400, weights from N(0, .02), normalisation with the defaults of Blocks (ε = 1e-4).
    """

    features: int = 2
    width: int = 400

    @nn.compact
    def __call__(self, z, train=True):
        h = z
        for _ in range(4):
            h = nn.Dense(self.width, use_bias=False, kernel_init=normal(0.02))(h)
            h = nn.relu(BatchNorm(not train, momentum=0.95, epsilon=1e-4)(h))
        return nn.Dense(self.features, kernel_init=normal(0.02))(h)


class MaxoutDiscriminator(nn.Module):
    """x [b, d] -> logits [b]: PacGAN's for mixtures, three layers of maxout units, the maxima of `pieces` linear
    functions.

    As in its code, 200 units of 5 pieces, weights from N(0, .02).
    """

    width: int = 200
    pieces: int = 5

    @nn.compact
    def __call__(self, x):
        h = x
        for _ in range(3):
            h = nn.DenseGeneral((self.pieces, self.width), kernel_init=normal(0.02))(h)
            h = reduce(jnp.maximum, (h[:, i] for i in range(self.pieces)))  # much faster than h.max(1) on CPUs
        return nn.Dense(1, kernel_init=normal(0.02))(h)[:, 0]


class ReLUGenerator(nn.Module):
    """z [b, latent] -> x [b, features]: WGAN-GP's for toy data, three layers of 512 ReLUs."""

    features: int = 2
    width: int = 512

    @nn.compact
    def __call__(self, z):
        h = _relu_layers(z, self.width)
        return nn.Dense(self.features, kernel_init=glorot_uniform())(h)


class ReLUCritic(nn.Module):
    """x [b, d] -> logits [b]: WGAN-GP's for toy data, three layers of 512 ReLUs."""

    width: int = 512

    @nn.compact
    def __call__(self, x):
        h = _relu_layers(x, self.width)
        return nn.Dense(1, kernel_init=glorot_uniform())(h)[:, 0]


def _relu_layers(h, width):
    for _ in range(3):
        h = nn.relu(nn.Dense(width, kernel_init=he_uniform())(h))
    return h


class TanhGenerator(nn.Module):
    """z [b, latent] -> x [b, features]: Unrolled GAN's, two layers of 128 tanh units with orthogonal weights."""

    features: int = 2
    width: int = 128

    @nn.compact
    def __call__(self, z):
        return nn.Dense(self.features, kernel_init=orthogonal(1.4))(_tanh_layers(z, self.width))


class TanhDiscriminator(nn.Module):
    """x [b, d] -> logits [b]: Unrolled GAN's, with the layers of TanhGenerator."""

    width: int = 128

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, kernel_init=orthogonal(1.4))(_tanh_layers(x, self.width))[:, 0]


def _tanh_layers(h, width):
    for _ in range(2):
        h = jnp.tanh(nn.Dense(width, kernel_init=orthogonal(1.4))(h))
    return h
