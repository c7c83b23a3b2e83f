"""Batch and instance normalisation."""

from collections.abc import Callable
from math import prod
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


class BatchNorm(nn.Module):
    """(x − E x) / √(Var x + ε) · scale + bias over all axes but the last; `flax.linen.BatchNorm` in numbers and names.

    In training E and Var are the batch's, and the running averages of both advance (`batch_stats`, not while
    initialising); with `use_running_average` they are those averages. The variance is computed from x − E x, so a
    mean far larger than the deviation costs no digits.

    Statistics keep the shape [c] to the end. Reshaped to [1, 1, 1, c], as in Flax, XLA simplifies them differently in
    a differentiated and in a plain forward pass, and no longer merges the equal forward passes of two moves.

    >>> import jax
    >>> x = np.array([[1.0], [3.0]], np.float32)
    >>> layer = BatchNorm(affine=False, epsilon=0.0)
    >>> layer.apply(layer.init(jax.random.key(0), x), x, mutable=["batch_stats"])[0].tolist()
    [[-1.0], [1.0]]
    """

    use_running_average: bool = False
    momentum: float = 0.99  # of the running averages: PyTorch's momentum is 1 − this
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    scale_init: Callable = nn.initializers.ones_init()
    bias_init: Callable = nn.initializers.zeros_init()
    affine: bool = True  # whether there are a scale and a bias
    unbiased: bool = False  # the running variance is that of Σ/(n − 1), as PyTorch's, not of Σ/n, as Flax' and Keras'

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "*b c"]) -> Float[Array, "*b c"]:
        x, c, axes = jnp.asarray(x), x.shape[-1:], tuple(range(x.ndim - 1))
        running = self.variable("batch_stats", "mean", jnp.zeros, c), self.variable("batch_stats", "var", jnp.ones, c)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = running[0].value if self.use_running_average else wide.mean(axes)
        centred = wide - mean
        var = running[1].value if self.use_running_average else jnp.square(centred).mean(axes)
        if not self.use_running_average and not self.is_initializing():
            n = prod(x.shape[:-1])
            correction = n / max(n - 1, 1) if self.unbiased else 1
            for average, new in zip(running, (mean, correction * var), strict=True):
                average.value = self.momentum * average.value + (1 - self.momentum) * new
        factor = lax.rsqrt(var + self.epsilon)
        if not self.affine:
            return (centred * factor).astype(self.dtype or x.dtype)
        scale = self.param("scale", self.scale_init, c, self.param_dtype)
        bias = self.param("bias", self.bias_init, c, self.param_dtype)
        y = centred * (factor * scale) + bias
        return y.astype(self.dtype or jnp.result_type(x, scale))


class InstanceNorm(nn.Module):
    """(x − E x) / √(Var x + ε) over the space of each image and channel, and `affine` · scale + bias.

    Ulyanov et al. 2016. What batch normalisation does to a batch of one; it has no running statistics.

    >>> x = np.array([[[1.0], [3.0]], [[10.0], [30.0]]], np.float32)
    >>> InstanceNorm(epsilon=0.0).apply({}, x)[..., 0].tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    affine: bool = False
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    scale_init: Callable = nn.initializers.ones_init()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *space c"]) -> Float[Array, "b *space c"]:
        x, axes = jnp.asarray(x), tuple(range(1, x.ndim - 1))
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - wide.mean(axes, keepdims=True)
        y = centred * lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + self.epsilon)
        if self.affine:
            y *= self.param("scale", self.scale_init, x.shape[-1:], self.param_dtype)
            y += self.param("bias", self.bias_init, x.shape[-1:], self.param_dtype)
        return y.astype(self.dtype or x.dtype)
