"""What makes a training one pure function: seeds, scans, donation, averages, rules."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import (
    KEY,
    ORDERS,
    PRECISION,
    born,
    data,
    jitted,
    memory,
    near,
    play,
    players,
    quick,
    same,
    start,
    the_game,
)
from flax import linen as nn
from jax.flatten_util import ravel_pytree

from gan_jax import engine
from gan_jax.carry import carry
from gan_jax.game import Game, Loss, Player, Rule, move


class Line(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x)


mean = lambda nets, x: nets["D"](x).mean()


def test_metrics_are_those_of_the_losses_descended():
    g = the_game("fresh noise")
    initial, batch = start(g), data(2)
    _, metrics = jitted(g)(initial, batch)
    own = {"loss/D", "loss/G", "before", "after", "grad/D", "grad/G", "lr/D", "lr/G"}
    assert set(metrics) == own and all(jnp.shape(m) == () for m in metrics.values())
    hand = born((g.players["G"].net, g.players["D"].net), initial)
    k = lambda j: jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(initial.key, 0), j), 0)
    loss = lambda p: hand.forward(hand.params | {"D": p}, batch["x"][0], k(0))[0]["D"]
    value, grad = quick(jax.value_and_grad(loss))(hand.params["D"])
    near((metrics["loss/D"], metrics["grad/D"]), (value, np.linalg.norm(ravel_pytree(grad)[0])), 1e-5)
    near((metrics["lr/D"], metrics["lr/G"]), (2e-3, 3e-3), 1e-6)
    waits = move("G", again=("batch",), when=lambda metrics: metrics["before"] > 2)
    seen = jitted(Game(g.players, play, (move("D"), waits), g.memory))(start(the_game("when")), data(1))[1]
    assert {"loss/D", "before", "grad/D", "lr/D"} <= set(seen)


def test_a_pool_advances_once_for_each_move_of_d():
    def count(nets, batch, key, step):
        fooled = nets["D"](nets["G"](batch["x"])).mean()
        return {"D": Loss(fooled, memory={"game": {"moves": nets.memory["moves"] + 1}}), "G": Loss(-fooled)}

    both = {n: Player(Line(), optax.sgd(0.1)) for n in "GD"}
    for order, parts, moves_of_d in (("simultaneous", 1, 1), ("three to one", 1, 3), ("same batch and key", 2, 2)):
        g = Game(both, count, ORDERS[order], {"moves": 0}, parts=parts)
        state = start(g)
        assert state.memory["game"]["moves"] == 0
        assert jitted(g)(state, data(g.slices))[0].memory["game"]["moves"] == moves_of_d


@pytest.mark.parametrize(("norm", "precision"), [(False, "float32"), (True, "float64")])
def test_seeds_are_a_vmap(norm, precision):
    dtype, tolerance = PRECISION[precision]
    with jax.enable_x64(precision == "float64"):
        g = the_game("one to one", dtype, norm)
        keys, step = jax.random.split(KEY, 3), jitted(g)
        born_one = lambda key: engine.init(g, key, data(1, dtype))
        many, alone = quick(jax.vmap(born_one))(keys), [quick(born_one)(key) for key in keys]
        together = quick(jax.vmap(partial(engine.step, g), in_axes=(0, None)))
        for t in range(3):
            batch = data(1, dtype, t)
            many, metrics = together(many, batch)
            alone, reports = zip(*(step(state, batch) for state in alone), strict=True)
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *(s.replace(key=0) for s in alone))
        near(many.replace(key=np.zeros(3)), stacked, tolerance)
        near(metrics, jax.tree.map(lambda *x: jnp.stack(x), *reports), tolerance)


@pytest.mark.parametrize(("norm", "precision"), [(False, "float32"), (True, "float64")])
def test_chunks_of_a_scan_are_single_rounds(norm, precision):
    dtype, tolerance = PRECISION[precision]
    with jax.enable_x64(precision == "float64"):
        g = the_game("one to one", dtype, norm)
        first = single = start(g, dtype)
        batches, step = [data(1, dtype, t) for t in range(7)], jitted(g)
        reports = []
        for batch in batches:
            single, metrics = step(single, batch)
            reports.append(metrics)
        scan, state, seen = quick(partial(jax.lax.scan, partial(engine.step, g))), first, []
        for chunk in (batches[:3], batches[3:6], batches[6:]):
            state, metrics = scan(state, jax.tree.map(lambda *x: jnp.stack(x), *chunk))
            seen.append(metrics)
        near(state.replace(key=0), single.replace(key=0), tolerance)
        together = jax.tree.map(lambda *x: jnp.concatenate(x), *seen)
        near(together, jax.tree.map(lambda *x: jnp.stack(x), *reports), tolerance)


def test_a_round_is_one_program_on_a_donated_state():
    g, key = the_game("three to one"), jax.random.key(1)
    step, first = quick(partial(engine.step, g), donate_argnums=0), quick(partial(engine.init, g))(key, data(3))
    state = first
    for t in range(3):
        state, _ = step(state, data(3, round=t))
    assert step._cache_size() == 1
    moments = [opt.inner for opt in first.opt.values()]  # the rate beside them is written, never read
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((first.params, moments, first.ema, first.memory)))
    assert not key.is_deleted()


def remembering(kept):
    """One player, and a game that counts in its memory."""

    def play(nets, batch, key, step):
        return {"D": Loss(mean(nets, batch["x"]), memory={"game": {"count": nets.memory["count"] + 1}})}

    average = lambda step: 0.9
    return Game({"D": Player(Line(), optax.sgd(0.1), average)}, play, (move("D"),), {"count": kept})


def test_a_state_made_outside_jit_can_be_donated():
    """Average and weights are two buffers, and the caller keeps the key."""
    key, g = jax.random.key(1), remembering(0)
    state, _ = jax.jit(partial(engine.step, g), donate_argnums=0)(engine.init(g, key, data(1)), data(1))
    assert state.memory["game"]["count"] == 1 and not key.is_deleted()


def test_donation_leaves_the_game_its_memory():
    kept = jnp.zeros(3)
    g = remembering(kept)
    jax.jit(partial(engine.step, g), donate_argnums=0)(engine.init(g, KEY, data(1)), data(1))
    assert not kept.is_deleted()


def test_an_update_keeps_the_type_of_every_leaf():
    g = the_game("when")
    state = start(g)
    after = jax.eval_shape(partial(engine.step, g), state, data(1))[0]
    kind = lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False))  # a key has none
    assert jax.tree.map(kind, state) == jax.tree.map(kind, after)


def test_a_network_ready_to_use():
    """Averaged weights and statistics, evaluation mode, weights divided by their own σ."""
    g = the_game("simultaneous")
    state, step = start(g), jitted(g)
    for t in range(3):
        state, _ = step(state, data(1, round=t))
    x = jnp.asarray(np.random.default_rng(9).normal(size=(5, 2)), jnp.float32)
    (weights, _), (live, stats) = state.ema["D"], (state.params["D"], state.memory["D"])
    for params, kept, average in ((weights, state.ema["D"][1], True), (live, stats, False)):
        σ = {n: np.linalg.svd(params[n]["kernel"], compute_uv=False)[0] for n in ("Dense_0", "Dense_1")}
        divided = {n: params[n] | {"kernel": params[n]["kernel"] / σ[n]} for n in σ}
        variables = {"params": params | divided, "batch_stats": kept["batch_stats"]}
        expected = g.players["D"].net.apply(variables, x, train=False)
        near(engine.net(g, state, "D", average=average)(x), expected, 1e-3)


def test_a_rule_of_its_own():
    """A rule plays the round and remembers; here it plays the order twice."""

    def twice(g, state, batch):
        for half in (0, 1):
            state, metrics = engine.in_order.round(g, state, jax.tree.map(lambda x, h=half: x[h : h + 1], batch))
        return state.replace(memory=state.memory | {"rule": state.memory["rule"] + 1}), metrics

    g = the_game("one to one", rule=Rule(lambda g, state: jnp.int32(0), twice))
    state, _ = jitted(g)(start(g), data(2))
    assert state.memory["rule"] == 1 and state.step == 1 and state.opt["G"].count == 2


def test_carry_takes_over_what_fits():
    g = the_game("one to one")
    old, _ = jitted(g)(start(g), data(1))
    wider = Game(players(jnp.float32, norm=False), play, g.moves, memory(jnp.float32))
    new = start(wider)
    taken = carry(new, old)
    kernels = lambda s: {n: s.params[n]["Dense_0"] for n in "GD"}
    assert not same(kernels(new), kernels(old))
    assert same(kernels(taken), kernels(old)) and taken.step == 1
    assert jax.tree.structure(taken) == jax.tree.structure(new)
    only = carry(new, old, fields=("params",))
    assert same(kernels(only), kernels(old)) and only.step == 0 and same(only.ema, new.ema)
