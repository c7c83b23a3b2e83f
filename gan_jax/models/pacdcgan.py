"""PacGAN's DCGAN: four 5x5 convolutions of stride 2 in each network, for any size.

Lin, Khetan, Fanti, Oh. PacGAN: the power of two samples in generative adversarial networks. NeurIPS 2018.
arXiv:1712.04086
"""

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import normal, truncated_normal

from gan_jax.nn.conv import Conv, ConvTranspose
from gan_jax.nn.norm import BatchNorm


def _norm(h, train):
    return BatchNorm(not train, momentum=0.9, epsilon=1e-5)(h)


def _up(h, side, features, use_bias=False):
    """To `side` pixels: the adjoint of the SAME convolution from `side` to ⌈side / 2⌉ pixels, the size of h."""
    cut = 2 * (h.shape[1] - 1) + 5 - side
    padding = ((cut // 2, cut - cut // 2),) * 2
    return ConvTranspose(features, (5, 5), (2, 2), padding, use_bias=use_bias, kernel_init=normal(0.02))(h)


class Generator(nn.Module):
    """z [b, latent] -> x [b, size, size, channels] in (-1, 1); the paper's maps have 2, 4, 7, 14 and 28 pixels."""

    size: int = 28
    channels: int = 3
    width: int = 64

    @nn.compact
    def __call__(self, z, train=True):
        first, *sides, last = [-(-self.size // 2**i) for i in (4, 3, 2, 1, 0)]
        h = nn.Dense(first * first * 8 * self.width, use_bias=False, kernel_init=normal(0.02))(z)
        h = nn.relu(_norm(h.reshape(z.shape[0], first, first, -1), train))
        for i, side in enumerate(sides):
            h = nn.relu(_norm(_up(h, side, 4 * self.width >> i), train))
        return jnp.tanh(_up(h, last, self.channels, use_bias=True))


class Discriminator(nn.Module):
    """x [b, h, w, c] -> logits [b]; for m packed images c is m times an image's channels."""

    width: int = 64

    @nn.compact
    def __call__(self, x, train=True):
        down = lambda h, features, use_bias=False: Conv(
            features, (5, 5), (2, 2), "SAME", use_bias=use_bias, kernel_init=truncated_normal(0.02)
        )(h)
        h = nn.leaky_relu(down(x, self.width, use_bias=True), 0.2)
        for i in (1, 2, 3):
            h = nn.leaky_relu(_norm(down(h, self.width << i), train), 0.2)
        return nn.Dense(1, kernel_init=normal(0.02))(h.reshape(x.shape[0], -1))[:, 0]
