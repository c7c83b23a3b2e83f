"""R3GAN's networks: residual blocks of grouped convolutions, without normalisation.

Huang, Gokaslan, Kuleshov, Tompkin. The GAN is dead; long live the GAN! A modern baseline GAN. NeurIPS 2024.
arXiv:2501.05441
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import normal, variance_scaling, zeros_init

from gan_jax.errors import UserError
from gan_jax.nn.conv import Conv
from gan_jax.nn.resample import downsample, upsample

GAIN = 2 / (1 + 0.2**2)  # the squared gain of a leaky ReLU with slope .2
φ = lambda h: nn.leaky_relu(h, 0.2)
he = lambda gain=1.0: variance_scaling(gain, "fan_in", "normal")


def _linear(features):
    """A 1x1 convolution on maps, a dense layer on vectors."""
    return nn.Dense(features, use_bias=False, kernel_init=he())


class Block(nn.Module):
    """x + W₃ φ(W₂ φ(W₁ x + b₁) + b₂): 1x1, grouped 3x3, 1x1.

    Initialised as in Fixup (Zhang, Dauphin, Ma 2019): W₃ = 0, W₁ and W₂ as by He et al. times L^(-1/4), for L = `total`
    blocks in the network.
    """

    total: int
    expansion: int = 2  # inner channels / channels
    channels: int = 16  # in a group

    @nn.compact
    def __call__(self, x):
        inner, init = self.expansion * x.shape[-1], he(GAIN * self.total**-0.5)
        if inner % self.channels:
            raise UserError(
                f"{inner} inner channels do not split into groups of {self.channels}: choose another width."
            )
        h = φ(nn.Dense(inner, kernel_init=init)(x))
        h = φ(Conv(inner, (3, 3), groups=inner // self.channels, kernel_init=init)(h))
        return x + nn.Dense(x.shape[-1], use_bias=False, kernel_init=zeros_init())(h)


class Generator(nn.Module):
    """z [b, latent], and y [b] with classes -> x [b, s, s, channels], s = 4 · 2^(stages − 1), not bounded.

    The first map is a learned 4x4 basis, weighted by a linear map of z. The paper's widths for 32x32 are 768 in each
    of four stages.
    """

    widths: Sequence[int]  # of the stages, from 4x4 on
    blocks: int = 2  # in a stage
    channels: int = 3
    expansion: int = 2
    group: int = 16  # channels in a group
    classes: int = 0

    @nn.compact
    def __call__(self, z, y=None):
        if y is not None:
            z = jnp.concatenate([z, _linear(z.shape[-1])(jax.nn.one_hot(y, self.classes))], -1)
        basis = self.param("basis", normal(1.0), (4, 4, self.widths[0]))
        h = basis * _linear(self.widths[0])(z)[:, None, None]
        for i, width in enumerate(self.widths):
            if i > 0:
                h = upsample(h if width == h.shape[-1] else _linear(width)(h))
            for _ in range(self.blocks):
                h = Block(self.blocks * len(self.widths), self.expansion, self.group)(h)
        return _linear(self.channels)(h)


class Discriminator(nn.Module):
    """x [b, s, s, channels], and y [b] with classes -> logits [b], the reverse of Generator.

    The last layers are a 4x4 filter for each map and a linear map; with classes, the projection of Miyato and Koyama
    2018.
    """

    widths: Sequence[int]  # of the stages, from 4x4 on, as in Generator
    blocks: int = 2
    expansion: int = 2
    group: int = 16
    classes: int = 0

    @nn.compact
    def __call__(self, x, y=None):
        size, last = 4 << (len(self.widths) - 1), self.widths[0]
        if x.shape[1:3] != (size, size):
            raise UserError(
                f"A discriminator of {len(self.widths)} stages takes {size}x{size} pixels, but x has "
                f"{x.shape[2]}x{x.shape[1]}: give one width for each size from 4 on."
            )
        h = _linear(self.widths[-1])(x)
        for i, width in enumerate(reversed(self.widths)):
            if i > 0:
                h = downsample(h)
                h = h if width == h.shape[-1] else _linear(width)(h)
            for _ in range(self.blocks):
                h = Block(self.blocks * len(self.widths), self.expansion, self.group)(h)
        h = (h * self.param("basis", normal(1 / 4), (4, 4, last))).sum((1, 2))
        if y is None:
            return _linear(1)(h)[:, 0]
        embed = nn.Dense(last, use_bias=False, kernel_init=he(1 / last))
        return (_linear(last)(h) * embed(jax.nn.one_hot(y, self.classes))).sum(-1)
