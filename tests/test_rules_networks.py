"""Rules on networks: finite differences, the plain update, members beside trainings alone, save and resume."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from by_hand import D, G, average
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from vectors import BOTH, IN_TURN, KEY

from gan_jax import engine, losses, priors, train
from gan_jax.engine import in_order
from gan_jax.game import Player, move
from gan_jax.optimizers import adam, sgd
from gan_jax.rules import consensus, extragradient, lookahead, symplectic, unrolled
from gan_jax.two_player import ORDERS, gan

slow = partial(pytest.param, marks=pytest.mark.slow)


def of_networks(rule, moves=BOTH, norm=True, optimizer=sgd, rate=0.1, **fields):
    """A GAN of networks with batch statistics and dropout, in float64."""
    player = lambda net: Player(net(jnp.float64, norm), optimizer(rate), average)
    return gan(player(G), player(D), losses.non_saturating, wide(3), moves=moves, rule=rule, **fields)


def wide(size):
    return lambda key, n: jax.random.normal(key, (n, size), jnp.float64)


def points(slices, n=8):
    return {"x": jnp.asarray(np.random.default_rng(2).normal(0.5, 1, (slices, n, 2)))}


def own_losses(g, state, batch):
    """params -> {n: loss of n} of the first move."""
    (_, own, key), *_ = engine.move_inputs(g, state.key, state.step, batch)
    key = jax.random.fold_in(key, 0)  # of its only part
    return lambda params: {n: loss.value for n, loss in engine.evaluate(g, state, params, own, key)[0].items()}


def test_consensus_of_networks_descends_half_the_squared_norm():
    with jax.enable_x64(True):
        g, batch = of_networks(consensus(0.5)), points(1)
        state = engine.init(g, KEY, batch)
        after, metrics = jax.jit(partial(engine.step, g))(state, batch)
        of = own_losses(g, state, batch)

        def field(params):
            return {n: jax.grad(lambda p, n=n: of(params | {n: p})[n])(params[n]) for n in "GD"}

        half = lambda params: sum((x**2).sum() for x in jax.tree.leaves(field(params))) / 2
        v, pulled = jax.jit(lambda params: (field(params), jax.grad(half)(params)))(state.params)
        for n in "GD":
            expected = jax.tree.map(lambda w, v, h: w - 0.1 * (v + 0.5 * h), state.params[n], v[n], pulled[n])
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), after.params[n], expected)
        plain, _ = jax.jit(partial(engine.step, replace(g, rule=in_order)))(state, batch)
        for n in "GD":  # what a move remembers is that of the plain one
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), after.memory[n], plain.memory[n])
        assert {"loss/G", "loss/D", "grad/G", "grad/D", "lr/G", "lr/D"} <= metrics.keys()


def test_a_lone_mover_leaves_the_others_memory_under_consensus():
    with jax.enable_x64(True):
        g, batch = of_networks(consensus(0.5), (move("G"), move("D", when=lambda m: False))), points(2)
        state = engine.init(g, KEY, batch)
        after, _ = jax.jit(partial(engine.step, g))(state, batch)
        same = lambda a, b: jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), a, b))
        assert same(after.memory["D"], state.memory["D"]) and not same(after.memory["G"], state.memory["G"])
        assert same(after.params["D"], state.params["D"])


class Smooth(nn.Module):
    """A small network without noise or statistics; `dead` of its hidden units are relus that nothing reaches."""

    out: int
    dead: int = 0

    @nn.compact
    def __call__(self, x):
        dense = partial(nn.Dense, param_dtype=jnp.float64)
        h = jnp.tanh(dense(4)(x))
        if self.dead:
            h = jnp.concatenate([h, nn.relu(dense(self.dead)(x) - 100)], 1)
        return dense(self.out)(h).squeeze(-1) if self.out == 1 else dense(self.out)(h)


def answered(g, state, batch, k):
    """θ_G -> G's loss after k explicit steps of D on the move's own batch and noise, and D's own loss now."""
    of, optimizer = own_losses(g, state, batch), g.players["D"].optimizer

    def loss(θ):
        params, opt = state.params | {"G": θ}, state.opt["D"]
        for _ in range(k):
            grads = jax.grad(lambda ω, params=params: of(params | {"D": ω})["D"])(params["D"])
            updates, opt = optimizer.update(grads, opt, params["D"])
            params = params | {"D": optax.apply_updates(params["D"], updates)}
        return of(params)["G"]

    return loss


@pytest.mark.parametrize(
    "optimizer, dead, k",
    [(adam, 2, 1), slow(adam, 2, 2), slow(sgd, 2, 1), slow(sgd, 0, 3), slow(adam, 0, 1), slow(adam, 2, 4)],
)
def test_unrolled_against_finite_differences(optimizer, dead, k):
    with jax.enable_x64(True):
        players = Player(Smooth(2), sgd(0.1)), Player(Smooth(1, dead), optimizer(0.05))
        g = gan(*players, losses.minimax, wide(3), moves=BOTH, rule=unrolled(k))
        batch = points(1)
        state = engine.init(g, KEY, batch)
        after, metrics = jax.jit(partial(engine.step, g))(state, batch)
        loss = answered(g, state, batch, k)
        start, unravel = ravel_pytree(state.params["G"])
        along = jnp.asarray(np.random.default_rng(0).normal(size=(4, len(start))))
        at = jax.jit(jax.vmap(lambda w: loss(unravel(w))))(
            jnp.concatenate([start + 1e-5 * along, start - 1e-5 * along])
        )
        slopes = (at[:4] - at[4:]) / 2e-5
        gradient = (start - ravel_pytree(after.params["G"])[0]) / 0.1
        np.testing.assert_allclose(along @ gradient, slopes, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(metrics["loss/G"], loss(state.params["G"]), rtol=1e-9)
        plain, before = jax.jit(partial(engine.step, replace(g, rule=in_order)))(state, batch)
        same = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
        jax.tree.map(same, (after.params["D"], after.opt["D"]), (plain.params["D"], plain.opt["D"]))
        assert abs(metrics["loss/G"] - before["loss/G"]) > 1e-4  # D did answer
        np.testing.assert_allclose(metrics["loss/D"], before["loss/D"], rtol=1e-9)


@pytest.mark.parametrize("moves", [BOTH, ORDERS["same_fakes"]], ids=["simultaneous", "alternating"])
def test_unrolled_by_no_step_is_in_order(moves):
    with jax.enable_x64(True):
        g, batch = of_networks(unrolled(0), moves), points(1)
        state = engine.init(g, KEY, batch)
        ours, plain = (jax.jit(partial(engine.step, h))(state, batch) for h in (g, replace(g, rule=in_order)))
        same = partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-14)
        jax.tree.map(same, (ours[0].replace(key=0), ours[1]), (plain[0].replace(key=0), plain[1]))


PAIRED = 2 * BOTH
RULES = {
    "extragradient": (extragradient, PAIRED),
    "consensus": (consensus(0.1), IN_TURN),
    "symplectic": (symplectic(0.5), BOTH),
    "unrolled": (unrolled(2), IN_TURN),
    "lookahead": (lookahead(lookahead(in_order, 2), 4), IN_TURN),
    "lookahead on extragradient": (lookahead(extragradient, 2), PAIRED),
}
rules = pytest.mark.parametrize("name", RULES)
once = pytest.mark.parametrize("name", ["consensus", *map(slow, [name for name in RULES if name != "consensus"])])


@once
def test_two_seeds_at_once_are_each_alone(name):
    rule, moves = RULES[name]
    with jax.enable_x64(True):
        g = of_networks(rule, moves, optimizer=adam, rate=1e-2)
        batch, keys = points(g.slices), jax.random.split(KEY, 2)
        start = partial(engine.init, g, batch=batch)
        many, one = jax.vmap(start)(keys), jax.jit(partial(engine.step, g))
        together = jax.jit(jax.vmap(partial(engine.step, g), in_axes=(0, None)))
        for _ in range(2):
            many, metrics = together(many, batch)
        assert all(np.isfinite(m).all() for m in metrics.values())
        for i, key in enumerate(keys):
            alone = start(key)
            for _ in range(2):
                alone, found = one(alone, batch)
            pick = jax.tree.map(lambda x, i=i: x[i], (many.replace(key=np.zeros(2)), metrics))
            same = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
            jax.tree.map(same, pick, (alone.replace(key=0.0), found))


@rules
def test_save_and_resume(name, tmp_path):
    rule, moves = RULES[name]
    g = gan(toy.G, toy.D, losses.non_saturating, priors.normal(3), moves=moves, rule=rule)
    keep = partial(train, g, toy.POINTS, batch=8, checkpoint_every=3)
    keep(steps=3, run=tmp_path / "cut")
    resumed, straight = keep(steps=5, run=tmp_path / "cut"), keep(steps=5)
    assert toy.bits(resumed.state) == toy.bits(straight.state)
    assert resumed.state.step == 5
