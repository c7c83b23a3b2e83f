"""Batch normalisation: Flax's numbers and names, and one forward pass where two moves ask for the same."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.nn.norm import BatchNorm

x = jnp.asarray(np.random.default_rng(0).normal(2, 3, (4, 5, 5, 3)), jnp.float32)
close = lambda a, b, **kw: jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **kw), a, b)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_flax_numbers_and_names(running, dtype):
    options = {"momentum": 0.9, "epsilon": 1e-3, "dtype": dtype, "scale_init": nn.initializers.normal(1.0)}
    ours, theirs = BatchNorm(running, **options), nn.BatchNorm(running, **options)
    variables = theirs.init(jax.random.key(0), x)
    close(ours.init(jax.random.key(0), x), variables)

    def everything(layer):
        apply = lambda v: layer.apply(v, x, mutable=["batch_stats"])
        loss = lambda v: jnp.sin(apply(v)[0].astype(jnp.float32)).sum()
        return apply(variables), jax.grad(loss)(variables)["params"]

    a, b = jax.jit(lambda: everything(ours))(), jax.jit(lambda: everything(theirs))()
    assert a[0][0].dtype == b[0][0].dtype
    close(a, b, rtol=1e-4 if dtype is None else 0.1, atol=1e-5 if dtype is None else 0.1)


def test_two_moves_share_a_forward_pass():
    """The same network applied plainly and under grad costs no product more than under grad alone."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for features in (8, 8, 8):
                x = nn.relu(BatchNorm()(nn.Dense(features)(x)))
            return x

    variables = Net().init(jax.random.key(0), x)
    forward = lambda p: Net().apply({**variables, "params": p}, x, mutable=["batch_stats"])[0]
    alone = lambda p: jax.grad(lambda p: jnp.sin(forward(p)).sum())(p)
    twice = lambda p: (forward(p), alone(p))
    dots = [
        len(re.findall(r" dot\(", jax.jit(f).lower(variables["params"]).compile().as_text())) for f in (alone, twice)
    ]
    assert dots[0] == dots[1]
