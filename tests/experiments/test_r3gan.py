"""R3GAN: the published counts, blocks that begin as identity, penalties by differences, schedules by hand."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.engine import init, step
from gan_jax.errors import UserError
from gan_jax.models.r3gan import Block, Discriminator, Generator
from gan_jax.net import Net
from gan_jax.nn.resample import downsample, upsample
from gan_jax.runs import cost
from gan_jax.runs import paper as papers

paper = papers.paper("r3gan").module
tiny = paper.TINY
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
millions = lambda tree: round(sum(leaf.size for leaf in jax.tree.leaves(tree)) / 1e6, 2)


def test_the_published_parameters():
    """Table 9 for Stacked MNIST: 20.73 and 20.68 million."""
    found = cost.parameters(paper.game(paper.PRESETS["full"]), {"x": [[4, 32, 32, 3], "float32"]})
    assert found == {"G": 20_732_160, "D": 20_683_776}


def test_the_published_parameters_with_classes():
    """Table 9 for CIFAR-10, whose ten classes are given: 20.78 and 21.28 million."""
    G, D = (net((768,) * 4, classes=10) for net in (Generator, Discriminator))
    z, x, y = jnp.zeros((1, 64)), jnp.zeros((1, 32, 32, 3)), jnp.zeros(1, int)
    born = lambda net, x: jax.eval_shape(net.init, jax.random.key(0), x, y)
    assert (millions(born(G, z)), millions(born(D, x))) == (20.78, 21.28)


def test_a_block_begins_as_the_identity():
    """Its first two layers at He's scale by L^(-1/4): standard deviations √(2 / 1.04 / fan-in) / 2 for L = 16."""
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 32))
    block = Block(total=16, expansion=4, channels=8)
    variables = quick(block.init)(jax.random.key(1), x)
    np.testing.assert_array_equal(quick(block.apply)(variables, x), x)
    params = variables["params"]
    assert params["Conv_0"]["kernel"].shape == (3, 3, 8, 128)
    for name, fan_in in {"Dense_0": 32, "Conv_0": 9 * 8}.items():
        assert float(params[name]["kernel"].std()) == pytest.approx((2 / 1.04 / fan_in) ** 0.5 / 2, rel=0.05)
        assert not params[name]["bias"].any()
    assert set(params["Dense_1"]) == {"kernel"} and not params["Dense_1"]["kernel"].any()


def test_a_block_by_hand():
    x, block = jax.random.normal(jax.random.key(0), (1, 3, 3, 2)), Block(total=1, channels=2)
    w = quick(block.init)(jax.random.key(1), x)["params"]
    w = jax.tree.map(lambda a: np.random.default_rng(a.size).normal(size=a.shape).astype("f"), w)
    lrelu = lambda h: np.where(h > 0, h, 0.2 * h)
    h = lrelu(np.asarray(x) @ w["Dense_0"]["kernel"] + w["Dense_0"]["bias"])
    padded, y = np.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0))), np.zeros_like(h)
    for i, j, group in np.ndindex(3, 3, 2):
        patch = padded[0, i : i + 3, j : j + 3, 2 * group : 2 * group + 2]
        part = slice(2 * group, 2 * group + 2)
        y[0, i, j, part] = np.tensordot(patch, w["Conv_0"]["kernel"][..., part], 3)
    y = x + lrelu(y + w["Conv_0"]["bias"]) @ w["Dense_1"]["kernel"]
    np.testing.assert_allclose(quick(block.apply)({"params": w}, x), y, rtol=1e-4, atol=1e-4)


def test_the_networks_begin_linear():
    """G: colours of a basis that is weighted, and enlarged; both narrow or widen between stages by 1x1."""
    G, z = Generator((8, 4), 1, channels=3, group=4), jax.random.normal(jax.random.key(0), (5, 6))
    variables = quick(G.init)(jax.random.key(1), z)
    p = variables["params"]
    h = p["basis"] * (z @ p["Dense_0"]["kernel"])[:, None, None]
    x = upsample(h @ p["Dense_1"]["kernel"]) @ p["Dense_2"]["kernel"]
    np.testing.assert_allclose(quick(G.apply)(variables, z), x, rtol=1e-4, atol=1e-5)
    D = Discriminator((8, 4), 1, group=4)
    variables = quick(D.init)(jax.random.key(2), x)
    p = variables["params"]
    h = downsample(x @ p["Dense_0"]["kernel"]) @ p["Dense_1"]["kernel"]
    scores = (h * p["basis"]).sum((1, 2)) @ p["Dense_2"]["kernel"]
    np.testing.assert_allclose(quick(D.apply)(variables, x), scores[:, 0], rtol=1e-4, atol=1e-5)
    assert x.shape == (5, 8, 8, 3) and np.ptp(scores) > 0.1


def test_pictures_of_another_size():
    with pytest.raises(UserError, match="2 stages takes 8x8 pixels"):
        jax.eval_shape(Discriminator((4, 4)).init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    with pytest.raises(UserError, match="groups of 16"):
        jax.eval_shape(Generator((4,)).init, jax.random.key(0), jnp.zeros((1, 2)))


def by_hand(first, last, images):
    """The paper's schedules: from `first` to `last` over 2 million images."""
    share = min(images / 2e6, 1)
    return first + (last - first) * (1 - np.cos(np.pi * share)) / 2


@pytest.mark.parametrize("t", [0, 1, 1000, 1953, 3906, 3907, 19531])
def test_schedules(t):
    c = paper.Config()
    game = paper.game(c)
    ramp = paper.cosine(c.gamma, c.gamma_last, c.burn_in / c.batch)
    assert float(ramp(t)) == pytest.approx(by_hand(1, 0.1, 512 * t), rel=1e-5)
    half_life = by_hand(0, 5e5, 512 * t)
    decay = float(game.players["G"].ema(jnp.int32(t)))
    assert decay == pytest.approx(0.5 ** (512 / half_life) if t else 0, rel=1e-4, abs=1e-30)
    if t >= 3907:  # past the burn-in: ½ after half a million images
        assert decay ** (5e5 / 512) == pytest.approx(0.5, rel=1e-3) and float(ramp(t)) == pytest.approx(0.1)


def test_adam_of_a_changing_beta2():
    """As PyTorch corrects the bias: by 1 − β2ᵗ of the β2 of now."""
    beta2 = lambda count: 0.9 + 0.09 * jnp.minimum(count / 3, 1)
    optimizer, rng = paper.adam(0.1, beta2=beta2), np.random.default_rng(0)
    w = v = np.zeros(3)
    params, found = jnp.zeros(3), []
    opt = optimizer.init(params)
    for t in range(6):
        g, now = rng.normal(size=3), 0.9 + 0.09 * min(t / 3, 1)
        v = now * v + (1 - now) * g**2
        w = w - 0.1 * g / (np.sqrt(v / (1 - now ** (t + 1))) + 1e-8)
        update, opt = optimizer.update(jnp.asarray(g, jnp.float32), opt, params)
        params = optax.apply_updates(params, update)
        found.append((params, w))
    for ours, theirs in found:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert float(opt.learning_rate) == pytest.approx(0.1)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def beyond_the_start(game, batch, size=0.3):
    """Both networks with weights that make no block the identity."""
    rng, init_both = np.random.default_rng(0), partial(init, game, jax.random.key(0))
    params = jax.eval_shape(init_both, {"x": jnp.stack([batch["x"]] * 2)}).params
    noise = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(size * rng.normal(size=leaf.shape)), tree)
    return {name: Net(name, game.players[name].net, noise(params[name])) for name in ("G", "D")}


@pytest.mark.parametrize("penalty", ["r1+r2", "r1"])
@pytest.mark.parametrize("loss", ["relativistic", "non_saturating"])
def test_the_losses_of_table_1(x64, loss, penalty):
    """The loss from its formula, slopes from central differences in every pixel, γ from the round."""
    c = replace(tiny, loss=loss, penalty=penalty, burn_in=100.0)
    game, key, t = paper.game(c), jax.random.key(1), 5
    batch = {"x": jax.random.normal(jax.random.key(2), (3, 8, 8, 3))}
    players = beyond_the_start(game, batch)
    turns = quick(lambda b: game.play(players, b, key, t))(batch)
    fake = quick(players["G"])(jax.random.normal(key, (3, c.latent)))
    D = quick(players["D"])

    def squared_slopes(x):
        h = 1e-5
        steps = h * np.eye(192).reshape(192, 1, 8, 8, 3)
        ahead, behind = (np.asarray(D((x + s * steps).reshape(-1, 8, 8, 3))).reshape(192, -1) for s in (1, -1))
        return (((ahead - behind) / (2 * h)) ** 2).sum(0)

    real, fakes, softplus = np.asarray(D(batch["x"])), np.asarray(D(fake)), lambda v: np.log1p(np.exp(v))
    expected = {
        "relativistic": (softplus(fakes - real).mean(), softplus(real - fakes).mean()),
        "non_saturating": (softplus(-real).mean() + softplus(fakes).mean(), softplus(-fakes).mean()),
    }[loss]
    total = squared_slopes(batch["x"]).mean() + (squared_slopes(fake).mean() if penalty == "r1+r2" else 0)
    gamma = 0.1 + 0.9 * (1 + np.cos(np.pi * 5 * c.batch / 100)) / 2
    assert float(turns["G"].value) == pytest.approx(expected[1], rel=1e-6)
    assert float(turns["D"].value) == pytest.approx(expected[0] + gamma / 2 * total, rel=1e-5)
    assert total > 1e-3


def test_a_round_reads_a_batch_for_each_move():
    assert paper.game(tiny).slices == 2 and [set(m.losses) for m in paper.game(tiny).moves] == [{"D"}, {"G"}]


def test_its_numbers_can_be_traced():
    """As a population sweeps them: a round of four, each with its own γ, β2, learning rate and burn-in."""
    x = jnp.zeros((2, 4, 8, 8, 3))
    state = jax.eval_shape(partial(init, paper.game(tiny)), jax.random.key(0), {"x": x})

    def member(numbers, state):
        game = paper.game(replace(tiny, **numbers))
        return step(game, state, {"x": x})

    hyper = {name: jnp.ones(4) for name in ("gamma", "gamma_last", "beta2", "lr", "burn_in", "half_life_last")}
    after, metrics = jax.eval_shape(jax.vmap(member, (0, None)), hyper, state)
    assert metrics["gamma"].shape == (4,) and jax.tree.leaves(after.params)[0].shape[0] == 4


def test_samples_are_cut_to_pictures():
    """G is not bounded."""
    game, batch = paper.game(tiny), {"x": jnp.zeros((2, 8, 8, 3))}
    players = beyond_the_start(game, batch, size=1.0)
    raw = quick(players["G"])(jax.random.normal(jax.random.key(0), (4, tiny.latent)))
    samples = quick(lambda key: game.sample(players, key, 4))(jax.random.key(0))["x"]
    assert float(jnp.abs(raw).max()) > 1
    np.testing.assert_allclose(samples, jnp.clip(raw, -1, 1), atol=1e-4)


def test_digits_have_a_black_edge():
    c = replace(tiny, size=16, edge=4)
    x = paper.data(c)["x"]
    assert x.shape == (64, 16, 16, 3) and x[:, 4:-4, 4:-4].any()
    x = x.copy()
    x[:, 4:-4, 4:-4] = 0
    assert not x.any()
