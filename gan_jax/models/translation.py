"""The networks of pix2pix and CycleGAN: generators from image to image, and a discriminator of patches.

Isola, Zhu, Zhou, Efros. Image-to-image translation with conditional adversarial networks. CVPR 2017. arXiv:1611.07004
Zhu, Park, Isola, Efros. Unpaired image-to-image translation using cycle-consistent adversarial networks. ICCV 2017.
arXiv:1703.10593
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import normal
from jax import lax

from gan_jax.errors import UserError
from gan_jax.nn.conv import Conv, ConvTranspose
from gan_jax.nn.norm import InstanceNorm


def _layers(dtype):
    """Convolution, transposed convolution and the affine normalisation of pix2pix; weights from N(0, .02)."""
    scale: Callable = lambda key, shape, dtype=jnp.float32: 1 + normal(0.02)(key, shape, dtype)
    conv, up = (partial(f, dtype=dtype, kernel_init=normal(0.02)) for f in (Conv, ConvTranspose))
    return conv, up, partial(InstanceNorm, True, dtype=dtype, scale_init=scale)


class StillBias(nn.Module):
    """x + b with b fixed at 0: a bias of the published networks that the normalisation after it removes.

    Its gradient is 0 but for rounding, which Adam would make as large as any other, so it is not trained.
    """

    @nn.compact
    def __call__(self, x):
        return x + lax.stop_gradient(self.param("bias", nn.initializers.zeros_init(), x.shape[-1:])).astype(x.dtype)


def _check_size(x, step, least, name):
    """UserError for images whose sides are not multiples of `step`, or smaller than `least`."""
    sides = x.shape[1:3]
    if any(side % step or side < least for side in sides):
        fit = lambda side: max(round(side / step) * step, -(-least // step) * step)
        h, w = sides
        raise UserError(
            f"{name} does not take images of {w}x{h}: their sides must be multiples of {step}, at least"
            f" {-(-least // step) * step}, such as {fit(w)}x{fit(h)}."
        )


def _reflected(x, edge):
    """Reflection padding."""
    return jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="reflect")


class ResNet(nn.Module):
    """x [b, h, w, c] -> [b, h, w, channels] in (-1, 1): CycleGAN's generator, for sides that are multiples of 4.

    c7s1-64, d128, d256, R256 …, u128, u64, c7s1-3 in the paper's notation (section 7.2); 6 blocks for 128 pixels, 9
    for 256. UserError for other sizes.
    """

    channels: int = 3
    width: int = 64  # maps of the first layer
    blocks: int = 9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        _check_size(x, 4, 8, "This generator")
        conv, up, _ = _layers(self.dtype)
        norm, inner = InstanceNorm(dtype=self.dtype), partial(conv, padding=0, use_bias=False)
        normed = lambda h: norm(StillBias()(h))
        h = nn.relu(normed(inner(self.width, (7, 7))(_reflected(x, 3))))
        for k in (2, 4):
            h = nn.relu(normed(inner(k * self.width, (3, 3), strides=2, padding=1)(h)))
        for _ in range(self.blocks):
            y = nn.relu(normed(inner(4 * self.width, (3, 3))(_reflected(h, 1))))
            h += normed(inner(4 * self.width, (3, 3))(_reflected(y, 1)))
        for k in (2, 1):
            h = nn.relu(normed(up(k * self.width, (3, 3), 2, ((1, 0), (1, 0)), use_bias=False)(h)))
        y = conv(self.channels, (7, 7), padding=0)(_reflected(h, 3))
        return jnp.tanh(y.astype(jnp.promote_types(self.dtype, jnp.float32)))


class UNet(nn.Module):
    """x [b, h, w, c] -> [b, h, w, channels] in (-1, 1): pix2pix's generator, for sides that are multiples of 2^depth.

    C64-C128-C256-C512-C512-C512-C512-C512 down, CD512-CD512-CD512-C512-C256-C128-C64 and the output up, with skips
    between maps of the same size (appendix 6.1.1). Dropout is its noise and stays on in evaluation, so each call needs
    a key. Images are normalised one by one, as batch normalisation does in batches of one. UserError for other sizes.
    """

    channels: int = 3
    width: int = 64  # maps of the first layer
    depth: int = 8  # halvings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        _check_size(x, 2**self.depth, 2**self.depth, "This generator")
        conv, up, norm = _layers(self.dtype)
        widths = [self.width * min(2**i, 8) for i in range(self.depth)]
        h, skips = conv(widths[0], (4, 4), 2, 1, use_bias=False)(x), []
        for i, features in enumerate(widths[1:], 2):
            skips.append(h)
            h = conv(features, (4, 4), 2, 1, use_bias=False)(nn.leaky_relu(h, 0.2))
            h = norm()(h) if i < self.depth else h  # the bottom is a single pixel, which normalisation would remove
        for i, features in enumerate(widths[-2::-1]):
            h = norm()(up(features, (4, 4), 2, 1, use_bias=False)(nn.relu(h)))
            h = nn.Dropout(0.5, deterministic=False)(h) if i < 3 else h
            h = jnp.concatenate([skips.pop(), h], -1)
        y = up(self.channels, (4, 4), 2, 1)(nn.relu(h))
        return jnp.tanh(y.astype(jnp.promote_types(self.dtype, jnp.float32)))


class PatchGAN(nn.Module):
    """x [b, h, w, c] -> logits [b, i, j], one for each of the overlapping patches.

    C64-C128-C256-C512 and a last convolution (pix2pix, appendix 6.1.2; CycleGAN, section 7.2). Patches have 16, 34, 70
    or 142 pixels a side with 1, 2, 3 or 4 `layers`. UserError for images that are too small.
    """

    width: int = 64  # maps of the first layer
    layers: int = 3
    affine: bool = False  # True: the normalisation of pix2pix, with scale and bias; False: that of CycleGAN
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        _check_size(x, 1, 3 * 2**self.layers, f"This discriminator of {self.layers} layers")
        conv, _, norm = _layers(self.dtype)
        still = lambda h: InstanceNorm(dtype=self.dtype)(StillBias()(h))
        h = nn.leaky_relu(conv(self.width, (4, 4), 2, 1)(x), 0.2)
        for i in range(1, self.layers + 1):
            features, stride = self.width * min(2**i, 8), 2 if i < self.layers else 1
            h = conv(features, (4, 4), stride, 1, use_bias=False)(h)
            h = nn.leaky_relu(norm()(h) if self.affine else still(h), 0.2)
        y = conv(1, (4, 4), 1, 1)(h)[..., 0]
        return y.astype(jnp.promote_types(self.dtype, jnp.float32))
