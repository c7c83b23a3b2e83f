"""Convolutions that are fast on CPUs too, and differentiable to any order in any mode."""

from gan_jax.nn.conv.layers import Conv, ConvTranspose, conv, conv_transpose, in_groups

__all__ = ["Conv", "ConvTranspose", "conv", "conv_transpose", "in_groups"]
