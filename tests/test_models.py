import jax
import jax.numpy as jnp
import pytest

from gan_jax.models import dcgan


def count(module, x):
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.eval_shape(lambda: module.init(keys, x))
    out = jax.eval_shape(lambda v: module.apply(v, x, train=False), variables)
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
