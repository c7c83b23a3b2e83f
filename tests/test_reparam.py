"""Reparametrisations against the SVD, finite differences and PyTorch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.errors import UserError
from gan_jax.reparam import biases, chain, equalised, scaled, spectral_norm, weight_norm


def weights(seed=0, dtype=np.float32):
    """Of a critic on x [b, 8, 8, 1]: two convolutions and a linear output."""
    rng = np.random.default_rng(seed)
    shapes = {"Conv_0": (4, 4, 1, 8), "Conv_1": (3, 3, 8, 6), "Dense_0": (96, 1)}
    one = lambda s: {"kernel": jnp.asarray(rng.normal(0, 0.1, s), dtype), "bias": jnp.zeros(s[-1], dtype)}
    return {name: one(shape) for name, shape in shapes.items()}


def critic(w, x):
    for name, stride in (("Conv_0", 2), ("Conv_1", 1)):
        layer, numbers = w[name], ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, layer["kernel"], (stride,) * 2, "SAME", dimension_numbers=numbers)
        x = jax.nn.leaky_relu(x + layer["bias"], 0.1)
    return (x.reshape(len(x), -1) @ w["Dense_0"]["kernel"] + w["Dense_0"]["bias"])[:, 0]


def largest(kernel):
    return np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), compute_uv=False)[0]


def errors_along_a_training(rate, rounds, **how):
    """|σ / σ(SVD) − 1| by round and kernel, σ read off as raw over used weights, and how far the loss fell."""
    reparam, optimizer = spectral_norm(**how), optax.adam(rate, 0.0, 0.9)
    real, fake = np.random.default_rng(0).normal(size=(2, rounds, 16, 8, 8, 1)).astype(np.float32)
    real = 0.3 * real + np.linspace(-1, 1, 8, dtype=np.float32)[:, None]  # something to tell from noise

    @jax.jit
    def update(params, memory, opt, real, fake):
        def loss(params):
            used, new = reparam(params, memory)
            return jax.nn.relu(1 - critic(used, real)).mean() + jax.nn.relu(1 + critic(used, fake)).mean(), (used, new)

        (value, (used, new)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt = optimizer.update(grads, opt)
        return optax.apply_updates(params, updates), new, opt, (value, params, used)

    params = weights()
    memory, opt, values, errors = reparam(params, None)[1], optimizer.init(params), [], []
    for t in range(rounds):
        params, memory, opt, (value, raw, used) = update(params, memory, opt, real[t], fake[t])
        values.append(float(value))
        for name in raw:
            W = raw[name]["kernel"]
            σ = float(jnp.linalg.norm(W) / jnp.linalg.norm(used[name]["kernel"]))
            errors.append(abs(σ / largest(W) - 1))
            np.testing.assert_array_equal(used[name]["bias"], raw[name]["bias"])
    return np.reshape(errors, (rounds, -1)), values[-1] / values[0]


@pytest.mark.parametrize("rate", [2e-4, 1e-3])
def test_spectral_norm_along_a_training(rate):
    """SN-GAN's own Adam (2e-4, 0, 0.9), and one five times as fast."""
    errors, fell = errors_along_a_training(rate, rounds=200)
    assert errors.max() < 0.01
    assert fell < 0.95


def test_a_single_vector_lags_behind_fast_weights():
    """The paper's algorithm: at 1e-3 the leading singular values cross, and its σ is more than 10 % low."""
    errors, _ = errors_along_a_training(1e-3, rounds=50, vectors=1)
    assert errors.max() > 0.1


def test_spectral_norm_converges_to_the_svd():
    with jax.enable_x64(True):
        params, reparam = weights(1, np.float64), jax.jit(spectral_norm(steps=500))
        fresh = reparam(params, None)
        others = {path: jnp.ones_like(u) / 3 for path, u in fresh[1].items()}
        for used, _ in (fresh, reparam(params, others)):
            for name in params:
                raw = params[name]["kernel"]
                np.testing.assert_allclose(used[name]["kernel"], raw / largest(raw), rtol=1e-12)


def test_gradient_of_spectral_norm_is_equation_12():
    with jax.enable_x64(True):
        params, reparam, rng = weights(2, np.float64), spectral_norm(vectors=1), np.random.default_rng(0)
        memory, C = reparam(params, None)[1], rng.normal(size=(3, 3, 8, 6))
        objective = lambda p: (C * reparam(p, memory)[0]["Conv_1"]["kernel"]).sum()
        grad = jax.jit(jax.grad(objective))(params)["Conv_1"]["kernel"]

        W = np.asarray(params["Conv_1"]["kernel"]).reshape(-1, 6)
        v = W @ memory["Conv_1/kernel"][:, 0]
        v /= np.linalg.norm(v)
        u = v @ W
        u /= np.linalg.norm(u)
        with_uv_fixed = lambda W: (C * (W / (v @ W @ u)).reshape(C.shape)).sum()
        difference, h = np.zeros(W.shape), 1e-6
        for at in np.ndindex(W.shape):
            d = np.zeros(W.shape)
            d[at] = h
            difference[at] = (with_uv_fixed(W + d) - with_uv_fixed(W - d)) / (2 * h)
        np.testing.assert_allclose(grad.reshape(W.shape), difference, rtol=1e-7, atol=1e-7)
        σ = v @ W @ u
        equation = (C.reshape(W.shape) - (C.reshape(W.shape) * W / σ).sum() * np.outer(v, u)) / σ
        np.testing.assert_allclose(grad.reshape(W.shape), equation, rtol=1e-11, atol=1e-12)


def test_more_steps_are_steps_again():
    params = weights()
    start = spectral_norm()(params, None)[1]
    three, again = spectral_norm(steps=3)(params, start)[1], start
    for _ in range(3):
        again = spectral_norm()(params, again)[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), three, again)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_spectral_norm_under_transformations(dtype):
    params, reparam = [weights(seed, dtype) for seed in range(3)], spectral_norm()
    alone = [reparam(p, reparam(p, None)[1]) for p in params]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *params)
    memory = jax.jit(jax.vmap(lambda p: reparam(p, None)[1]))(stacked)
    together = jax.jit(jax.vmap(reparam))(stacked, memory)
    expected = jax.tree.map(lambda *x: jnp.stack(x), *alone)
    as64 = lambda x: np.asarray(x, np.float64)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(as64(a), as64(b), rtol=1e-2, atol=1e-6), together, expected)
    shapes = jax.eval_shape(reparam, params[0], None)
    jax.tree.map(lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)), shapes, alone[0])
    used, vectors = alone[0]
    assert all(used[n]["kernel"].dtype == dtype for n in used)
    assert set(vectors) == {"Conv_0/kernel", "Conv_1/kernel", "Dense_0/kernel"}
    assert all(u.dtype == jnp.float32 for u in vectors.values())


def test_a_kernel_that_starts_at_zero_wakes_up():
    reparam, zero = spectral_norm(), {"kernel": jnp.zeros((5, 4))}
    used, memory = reparam(zero, None)
    assert (used["kernel"] == 0).all()
    grown = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)}
    for _ in range(30):
        used, memory = reparam(grown, memory)
    np.testing.assert_allclose(used["kernel"], grown["kernel"] / largest(grown["kernel"]), rtol=1e-3)


def test_where_chooses():
    params = weights() | {"Embed_0": {"embedding": jnp.ones((10, 4))}}
    assert set(spectral_norm()(params, None)[1]) == {f"{name}_0/kernel" for name in ("Conv", "Dense")} | {
        "Conv_1/kernel",
        "Embed_0/embedding",
    }
    used, memory = spectral_norm(lambda path: path.endswith("embedding") or path.startswith("Conv_1"))(params, None)
    assert set(memory) == {"Embed_0/embedding", "Conv_1/kernel"}  # the bias of Conv_1 is not a matrix
    np.testing.assert_allclose(used["Embed_0"]["embedding"], np.full((10, 4), 40**-0.5), rtol=1e-6)
    for made in (spectral_norm, weight_norm, equalised):
        with pytest.raises(UserError, match=r"name some of Conv_0/bias, Conv_0/kernel, .* by `where`"):
            made(lambda path: False)(weights(), None)


def test_weight_norm_gives_every_output_length_one():
    params, reparam = weights(), weight_norm()
    used, memory = reparam(params, None)
    assert memory == {}
    for name in used:
        raw, unit = (np.asarray(p[name]["kernel"], np.float64) for p in (params, used))
        np.testing.assert_allclose(unit, raw / np.linalg.norm(raw.reshape(-1, raw.shape[-1]), axis=0), rtol=1e-5)
    C = np.random.default_rng(0).normal(size=(3, 3, 8, 6))
    grad = jax.grad(lambda p: (C * reparam(p, {})[0]["Conv_1"]["kernel"]).sum())(params)["Conv_1"]["kernel"]
    np.testing.assert_allclose(
        (grad * params["Conv_1"]["kernel"]).sum((0, 1, 2)), 0, atol=1e-4
    )  # eq. 4: no radial part


def test_equalised_weights_give_unit_variance_twice_halved():
    """A ReLU layer of N(0, 1) weights keeps E x² = 1: He et al.'s constant."""
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(size=(3, 3, 50, 2000)), jnp.float32)}
    used, memory = equalised()(params, None)
    assert memory == {}
    np.testing.assert_allclose(used["kernel"], params["kernel"] * np.sqrt(2 / 450), rtol=1e-6)
    x = rng.normal(size=(450,))
    y = np.maximum(0, x @ np.asarray(used["kernel"]).reshape(450, -1))
    np.testing.assert_allclose(np.square(y).mean(), np.square(x).mean(), rtol=0.1)
    np.testing.assert_allclose(equalised(gain=1.0)(params, {})[0]["kernel"], params["kernel"] / np.sqrt(450), rtol=1e-6)


def test_a_multiplier_scales_what_a_layer_learns_under_adam():
    """Karras et al. 2019: W stored as N(0, 1)/m and used times m begins the same, and moves m times as far."""
    m, params = 0.01, weights()
    plain, slow = chain(equalised()), chain(equalised(multiplier=m), scaled(m, biases))
    stored = jax.tree.map(lambda w: w / m, params)
    close = lambda a, b, rtol: jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), a, b)
    assert chain()(params, None) == (params, ())
    used = slow(stored, None)[0]
    close({n: used[n]["kernel"] for n in used}, {n: plain(params, None)[0][n]["kernel"] for n in used}, 1e-5)

    @partial(jax.jit, static_argnums=0)
    def moved(reparam, start):
        slope = jax.grad(lambda p: sum(jnp.sin(w).sum() for w in jax.tree.leaves(reparam(p, None)[0])))(start)
        step = optax.adam(0.1)
        after = optax.apply_updates(start, step.update(slope, step.init(start))[0])
        return jax.tree.map(jnp.subtract, reparam(after, None)[0], reparam(start, None)[0])

    far, near = moved(plain, params), moved(slow, stored)
    close(near, jax.tree.map(lambda x: m * x, far), 1e-3)


def test_a_chain_keeps_the_memory_of_each():
    """σ of weights whose outputs have length 1, remembered beside the other's."""
    params, both = weights(), chain(weight_norm(), spectral_norm())
    used, memory = both(params, None)
    unit = weight_norm()(params, None)[0]
    for name in params:
        np.testing.assert_allclose(used[name]["kernel"], unit[name]["kernel"] / largest(unit[name]["kernel"]), 1e-5)
    assert memory[0] == {} and set(memory[1]) == {"Conv_0/kernel", "Conv_1/kernel", "Dense_0/kernel"}
    again, new = both(params, memory)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), again, used)
    assert jax.tree.structure(new) == jax.tree.structure(memory)


@pytest.mark.reference
def test_spectral_norm_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[reference]'")
    reparam, rng = spectral_norm(vectors=1), np.random.default_rng(0)
    W, C = rng.normal(size=(2, 12, 5)).astype(np.float32)
    memory = reparam({"kernel": jnp.asarray(W)}, None)[1]
    layer = torch.nn.Linear(5, 12, bias=False)
    layer.weight.data = torch.tensor(W)
    layer = torch.nn.utils.parametrizations.spectral_norm(layer)
    layer.parametrizations.weight[0]._v.copy_(torch.tensor(np.asarray(memory["kernel"][:, 0])))
    sgd = torch.optim.SGD(layer.parameters(), 0.1)
    update = jax.jit(jax.grad(lambda w, m: (C * jnp.square(reparam({"kernel": w}, m)[0]["kernel"])).sum()))
    w = jnp.asarray(W)
    for _ in range(3):
        used = layer.weight  # one power step on each use
        sgd.zero_grad()
        (torch.tensor(C) * used**2).sum().backward()
        sgd.step()
        ours, new = reparam({"kernel": w}, memory)
        np.testing.assert_allclose(ours["kernel"], used.detach().numpy(), rtol=1e-5, atol=1e-6)
        w, memory = w - 0.1 * update(w, memory), new
        np.testing.assert_allclose(w, layer.parametrizations.weight.original.detach().numpy(), rtol=1e-5, atol=1e-6)
