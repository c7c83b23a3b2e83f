"""Layers that Flax lacks, or has in a form that is slow on CPUs or costs more under several moves of a game."""

from gan_jax.nn.conv import Conv, ConvTranspose
from gan_jax.nn.norm import BatchNorm, InstanceNorm
from gan_jax.nn.resample import downsample, upsample

__all__ = ["BatchNorm", "Conv", "ConvTranspose", "InstanceNorm", "downsample", "upsample"]
