"""DCGAN's networks, as in the tutorials of TensorFlow and of PyTorch.

Radford, Metz, Chintala. Unsupervised representation learning with deep convolutional generative adversarial
networks. ICLR 2016. arXiv:1511.06434
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import normal

from gan_jax.errors import UserError
from gan_jax.nn.conv import Conv, ConvTranspose
from gan_jax.nn.norm import BatchNorm


class DenseGenerator(nn.Module):
    """z [b, latent] -> x [b, size, size, channels] in (-1, 1), as in the TensorFlow tutorial, with Keras' defaults.

    A dense layer and three 5x5 transposed convolutions of strides 1, 2, 2. size and width, the tutorial's 28 and 256,
    are multiples of 4; UserError if not.

    >>> import jax
    >>> jax.eval_shape(DenseGenerator().init_with_output, jax.random.key(0), jnp.ones((2, 100)))[0].shape
    (2, 28, 28, 1)
    """

    size: int = 28
    channels: int = 1
    width: int = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z, train=True):
        for name, value in {"size": self.size, "width": self.width}.items():
            if value % 4:
                raise UserError(
                    f"DenseGenerator does not take {name} {value}: give a multiple of 4, as {value // 4 * 4 + 4}."
                )
        side, glorot = self.size // 4, nn.initializers.glorot_uniform()
        norm = lambda h: nn.leaky_relu(BatchNorm(not train, momentum=0.99, epsilon=1e-3, dtype=self.dtype)(h), 0.3)
        up = lambda features, stride: ConvTranspose(
            features, (5, 5), (stride, stride), "SAME", use_bias=False, dtype=self.dtype, kernel_init=glorot
        )
        h = nn.Dense(side * side * self.width, use_bias=False, dtype=self.dtype, kernel_init=glorot)(z)
        h = norm(h).reshape(z.shape[0], side, side, self.width)
        h = norm(up(self.width // 2, 1)(h))
        h = norm(up(self.width // 4, 2)(h))
        return jnp.tanh(up(self.channels, 2)(h).astype(jnp.promote_types(self.dtype, jnp.float32)))


class DropoutDiscriminator(nn.Module):
    """x [b, h, w, c] -> logits [b], as in the TensorFlow tutorial: 5x5 convolutions of stride 2, dropout."""

    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=True):
        glorot, h = nn.initializers.glorot_uniform(), x
        for features in (self.width, 2 * self.width):
            h = Conv(features, (5, 5), (2, 2), "SAME", dtype=self.dtype, kernel_init=glorot)(h)
            h = nn.Dropout(0.3, deterministic=not train)(nn.leaky_relu(h, 0.3))
        h = h.reshape(x.shape[0], -1).astype(jnp.promote_types(self.dtype, jnp.float32))
        return nn.Dense(1, kernel_init=glorot)(h)[:, 0]


def _norm(train, dtype):
    """Batch normalisation with PyTorch's defaults, the scale initialised from N(1, .02)."""
    scale: Callable = lambda key, shape, dtype=jnp.float32: 1 + normal(0.02)(key, shape, dtype)
    return BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, scale_init=scale, unbiased=True)


def _check_size(size):
    if size < 8 or size & (size - 1):
        raise UserError(f"DCGAN's networks do not take size {size}: give 8, 16, 32, 64 and so on.")


class Generator(nn.Module):
    """z [b, latent] -> x [b, size, size, channels] in (-1, 1), as in the PyTorch tutorial; weights from N(0, .02).

    4x4 transposed convolutions, each doubling the size from 4x4 on. The tutorial's size and width (ngf) are 64; size
    is a power of 2, at least 8; UserError if not.
    """

    size: int = 64
    channels: int = 3
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z, train=True):
        _check_size(self.size)
        up = lambda features, stride, pad: ConvTranspose(
            features, (4, 4), (stride, stride), pad, use_bias=False, dtype=self.dtype, kernel_init=normal(0.02)
        )
        widths = [self.width * self.size // 8 >> i for i in range(self.size.bit_length() - 3)]
        h = nn.relu(_norm(train, self.dtype)(up(widths[0], 1, 0)(z[:, None, None, :])))
        for features in widths[1:]:
            h = nn.relu(_norm(train, self.dtype)(up(features, 2, 1)(h)))
        return jnp.tanh(up(self.channels, 2, 1)(h).astype(jnp.promote_types(self.dtype, jnp.float32)))


class Discriminator(nn.Module):
    """x [b, size, size, c] -> logits [b], the reverse of Generator; width is the tutorial's ndf."""

    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train=True):
        _check_size(x.shape[1])
        down = lambda features, stride, pad: Conv(
            features, (4, 4), (stride, stride), pad, use_bias=False, dtype=self.dtype, kernel_init=normal(0.02)
        )
        h = nn.leaky_relu(down(self.width, 2, 1)(x), 0.2)
        for i in range(1, x.shape[1].bit_length() - 3):
            h = nn.leaky_relu(_norm(train, self.dtype)(down(self.width << i, 2, 1)(h)), 0.2)
        return down(1, 1, 0)(h)[:, 0, 0, 0].astype(jnp.promote_types(self.dtype, jnp.float32))


PAIRS = {"tensorflow": (DenseGenerator, DropoutDiscriminator), "pytorch": (Generator, Discriminator)}
