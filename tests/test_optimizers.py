"""Optimizers against optax, PyTorch and loops in NumPy; their rates, schedules and bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from gan_jax import engine, rules
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import (
    adam,
    clip_weights,
    ema,
    keras_adam,
    optimistic_adam,
    optimistic_sgd,
    rmsprop,
    sgd,
    with_rate,
)

DECAY = optax.linear_schedule(1e-2, 0.0, 4)
PAIRS = {
    "adam": (adam(1e-2, 0.5, 0.9), optax.adam(1e-2, 0.5, 0.9)),
    "adam, decaying": (adam(DECAY, b1=0.0), optax.adam(DECAY, b1=0.0)),
    "rmsprop": (rmsprop(5e-3, momentum=0.5), optax.rmsprop(5e-3, momentum=0.5)),
    "sgd": (sgd(0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9)),
    "adamw": (with_rate(optax.adamw)(1e-2, weight_decay=0.1), optax.adamw(1e-2, weight_decay=0.1)),
}

OURS = {name: pair[0] for name, pair in PAIRS.items()} | {
    "keras adam": keras_adam(DECAY, 0.5),
    "optimistic adam": optimistic_adam(DECAY, 0.5),
    "optimistic sgd": optimistic_sgd(1e-2),
}


def tree(seed, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    return {"kernel": jnp.asarray(rng.normal(size=(4, 3)), dtype), "bias": jnp.asarray(rng.normal(size=3), dtype)}


def trained(optimizer, params, rounds=5, opt=None):
    update = jax.jit(optimizer.update)
    opt = optimizer.init(params) if opt is None else opt
    for t in range(rounds):
        updates, opt = update(tree(t + 1, params["bias"].dtype), opt, params)
        params = optax.apply_updates(params, updates)
    return params, opt


def close(a, b, rtol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), a, b)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float32, 1e-6), (jnp.float64, 1e-14)], ids=["float32", "float64"])
def test_the_same_as_optax(pair, dtype, rtol):
    with jax.enable_x64(dtype == jnp.float64):
        ours, optaxs = (trained(optimizer, tree(0, dtype))[0] for optimizer in pair)
        close(ours, optaxs, rtol)


@pytest.mark.parametrize("eps", [1e-7, 1e-2])
def test_adam_as_in_keras(eps):
    """Keras 3's update step: alpha = lr √(1 − β₂ᵗ) / (1 − β₁ᵗ); m, v; w −= alpha · m / (√v + ε)."""
    with jax.enable_x64(True):
        found, opt = trained(keras_adam(1e-2, 0.5, 0.9, eps), tree(0, float), 6)
        w, m, v = tree(0, float)["bias"], 0.0, 0.0
        for t in range(1, 7):
            g = np.asarray(tree(t, float)["bias"])
            m, v = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g**2
            w = w - 1e-2 * np.sqrt(1 - 0.9**t) / (1 - 0.5**t) * m / (np.sqrt(v) + eps)
        np.testing.assert_allclose(found["bias"], w, rtol=1e-14)
        assert jax.tree.structure(opt) == jax.tree.structure(adam(1.0).init(tree(0)))  # runs go on under either


def test_what_epsilon_does_at_the_first_step():
    """g / (g + ε/√(1 − β₂)) at g = 1e-6: .24 with Keras' ε = 1e-7, .990 with PyTorch's 1e-8."""
    w = jnp.zeros(())
    first = lambda optimizer: optimizer.update(jnp.asarray(1e-6), optimizer.init(w), w)[0]
    np.testing.assert_allclose(first(keras_adam(1.0)), -1 / (1 + 1e-1 / np.sqrt(1e-3)), rtol=1e-4)
    np.testing.assert_allclose(first(adam(1.0)), -1 / 1.01, rtol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_rmsprop_as_in_pytorch(momentum):
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[reference]'")
    with jax.enable_x64(True):
        ours, _ = trained(rmsprop(1e-2, 0.99, eps_in_sqrt=False, momentum=momentum), tree(0, float))
        w = torch.tensor(np.asarray(tree(0, float)["kernel"]))
        theirs = torch.optim.RMSprop([w], 1e-2, momentum=momentum)
        for t in range(5):
            w.grad = torch.tensor(np.asarray(tree(t + 1, float)["kernel"]))
            theirs.step()
        np.testing.assert_allclose(ours["kernel"], w.numpy(), rtol=1e-12)


class Point(nn.Module):
    @nn.compact
    def __call__(self):
        return self.param("w", nn.initializers.ones, ())


def game(optimizer, moves, rule=None):
    """Two numbers, each of which descends itself: an update is minus the rate."""
    play = lambda nets, batch, key, step: {n: Loss(nets[n]()) for n in "GD"}
    return Game({n: Player(Point(), optimizer) for n in "GD"}, play, moves, rule=rule)


IN_TURN = 5 * (move("D"),) + (move("G"),)
DECAYING = lambda n: 1e-3 * (1 - n / 100)


@pytest.mark.parametrize(
    "optimizer",
    [
        sgd(DECAYING),
        optax.chain(optax.clip(1.0), optax.chain(sgd(DECAYING), optax.identity())),
        optax.chain(optax.masked(sgd(DECAYING), {"w": True}), optax.clip(1.0)),
    ],
    ids=["plain", "nested chains", "masked"],
)
@pytest.mark.parametrize(
    "rule, moves, count",
    [
        (None, IN_TURN, 5),
        (rules.extragradient, 2 * (move("D", "G"),), 1),
        (rules.consensus(0.1), IN_TURN, 5),
        (rules.unrolled(2), IN_TURN, 5),
        (rules.lookahead(rules.extragradient, 7), 2 * (move("D", "G"),), 1),
    ],
    ids=["in order", "extragradient", "consensus", "unrolled", "lookahead"],
)
def test_a_schedule_is_a_function_of_the_round(optimizer, rule, moves, count):
    """1e-3 (1 − n/100) at round n = 30 is 7e-4, however often the player has moved."""
    g = game(optimizer, moves, rule)
    batch = {"x": jnp.zeros((len(moves), 1))}
    state = engine.init(g, jax.random.key(0), batch).replace(step=jnp.int32(30))
    after, metrics = jax.jit(engine.step, static_argnums=0)(g, state, batch)
    assert [float(metrics[name]) for name in ("lr/D", "lr/G")] == pytest.approx([7e-4, 7e-4], rel=1e-6)
    np.testing.assert_allclose(state.params["D"]["w"] - after.params["D"]["w"], count * 7e-4, rtol=1e-3)


def test_the_rate_in_use_can_be_read():
    rate = lambda opt: optax.tree.get(opt, "learning_rate")
    for rounds, used in ((0, 1e-2), (1, 1e-2), (2, 0.75e-2), (4, 0.25e-2), (5, 0.0)):
        np.testing.assert_allclose(rate(trained(adam(DECAY), tree(0), rounds)[1]), used, rtol=1e-6)
    chained = optax.chain(optax.clip(1.0), rmsprop(5e-5), clip_weights(0.01))
    np.testing.assert_allclose(rate(trained(chained, tree(0), 2)[1]), 5e-5, rtol=1e-6)


def test_a_changed_rate_is_obeyed_at_once():
    params, opt = trained(adam(1e-2), tree(0))
    moved, after = trained(adam(1e-4), params, 1, opt)
    _, plain = trained(optax.adam(1e-2), tree(0))
    close(moved, trained(optax.adam(1e-4), params, 1, plain)[0], 1e-6)
    np.testing.assert_allclose(after.learning_rate, 1e-4, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [adam, optimistic_adam])
def test_rates_as_a_population(optimizer):
    rates = jnp.asarray([1e-3, 1e-2, 1e-1])
    together = jax.jit(jax.vmap(lambda rate: trained(optimizer(rate, 0.5), tree(0), 3)))(rates)
    for i, rate in enumerate(rates):
        alone = trained(optimizer(float(rate), 0.5), tree(0), 3)
        close(jax.tree.map(lambda x, i=i: x[i], together), alone, 1e-6)


def test_decays_as_a_population():
    betas = jax.vmap(lambda b1: trained(adam(1e-2, b1), tree(0), 2)[0])(jnp.asarray([0.0, 0.5]))
    close(jax.tree.map(lambda x: x[1], betas), trained(optax.adam(1e-2, 0.5), tree(0), 2)[0], 1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("optimizer", OURS.values(), ids=OURS)
def test_an_update_keeps_the_type_of_every_leaf(optimizer, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        params = tree(0, dtype)
        opt = optimizer.init(params)
        updates, after = jax.eval_shape(optimizer.update, params, opt, params)
        kind = lambda x: (x.shape, x.dtype, x.weak_type)
        assert jax.tree.map(kind, opt) == jax.tree.map(kind, after)
        assert jax.tree.map(kind, params) == jax.tree.map(kind, jax.eval_shape(optax.apply_updates, params, updates))


def test_clipped_weights_stay_within_bounds():
    params = jax.tree.map(lambda x: 0.02 * x, tree(0))
    plain = trained(optax.sgd(1e-3), params, 1)[0]
    clipped = trained(optax.chain(sgd(1e-3), clip_weights(0.01)), params, 1)[0]
    assert max(jnp.abs(x).max() for x in jax.tree.leaves(plain)) > 0.02
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, np.clip(b, -0.01, 0.01), rtol=1e-6), clipped, plain)
    far = trained(optax.chain(sgd(1.0), clip_weights(0.01)), params, 3)[0]
    assert max(jnp.abs(x).max() for x in jax.tree.leaves(far)) <= 0.01 * (1 + 1e-6)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_bound_is_positive(limit):
    with pytest.raises(UserError, match=f"limit {limit}: the bound of |w| must be positive"):
        clip_weights(limit)


def test_a_swept_decay():
    assert ema(0) is None and ema(0.0) is None and ema(0.9)(7) == 0.9
    assert jax.vmap(lambda d: ema(d)(7))(jnp.asarray([0.0, 0.5])).tolist() == [0.0, 0.5]
