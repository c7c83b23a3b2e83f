"""Normalisations: the numbers of Flax, PyTorch and NumPy, and one forward pass where two moves need the same one."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.nn.conv import Conv
from gan_jax.nn.norm import BatchNorm, InstanceNorm

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


@pytest.mark.parametrize("layer", [BatchNorm(affine=False), InstanceNorm()], ids=["batch", "instance"])
def test_a_mean_of_a_thousand_deviations(layer):
    """In float32, against NumPy in float64 on the same numbers."""
    far = np.random.default_rng(0).normal(1000, 1, (8, 20, 3)).astype(np.float32)
    axes, exact = (0, 1) if isinstance(layer, BatchNorm) else 1, far.astype(np.float64)
    expected = (exact - exact.mean(axes, keepdims=True)) / np.sqrt(exact.var(axes, keepdims=True) + 1e-5)
    y, new = layer.init_with_output(jax.random.key(0), far)
    np.testing.assert_allclose(y, expected, atol=1e-3)
    if isinstance(layer, BatchNorm):
        _, new = layer.apply(new, far, mutable=["batch_stats"])
        np.testing.assert_allclose(new["batch_stats"]["var"], 0.99 + 0.01 * exact.var(axes), rtol=1e-4)


@pytest.mark.parametrize(
    "layer", [BatchNorm(), BatchNorm(True), BatchNorm(affine=False), InstanceNorm(True), Conv(2, (3, 3))]
)
def test_numpy_arrays_are_taken(layer):
    variables = layer.init(jax.random.key(0), np.asarray(x))
    close(variables, layer.init(jax.random.key(0), x))
    mutable = ["batch_stats"] * isinstance(layer, BatchNorm)
    close(layer.apply(variables, np.asarray(x), mutable=mutable), layer.apply(variables, x, mutable=mutable))


def test_without_scale_and_bias():
    bare = BatchNorm(affine=False)
    variables = bare.init(jax.random.key(0), x)
    assert variables.keys() == {"batch_stats"}
    full = variables | {"params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}
    close(
        bare.apply(variables, x, mutable=["batch_stats"]),
        BatchNorm().apply(full, x, mutable=["batch_stats"]),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.reference
@pytest.mark.parametrize("shape", [(4, 5, 5, 3), (6, 3)])
def test_pytorch_keeps_the_unbiased_variance(shape):
    """Outputs, gradients and running statistics of three batches, and evaluation with them."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[reference]'")
    with jax.enable_x64(True):
        rng, layer = np.random.default_rng(0), BatchNorm(momentum=0.9, unbiased=True, param_dtype=jnp.float64)
        variables = layer.init(jax.random.key(0), np.zeros(shape))
        theirs = (torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d)(3, dtype=torch.float64)
        first = lambda a: torch.tensor(np.moveaxis(a, -1, 1).copy(), requires_grad=True)
        last = lambda t: np.moveaxis(t.detach().numpy(), 1, -1)
        for _ in range(3):
            a, weight = rng.normal(2, 3, (2, *shape))

            def value(v, a, weight=weight):
                y, new = layer.apply(v, a, mutable=["batch_stats"])
                return (weight * y).sum(), (y, new)

            (_, (y, new)), slope = jax.value_and_grad(value, 1, has_aux=True)(variables, a)
            a_theirs = first(a)
            y_theirs = theirs(a_theirs)
            (first(weight) * y_theirs).sum().backward()
            close((y, slope), (last(y_theirs), last(a_theirs.grad)), rtol=1e-9, atol=1e-11)
            variables = variables | new
        running = {"mean": theirs.running_mean.numpy(), "var": theirs.running_var.numpy()}
        close(variables["batch_stats"], running, rtol=1e-12)
        a = rng.normal(size=shape)
        evaluated = layer.clone(use_running_average=True).apply(variables, a)
        close(evaluated, last(theirs.eval()(first(a))), rtol=1e-9, atol=1e-11)


def test_a_batch_of_one_has_variance_0():
    layer, one = BatchNorm(unbiased=True), np.ones((1, 3), np.float32)
    y, new = layer.apply(layer.init(jax.random.key(0), one), one, mutable=["batch_stats"])
    np.testing.assert_allclose((y[0], new["batch_stats"]["var"]), (np.zeros(3), np.full(3, 0.99)), rtol=1e-6)


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
