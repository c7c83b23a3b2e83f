"""The networks of CycleGAN and pix2pix: published sizes, and the numbers and gradients of PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.errors import UserError
from gan_jax.models.translation import PatchGAN, ResNet, UNet

KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def count(module, *shape):
    params = jax.eval_shape(module.init, KEYS, jax.ShapeDtypeStruct(shape, jnp.float32))["params"]
    return sum(p.size for p in jax.tree.leaves(params))


@pytest.mark.parametrize(
    "module, shape, parameters",
    [
        (ResNet(blocks=9), (1, 256, 256, 3), 11_378_179),
        (ResNet(blocks=6), (1, 128, 128, 3), 7_837_699),
        (PatchGAN(), (1, 256, 256, 3), 2_764_737),
        # pix2pix prints 54.414 M and 2.769 M, in grey 54.408 M and 2.765 M, and 29.238 M at 64 pixels (issue 1152)
        (UNet(), (1, 256, 256, 3), 54_413_955),
        (UNet(1), (1, 256, 256, 1), 54_407_809),
        (UNet(1, depth=6), (1, 64, 64, 1), 29_237_889),
        (PatchGAN(affine=True), (1, 256, 256, 6), 2_768_705),
        (PatchGAN(affine=True), (1, 256, 256, 2), 2_764_609),
    ],
)
def test_published_parameter_counts(module, shape, parameters):
    assert count(module, *shape) == parameters


def test_patches_of_70_pixels():
    """A logit depends on a square of 70 x 70 pixels and nothing beyond, with 1 and 2 layers on one of 16 and 34."""
    x = jnp.full((1, 96, 96, 1), 0.1)
    without_norm = lambda next, args, kwargs, context: (
        args[0] if type(context.module).__name__ == "InstanceNorm" else next(*args, **kwargs)
    )
    for layers, logit, side in [(1, 20, 16), (2, 10, 34), (3, 5, 70)]:
        D = PatchGAN(width=2, layers=layers)
        with nn.intercept_methods(without_norm):
            variables = D.init(KEYS, x)
            one = lambda x, D=D, v=variables, i=logit: D.apply(v, x)[0, i, i]
            slope = np.asarray(jax.jit(jax.grad(one))(x))[0, :, :, 0]
        for axis in (0, 1):
            seen = np.flatnonzero(slope.any(axis))
            assert seen[-1] - seen[0] + 1 == side


@pytest.mark.parametrize(
    "module, shape, words",
    [
        (
            ResNet(),
            (1, 30, 32, 3),
            "does not take images of 32x30: their sides must be multiples of 4, at least 8",
        ),
        (UNet(depth=3), (1, 8, 12, 3), "does not take images of 12x8: their sides must be multiples of 8, at least 8"),
        (PatchGAN(), (1, 16, 16, 3), "of 3 layers does not take images of 16x16: .* at least 24, such as 24x24"),
    ],
)
def test_images_of_another_size(module, shape, words):
    with pytest.raises(UserError, match=words):
        jax.eval_shape(module.init, KEYS, jax.ShapeDtypeStruct(shape, jnp.float32))


def noised(module, *shape):
    """Weights and biases that all differ from their initial values, and an input."""
    x = jax.random.normal(jax.random.key(2), shape)
    params = jax.jit(module.init)(KEYS, x)["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    return tree.unflatten([w + 0.1 * jax.random.normal(k, w.shape) for w, k in zip(leaves, keys, strict=True)]), x


class Torch:
    """A network's layers in PyTorch, each taking the next weights of its kind."""

    def __init__(self, params):
        import torch

        leaf = lambda w: torch.tensor(np.asarray(w, np.float64), requires_grad=True)
        self.F, self.torch, self.params = torch.nn.functional, torch, jax.tree.map(leaf, params)
        self.next = {}

    def take(self, kind):
        i = self.next[kind] = self.next.get(kind, -1) + 1
        return self.params[f"{kind}_{i}"]

    def conv(self, x, stride=1, padding=0):
        p = self.take("Conv")
        return self.F.conv2d(x, p["kernel"].permute(3, 2, 0, 1).contiguous(), p.get("bias"), stride, padding)

    def up(self, x, **how):
        p = self.take("ConvTranspose")
        return self.F.conv_transpose2d(x, p["kernel"].permute(2, 3, 0, 1).contiguous(), p.get("bias"), 2, 1, **how)

    def still(self, x):
        """The published bias, and the normalisation that removes it."""
        return self.F.instance_norm(x + self.take("StillBias")["bias"][:, None, None])

    def affine(self, x):
        """Batch normalisation of a batch of one."""
        p = self.take("InstanceNorm")
        return self.F.batch_norm(x, None, None, p["scale"], p["bias"], training=True)

    def reflected(self, x, edge):
        return self.F.pad(x, (edge,) * 4, mode="reflect")


def resnet(t, x, blocks):
    h = t.F.relu(t.still(t.conv(t.reflected(x, 3))))
    for _ in range(2):
        h = t.F.relu(t.still(t.conv(h, 2, 1)))
    for _ in range(blocks):
        y = t.F.relu(t.still(t.conv(t.reflected(h, 1))))
        h = h + t.still(t.conv(t.reflected(y, 1)))
    for _ in range(2):
        h = t.F.relu(t.still(t.up(h, output_padding=1)))
    return t.torch.tanh(t.conv(t.reflected(h, 3)))


def unet(t, x, depth):
    maps = [t.conv(x, 2, 1)]
    for i in range(1, depth):
        h = t.conv(t.F.leaky_relu(maps[-1], 0.2), 2, 1)
        maps.append(t.affine(h) if i < depth - 1 else h)
    h = maps.pop()
    while maps:
        h = t.torch.cat([maps.pop(), t.affine(t.up(t.F.relu(h)))], 1)
    return t.torch.tanh(t.up(t.F.relu(h)))


def patchgan(t, x, layers, norm):
    h = t.F.leaky_relu(t.conv(x, 2, 1), 0.2)
    for i in range(1, layers + 1):
        h = t.F.leaky_relu(norm(t.conv(h, 2 if i < layers else 1, 1)), 0.2)
    return t.conv(h, 1, 1)


@pytest.mark.reference
@pytest.mark.parametrize(
    "module, shape, theirs",
    [
        (ResNet(2, width=3, blocks=2), (2, 12, 16, 2), lambda t, x: resnet(t, x, 2)),
        (UNet(2, width=2, depth=4), (1, 32, 16, 3), lambda t, x: unet(t, x, 4)),
        (PatchGAN(width=3, layers=2), (2, 16, 20, 2), lambda t, x: patchgan(t, x, 2, t.still)),
        (PatchGAN(width=3, layers=2, affine=True), (1, 16, 20, 2), lambda t, x: patchgan(t, x, 2, t.affine)),
    ],
    ids=["ResNet", "UNet", "PatchGAN", "PatchGAN of pix2pix"],
)
def test_pytorch_has_the_same_outputs_and_gradients(module, shape, theirs):
    pytest.importorskip("torch")
    with jax.enable_x64():
        module = module.clone(dtype=jnp.float64)
        params, x = jax.tree.map(lambda a: a.astype(jnp.float64), noised(module, *shape))
        t = Torch(params)
        x_theirs = t.torch.tensor(np.asarray(x).transpose(0, 3, 1, 2), requires_grad=True)
        y_theirs = theirs(t, x_theirs)
        weight = np.random.default_rng(0).normal(size=y_theirs.shape)
        (y_theirs * t.torch.tensor(weight)).sum().backward()

        undropped = lambda next, args, kwargs, context: (
            args[0] if isinstance(context.module, nn.Dropout) else next(*args, **kwargs)
        )
        flat = lambda y: y[:, None] if y.ndim == 3 else y.transpose(0, 3, 1, 2)

        def value(params, x):
            with nn.intercept_methods(undropped):
                y = flat(module.apply({"params": params}, x))
            return (y * weight).sum(), y

        (_, y), (of_params, of_x) = jax.jit(jax.value_and_grad(value, (0, 1), has_aux=True))(params, x)
    np.testing.assert_allclose(y, y_theirs.detach().numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(of_x.transpose(0, 3, 1, 2), x_theirs.grad.numpy(), rtol=1e-8, atol=1e-8)
    assert all(len(t.next) and i + 1 == sum(k.startswith(f"{kind}_") for k in params) for kind, i in t.next.items())
    for (path, ours), leaf in zip(jax.tree.leaves_with_path(of_params), jax.tree.leaves(t.params), strict=True):
        # The gradient of a bias before a normalisation is rounding; ours is exactly 0.
        found = 0 if "StillBias" in str(path) else leaf.grad.numpy()
        np.testing.assert_allclose(ours, found, rtol=1e-8, atol=1e-8, err_msg=str(path))
        assert "StillBias" not in str(path) or abs(leaf.grad.numpy()).max() < 1e-10


def test_dropout_is_the_noise_and_stays_on():
    G, x = UNet(1, width=2, depth=3), jnp.ones((1, 8, 8, 1)) * jnp.linspace(-1, 1, 8)[:, None]
    variables = jax.jit(G.init)(KEYS, x)
    make = jax.jit(lambda key: G.apply(variables, x, rngs={"dropout": key}))
    a, b, again = (np.asarray(make(jax.random.key(i))) for i in (5, 6, 5))
    assert np.abs(a - b).max() > 1e-4 and (a == again).all() and np.abs(a).max() < 1


def test_an_image_does_not_depend_on_the_others():
    x = jax.random.normal(jax.random.key(0), (3, 12, 12, 1))
    for net in (ResNet(1, 2, 1), PatchGAN(2, 2, affine=True)):
        params, _ = noised(net, 1, 12, 12, 1)
        apply = jax.jit(lambda x, net=net, params=params: net.apply({"params": params}, x))
        np.testing.assert_allclose(apply(x)[1:2], apply(x[1:2]), rtol=1e-4, atol=1e-5)
