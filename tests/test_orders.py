"""Orders of moves against the plain training of by_hand.py."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import (
    KEY,
    ORDERS,
    PRECISION,
    Hand,
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
from jax.flatten_util import ravel_pytree

from gan_jax import engine
from gan_jax.game import Game, move

D, G, BOTH, SIZE = (("D", "D"),), (("G", "G"),), (("D", "D"), ("G", "G")), (("G", "size"),)
precisions = pytest.mark.parametrize("precision", ["float64", pytest.param("float32", marks=pytest.mark.slow)])


def players_of(params, stats, u, opt, ema, pool, sign):
    """All of a training but its step and key, as {what: {player: tree}}."""
    moments = {what: {n: getattr(opt[n][0], what) for n in "GD"} for what in ("mu", "nu", "count")}
    averages = {f"ema/{i}": {n: ema[n][i] for n in "GD"} for i in range(3)}
    return moments | averages | {"params": params, "stats": stats, "u": {"D": u}, "game": {"pool": pool, "sign": sign}}


def of_state(state):
    apart = lambda m: ({k: v for k, v in m.items() if k != "reparam"}, m.get("reparam", {}))
    ema = {n: (params, *apart(memory)) for n, (params, memory) in state.ema.items()}
    stats, opt = {n: apart(state.memory[n])[0] for n in "GD"}, {n: state.opt[n].inner for n in "GD"}
    return players_of(state.params, stats, state.memory["D"]["reparam"], opt, ema, **state.memory["game"])


def of_hand(hand):
    return players_of(hand.params, hand.stats, hand.u, hand.opt, hand.ema, hand.pool, hand.sign)


def in_one(things):
    """{what: {player: one vector}}."""
    return {what: {n: ravel_pytree(tree)[0] for n, tree in own.items()} for what, own in things.items()}


# One round by hand on x [slices, B, 2]; k(j) is the key of the j-th move that draws one, t the round.
hand_move = quick(Hand.move, static_argnames=("losses", "parts"))


def in_turn(*turns, parts=1):
    """Moves (losses, slice, number of the key)."""

    def round(hand, x, k, t):
        for losses, i, j in turns:
            hand, _ = hand_move(hand, losses, x[i], k(j), t, parts=parts)
        return hand

    return round


def waiting(hand, x, k, t):
    """G's step is undone when its fakes fool D more often after D's step than before."""
    hand, before = hand_move(hand, D, x[0], k(0), t)
    moved, after = hand_move(hand, G, x[0], k(1), t)
    return moved if after <= before else hand


BY_HAND = {
    "simultaneous": in_turn((BOTH, 0, 0)),
    "fresh noise": in_turn((D, 0, 0), (G, 1, 1)),
    "same batch and key": in_turn((D, 0, 0), (G, 0, 0)),
    "three to one": in_turn((D, 0, 0), (D, 1, 1), (D, 2, 2), (G, 2, 3)),
    "one to one": in_turn((D, 0, 0), (G, 0, 1)),
    "another loss": in_turn((D, 0, 0), (G, 1, 1), (SIZE, 1, 2)),
    "when": waiting,
}


def compare(games, rounds_by_hand, dtype, tolerance, rounds=4):
    """Plays the t-th Game and the t-th round by hand, side by side; returns the last State and metrics.

    In float64 each leaf has to agree; in float32 each player's weights, averages, … as one vector, and Adam's moments
    to 1e-4: gradients are sums that cancel, here through BatchNorm on 8 examples (6e-5 in float32, 4e-12 in float64).
    """
    steps = {g: jitted(g) for g in set(games)}
    state = start(games[0], dtype)
    hand, key = born((games[0].players["G"].net, games[0].players["D"].net), state), state.key
    for t in range(rounds):
        g, batch = games[t], data(games[t].slices, dtype, t)
        state, metrics = steps[g](state, batch)
        k = lambda j, t=t: jax.random.fold_in(jax.random.fold_in(key, t), j)
        hand = rounds_by_hand[t](hand, batch["x"], k, jnp.int32(t))
    ours, theirs = of_state(state), of_hand(hand)
    if dtype == jnp.float32:
        ours, theirs = in_one(ours), in_one(theirs)
        for what in ("mu", "nu"):
            near(ours.pop(what), theirs.pop(what), 1e-4)
    near(ours, theirs, tolerance)
    assert state.step == rounds and (state.key == key).all()
    return state, metrics


@precisions
@pytest.mark.parametrize("order", [name for name in ORDERS if name not in ("when", "one to one")])  # have their own
def test_an_order_of_moves_is_the_plain_update(order, precision):
    dtype, tolerance = PRECISION[precision]
    with jax.enable_x64(precision == "float64"):
        compare(4 * [the_game(order, dtype)], 4 * [BY_HAND[order]], dtype, tolerance)


@precisions
def test_a_move_that_waits(precision):
    dtype, tolerance = PRECISION[precision]
    with jax.enable_x64(precision == "float64"):
        state, metrics = compare(4 * [the_game("when", dtype)], 4 * [waiting], dtype, tolerance)
        skipped = int(state.memory["skipped"]["G"])
        assert 0 < skipped < 4  # both were tried
        np.testing.assert_allclose(metrics["skipped/G"], skipped / 4, rtol=1e-6)
        counts = [int(optax.tree.get(state.opt[n].inner, "count")) for n in "DG"]
        assert counts == [4, 4 - skipped]  # the optimiser's count stands still too


@precisions
def test_parts_average_the_gradients(precision):
    dtype, tolerance = PRECISION[precision]
    with jax.enable_x64(precision == "float64"):
        by_hand = in_turn((D, 0, 0), (G, 1, 1), parts=2)
        compare(4 * [the_game("fresh noise", dtype, parts=2)], 4 * [by_hand], dtype, tolerance)


@precisions
def test_a_schedule_of_games(precision):
    """WGAN's: more moves of the critic in the first rounds."""
    dtype, tolerance = PRECISION[precision]
    with jax.enable_x64(precision == "float64"):
        first, later = the_game("three to one", dtype), the_game("one to one", dtype)
        rounds = 2 * [BY_HAND["three to one"]] + 3 * [BY_HAND["one to one"]]
        compare(2 * [first] + 3 * [later], rounds, dtype, tolerance, 5)


def test_who_does_not_move_stands_still():
    for mover, other in (("D", "G"), ("G", "D")):
        waits = move(other, again=("batch", "key"), when=lambda metrics: jnp.bool_(False))
        g = Game(players(jnp.float32), play, (move(mover), waits), memory(jnp.float32))
        before = start(g)
        moved = {n: jax.tree.map(lambda w: w[::-1], tree) for n, tree in before.params.items()}
        before = before.replace(params=moved)  # whose singular vectors are not those remembered
        after, _ = jitted(g)(before, data(1))
        for field in ("params", "opt", "ema"):
            assert same(getattr(before, field)[other], getattr(after, field)[other])
            assert not same(getattr(before, field)[mover], getattr(after, field)[mover])
        stats = lambda s, n: s.memory[n]["batch_stats"]
        assert same(stats(before, other), stats(after, other)) and not same(stats(before, mover), stats(after, mover))
        assert same(before.memory["game"], after.memory["game"]) == (mover == "G")
        assert not same(before.memory["D"]["reparam"], after.memory["D"]["reparam"])  # D is used by either


def test_a_gradient_is_the_mover_s_own():
    """The diagonal of the game's Jacobian: what happens to the loss of another player changes nothing."""
    with jax.enable_x64(True):
        g = the_game("simultaneous", jnp.float64)
        state, x = start(g, jnp.float64), data(1, jnp.float64)["x"][0]
        hand = born((g.players["G"].net, g.players["D"].net), state)
        loss = lambda p, n: hand.forward(hand.params | {n: p}, x, KEY)[0][n]
        expected = {n: quick(jax.grad(loss), static_argnums=1)(hand.params[n], n) for n in "GD"}
        together = quick(lambda: engine.gradient(g, state, {"D": "D", "G": "G"}, {"x": x}, KEY)[0])()
        near(together, expected, 1e-10)

        def scaled(nets, batch, key, step):
            turns = play(nets, batch, key, step)
            return turns | {"G": turns["G"].replace(value=-1e3 * turns["G"].value)}

        louder = Game(g.players, scaled, g.moves, g.memory)
        grads = quick(lambda: engine.gradient(louder, state, {"D": "D", "G": "G"}, {"x": x}, KEY)[0])()
        near(grads["D"], together["D"], 1e-14)
        near(grads["G"], jax.tree.map(lambda x: -1e3 * x, expected["G"]), 1e-10)
