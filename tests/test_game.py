"""The engine against the plain training of by_hand.py, and what makes a training one pure function."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import ORDERS, B, Hand, born, memory, play, players
from flax import linen as nn
from jax.flatten_util import ravel_pytree

from gan_jax import engine
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Move, Player, Rule, move
from gan_jax.optimizers import sgd

KEY = jax.random.key(7)
PRECISION = {"float64": (jnp.float64, 1e-9), "float32": (jnp.float32, 1e-5)}
precisions = pytest.mark.parametrize("precision", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
D, G, BOTH, SIZE = (("D", "D"),), (("G", "G"),), (("D", "D"), ("G", "G")), (("G", "size"),)


def the_game(order="fresh noise", dtype=jnp.float32, norm=True, **fields):
    return Game(players(dtype, norm), play, ORDERS[order], memory(dtype), **fields)


def data(slices, dtype=jnp.float32, round=0):
    """[slices, B, 2], another batch each round."""
    return {"x": jnp.asarray(np.random.default_rng(round).normal(0.5, 1, (slices, B, 2)), dtype)}


# Compiles in half the time of the default, for sizes at which it is all the time there is.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def jitted(g):
    return quick(partial(engine.step, g))


def start(g, key=KEY, dtype=jnp.float32):
    return quick(partial(engine.init, g))(key, data(g.slices, dtype))


def near(a, b, tolerance):
    """Every leaf of a within `tolerance` of b's, in norm."""

    def leaf(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b), (a, b)

    jax.tree.map(leaf, a, b)


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
    state = start(games[0], KEY, dtype)
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


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same(a, b):
    return all((x == y).all() for x, y in zip(leaves(a), leaves(b), strict=True))


def test_who_does_not_move_stands_still():
    for mover, other in (("D", "G"), ("G", "D")):
        g = Game(players(jnp.float32), play, (move(mover),), memory(jnp.float32))
        before = start(g)
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
        state, x = start(g, KEY, jnp.float64), data(1, jnp.float64)["x"][0]
        hand = born((g.players["G"].net, g.players["D"].net), state)
        loss = lambda p, n: hand.forward(hand.params | {n: p}, x, KEY)[0][n]
        expected = {n: quick(jax.grad(loss), static_argnums=1)(hand.params[n], n) for n in "GD"}
        together = quick(lambda: engine.gradient(g, state, {"D": "D", "G": "G"}, {"x": x}, KEY)[0])()
        near(together, expected, 1e-10)

        def scaled(nets, batch, key, step):
            turns = play(nets, batch, key, step)
            return turns | {"G": turns["G"].replace(loss=-1e3 * turns["G"].loss)}

        louder = Game(g.players, scaled, g.moves, g.memory)
        grads = quick(lambda: engine.gradient(louder, state, {"D": "D", "G": "G"}, {"x": x}, KEY)[0])()
        near(grads["D"], together["D"], 1e-14)
        near(grads["G"], jax.tree.map(lambda x: -1e3 * x, expected["G"]), 1e-10)


def test_metrics_are_those_of_the_losses_descended():
    g = the_game("fresh noise")
    born_state, batch = start(g), data(2)
    _, metrics = jitted(g)(born_state, batch)
    own = {"loss/D", "loss/G", "before", "after", "grad/D", "grad/G", "lr/D", "lr/G"}
    assert set(metrics) == own and all(jnp.shape(m) == () for m in metrics.values())
    hand = born((g.players["G"].net, g.players["D"].net), born_state)
    k = lambda j: jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(born_state.key, 0), j), 0)
    loss = lambda p: hand.forward(hand.params | {"D": p}, batch["x"][0], k(0))[0]["D"]
    value, grad = quick(jax.value_and_grad(loss))(hand.params["D"])
    near((metrics["loss/D"], metrics["grad/D"]), (value, np.linalg.norm(ravel_pytree(grad)[0])), 1e-5)
    near((metrics["lr/D"], metrics["lr/G"]), (2e-3, 3e-3), 1e-6)
    alone = jitted(Game(g.players, play, (move("D"),), g.memory))(born_state, data(1))[1]
    assert set(alone) == {"loss/D", "before", "grad/D", "lr/D"}


def test_a_pool_advances_once_for_each_move_of_d():
    def count(nets, batch, key, step):
        turns = play(nets, batch, key, step)
        memory = nets.memory | {"moves": nets.memory["moves"] + 1}
        return turns | {"D": turns["D"].replace(memory={"game": turns["D"].memory["game"] | memory})}

    from_0 = memory(jnp.float32) | {"moves": 0}
    for order, parts, moves_of_d in (("simultaneous", 1, 1), ("three to one", 1, 3), ("same batch and key", 2, 2)):
        g = Game(players(jnp.float32), count, ORDERS[order], from_0, parts=parts)
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
        first = single = start(g, KEY, dtype)
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
    step, first = quick(partial(engine.step, g), donate_argnums=0), start(g, key)
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
    new = start(wider, jax.random.key(8))
    taken = engine.carry(new, old)
    kernels = lambda s: {n: s.params[n]["Dense_0"] for n in "GD"}
    assert same(kernels(taken), kernels(old)) and taken.step == 1
    assert jax.tree.structure(taken) == jax.tree.structure(new)
    only = engine.carry(new, old, fields=("params",))
    assert same(kernels(only), kernels(old)) and only.step == 0 and same(only.ema, new.ema)


class Line(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x)


class Noisy(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x + jax.random.normal(self.make_rng("noise"), x.shape))


def one_player(loss, net=None, moves=None):
    play = lambda nets, batch, key, step: {"D": Loss(loss(nets, batch["x"]))}
    return Game({"D": Player(net or Line(), optax.sgd(0.1))}, play, moves or (move("D"),))


mean = lambda nets, x: nets["D"](x).mean()


@pytest.mark.parametrize(
    "loss",
    [
        lambda nets, x: jax.lax.scan(lambda c, row: (c, nets["D"](row).mean()), 0, x)[1].mean(),
        lambda nets, x: jax.vmap(nets["D"])(x).mean(),
        lambda nets, x: jax.lax.cond(x.sum() > 0, lambda: mean(nets, x), lambda: 0.0),
        lambda nets, x: jax.grad(lambda x: mean(nets, x))(x).mean(),
    ],
    ids=["scan", "vmap", "cond", "grad"],
)
def test_a_network_cannot_be_born_inside(loss):
    for init in (engine.init, jax.jit(engine.init, static_argnums=0)):
        with pytest.raises(UserError, match=r"The first call of network 'D' is inside .* call it once before"):
            init(one_player(loss), KEY, data(1))
    cured = one_player(lambda nets, x: loss(nets, x) + 0 * mean(nets, x))
    before = one_player(lambda nets, x: 0 * mean(nets, x) + loss(nets, x))
    with pytest.raises(UserError):
        engine.init(cured, KEY, data(1))
    state = engine.init(before, KEY, data(1))
    assert jnp.isfinite(jitted(before)(state, data(1))[1]["loss/D"])


@pytest.mark.parametrize(
    ("g", "words"),
    [
        (one_player(mean, Noisy()), r"'D' draws random numbers but was called without a key"),
        (one_player(lambda nets, x: x.mean()), r"`play` never called network 'D'"),
        (one_player(mean, moves=(move("Q"),)), r"names player 'Q'; the players are D"),
        (one_player(mean, moves=(Move({"D": "path"}),)), r"descends loss 'path'; `play` returned D"),
        (one_player(lambda nets, x: nets["D"](x)), r"Loss 'D' has shape \(8, 1\): take its mean"),
        (one_player(mean, moves=(move("D", again=("batch",)), move("D"))), r"first move .* no move before it"),
        (one_player(mean, moves=(move("D"), move("D"))), r"reads 2 slices, a batch \{1\} came"),
    ],
    ids=["no key", "never called", "player", "loss", "shape", "again", "slices"],
)
def test_mistakes_are_named(g, words):
    with pytest.raises(UserError, match=words):
        engine.init(g, KEY, data(1))


def test_a_step_wants_its_slices_and_draws_its_keys():
    g = the_game("fresh noise")
    state = start(g)
    with pytest.raises(UserError, match=r"reads 2 slices, a batch \{3\} came"):
        jitted(g)(state, data(3))

    def forgets(nets, batch, key, step):
        return play(nets, batch, key, step) | {"D": Loss(nets["D"](batch["x"]).mean())}

    with pytest.raises(UserError, match="Network 'D' draws random numbers but was called without a key"):
        jitted(Game(g.players, forgets, g.moves, g.memory))(state, data(2))


@pytest.mark.parametrize("parts", [3, 9])
def test_parts_divide_the_batch(parts):
    g = replace(one_player(mean), parts=parts)
    with pytest.raises(UserError, match="parts"):
        engine.step(g, engine.init(g, KEY, data(1)), data(1))


RATES_OF_OPTAX = {
    "schedule": optax.inject_hyperparams(optax.sgd)(learning_rate=lambda count: 0.1),
    "two": optax.multi_transform({"a": sgd(0.1), "b": sgd(0.2)}, {"Dense_0": {"kernel": "a", "bias": "b"}}),
}


@pytest.mark.parametrize("optimizer", RATES_OF_OPTAX.values(), ids=RATES_OF_OPTAX)
def test_any_optimizer_of_optax_will_do(optimizer):
    g = replace(one_player(mean), players={"D": Player(Line(), optimizer)})
    engine.step(g, engine.init(g, KEY, data(1)), data(1))


def test_a_share_of_skipped_rounds_is_at_most_one():
    never = lambda metrics: metrics["loss/D"] != metrics["loss/D"]
    g = one_player(mean, moves=(move("D", when=never), move("D", when=never)))
    _, metrics = engine.step(g, engine.init(g, KEY, data(2)), data(2))
    assert max(metrics[name] for name in metrics if name.startswith("skipped")) <= 1
