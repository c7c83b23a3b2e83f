"""Normalisations that the ecosystem lacks, or has in a form that costs more."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class BatchNorm(nn.Module):
    """(x − E x) / √(Var x + ε) · scale + bias over all axes but the last; `flax.linen.BatchNorm` in numbers and names.

    Statistics keep the shape [c] to the end. Reshaped to [1, 1, 1, c], as in Flax, XLA simplifies them differently in
    a differentiated and in a plain forward pass, and no longer sees that the two passes of two moves are one.
    """

    use_running_average: bool = False
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    scale_init: Callable = nn.initializers.ones_init()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        c = x.shape[-1:]
        scale = self.param("scale", self.scale_init, c, self.param_dtype)
        bias = self.param("bias", self.bias_init, c, self.param_dtype)
        running = self.variable("batch_stats", "mean", jnp.zeros, c), self.variable("batch_stats", "var", jnp.ones, c)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.use_running_average:
            mean, var = (v.value for v in running)
        else:
            axes = range(x.ndim - 1)
            mean = wide.mean(axes)
            var = jnp.maximum(jnp.square(wide).mean(axes) - jnp.square(mean), 0)
            if not self.is_initializing():
                for average, new in zip(running, (mean, var), strict=True):
                    average.value = self.momentum * average.value + (1 - self.momentum) * new
        y = (wide - mean) * (lax.rsqrt(var + self.epsilon) * scale) + bias
        return y.astype(self.dtype or jnp.result_type(x, scale))


class InstanceNorm(nn.Module):
    """(x − E x) / √(Var x + ε) over the space of each image and channel, and `affine` · scale + bias.

    Ulyanov et al. 2016. What batch normalisation does to a batch of one; it has no running statistics.
    """

    affine: bool = False
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    scale_init: Callable = nn.initializers.ones_init()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        axes, wide = range(1, x.ndim - 1), x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - wide.mean(axes, keepdims=True)
        y = centred * lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + self.epsilon)
        if self.affine:
            y *= self.param("scale", self.scale_init, x.shape[-1:], self.param_dtype)
            y += self.param("bias", self.bias_init, x.shape[-1:], self.param_dtype)
        return y.astype(self.dtype or x.dtype)
