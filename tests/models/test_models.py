from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import export

from gan_jax.models import dcgan, pacdcgan, r3gan, toy, translation


def count(module, x):
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.eval_shape(lambda: module.init(keys, x))
    out, _ = jax.eval_shape(lambda v: module.apply(v, x, mutable=True, rngs=keys), variables)
    return sum(p.size for p in jax.tree.leaves(variables["params"])), out.shape


@pytest.mark.parametrize(
    "module, x, parameters, shape",
    [
        (dcgan.DenseGenerator(), (2, 100), 2_305_472, (2, 28, 28, 1)),
        (dcgan.DropoutDiscriminator(), (2, 28, 28, 1), 212_865, (2,)),
        (dcgan.Generator(), (2, 100), 3_576_704, (2, 64, 64, 3)),
        (dcgan.Discriminator(), (2, 64, 64, 3), 2_765_568, (2,)),
    ],
)
def test_the_tutorials_parameter_counts(module, x, parameters, shape):
    assert count(module, jnp.zeros(x)) == (parameters, shape)


def test_pacgans_parameter_counts():
    assert count(toy.NormGenerator(), jnp.zeros((2, 2))) == (484_802, (2, 2))
    for pack in (1, 2, 3, 4):
        assert count(toy.MaxoutDiscriminator(), jnp.zeros((2, 2 * pack))) == (403_201 + 2000 * pack, (2,))


def test_wgan_gps_parameter_counts():
    assert count(toy.ReLUGenerator(), jnp.zeros((2, 2))) == (527_874, (2, 2))
    assert count(toy.ReLUCritic(), jnp.zeros((2, 2))) == (527_361, (2,))


def test_wgan_gps_weights_are_uniform_with_the_deviations_of_he_and_glorot():
    params = toy.ReLUCritic().init(jax.random.key(0), jnp.zeros((2, 2)))["params"]
    for i, deviation in enumerate([np.sqrt(2 / 2), np.sqrt(2 / 512), np.sqrt(2 / 512), np.sqrt(2 / 513)]):
        W = np.asarray(params[f"Dense_{i}"]["kernel"])
        assert W.std() == pytest.approx(deviation, rel=0.06) and not params[f"Dense_{i}"]["bias"].any()
        assert 0.95 < abs(W).max() / (np.sqrt(3) * deviation) <= 1


def test_a_maxout_unit_is_the_largest_of_its_linear_functions():
    D, x = toy.MaxoutDiscriminator(width=7, pieces=3), np.random.default_rng(0).normal(size=(5, 4))
    noise = lambda w: w + 0.1 * jax.random.normal(jax.random.key(w.size), w.shape)
    params = jax.tree.map(noise, D.init(jax.random.key(0), x)["params"])
    h = x
    for i in range(3):
        W, b = (np.asarray(params[f"DenseGeneral_{i}"][name], np.float64) for name in ("kernel", "bias"))
        h = np.array([[max(row @ W[:, p, u] + b[p, u] for p in range(3)) for u in range(7)] for row in h])
    W, b = (np.asarray(params["Dense_0"][name], np.float64) for name in ("kernel", "bias"))
    np.testing.assert_allclose(D.apply({"params": params}, x.astype(np.float32)), (h @ W + b)[:, 0], rtol=1e-5)


def exported(module, shape, **mode):
    """A network with a symbolic batch, lowered for three platforms, and its variables."""
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((2, *shape)), **mode))
    shape = jax.ShapeDtypeStruct(export.symbolic_shape(", ".join(["b", *map(str, shape)])), jnp.float32)
    apply = jax.jit(lambda v, x: module.apply(v, x, **mode))
    return export.export(apply, platforms=("cpu", "cuda", "tpu"))(variables, shape)


def test_the_digits_generator_with_any_batch():
    G, z = dcgan.DenseGenerator(size=8, width=4), jax.random.normal(jax.random.key(1), (3, 5))
    variables = jax.jit(G.init)(jax.random.key(0), z)
    found = exported(G, (5,), train=False).call(variables, z)
    np.testing.assert_array_equal(found, jax.jit(partial(G.apply, train=False))(variables, z))


@pytest.mark.parametrize(
    "module, shape, mode",
    [
        (dcgan.DropoutDiscriminator(width=2), (8, 8, 1), {"train": False}),
        (dcgan.Generator(size=16, width=2), (5,), {"train": False}),
        (dcgan.Discriminator(width=2), (16, 16, 3), {"train": False}),
        (pacdcgan.Generator(width=2), (5,), {"train": False}),
        (pacdcgan.Discriminator(width=2), (28, 28, 3), {"train": False}),
        (r3gan.Generator((32, 16), blocks=1), (5,), {}),
        (r3gan.Discriminator((32, 16), blocks=1), (8, 8, 3), {}),
        (translation.ResNet(width=2, blocks=1), (8, 8, 3), {}),
        (translation.PatchGAN(width=2, layers=1), (8, 8, 3), {}),
        (toy.NormGenerator(width=4), (2,), {"train": False}),
    ],
    ids=lambda value: f"{type(value).__module__}.{type(value).__name__}" if isinstance(value, nn.Module) else None,
)
def test_every_network_with_any_batch(module, shape, mode):
    (out,) = exported(module, shape, **mode).out_avals
    assert str(out.shape[0]) == "b"
