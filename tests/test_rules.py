"""Rules of play by closed forms, NumPy loops, finite differences, explicit Jacobians; and what all must survive."""

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

from gan_jax import engine, losses, priors, train
from gan_jax.engine import in_order
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam, ema, optimistic_adam, optimistic_sgd, sgd
from gan_jax.rules import consensus, extragradient, lookahead, symplectic, unrolled
from gan_jax.two_player import ORDERS, gan

KEY = jax.random.key(3)
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
BOTH, IN_TURN = (move("G", "D"),), (move("G"), move("D"))


class Weight(nn.Module):
    """A player who is one vector."""

    size: tuple[int, ...] = ()

    @nn.compact
    def __call__(self):
        return self.param("w", lambda key: jnp.ones(self.size))


def of_vectors(losses, optimizers, moves, rule=in_order, size=(), **fields):
    """The game of players {name: loss({name: vector}, x)} on the batch's x."""

    def play(nets, batch, key, step):
        at = {n: net() for n, net in nets.items()}
        return {n: Loss(loss(at, batch["x"].mean(0))) for n, loss in losses.items()}

    return Game({n: Player(Weight(size), optimizers[n]) for n in losses}, play, moves, rule=rule, **fields)


def played(g, batches, start=None):
    """The State after each round of batches [rounds, slices, B, …], stacked."""
    state = engine.init(g, KEY, jax.tree.map(lambda x: x[0], batches))
    if start is not None:
        state = state.replace(params=start)

    def one(state, batch):
        state, metrics = engine.step(g, state, batch)
        return state, (state.params, metrics)

    return jax.jit(partial(jax.lax.scan, one))(state, batches)[1]


BILINEAR = {"G": lambda at, x: at["G"] * at["D"], "D": lambda at, x: -at["G"] * at["D"]}
GDA = sgd(0.1)
# min_x max_y xy from (1, 1), η = .1: norms after 100 and 500 rounds, to the digits given.
ANCHORS = {
    "simultaneous": (BOTH, GDA, in_order, "2.33", "17.0"),
    "alternating": (IN_TURN, GDA, in_order, "1.39", "1.41"),
    "extragradient": (2 * BOTH, GDA, extragradient, "0.860", "0.118"),
    "optimistic mirror descent": (BOTH, optimistic_sgd(0.1), in_order, "0.860", "0.113"),
    "consensus": (BOTH, GDA, consensus(1.0), "6.94e-05", "4.02e-22"),
    "symplectic": (BOTH, GDA, symplectic(1.0), "6.94e-05", "4.02e-22"),
    "symplectic without sign": (BOTH, GDA, symplectic(1.0, align=False), "6.94e-05", "4.02e-22"),
    "negative momentum, simultaneous": (BOTH, sgd(0.1, momentum=-0.5), in_order, "1.53", "2.05"),
    "negative momentum, alternating": (IN_TURN, sgd(0.1, momentum=-0.5), in_order, "1.21", "0.655"),
    "momentum, alternating": (IN_TURN, sgd(0.1, momentum=0.5), in_order, "30.4", "9.4e+06"),
    "lookahead 5, simultaneous": (BOTH, GDA, lookahead(in_order, 5), "0.970", "0.215"),
    "lookahead 20, simultaneous": (BOTH, GDA, lookahead(in_order, 20), "0.0875", "1.3e-06"),
    "lookahead 5, alternating": (IN_TURN, GDA, lookahead(in_order, 5), "0.718", "0.0599"),
    "lookahead 5, extragradient": (2 * BOTH, GDA, lookahead(extragradient, 5), "0.582", "0.0167"),
}


@pytest.mark.parametrize("row", ANCHORS)
def test_the_bilinear_game(row):
    moves, optimizer, rule, *printed = ANCHORS[row]
    with jax.enable_x64(True):
        g = of_vectors(BILINEAR, {"G": optimizer, "D": optimizer}, moves, rule)
        params, _ = played(g, {"x": jnp.zeros((500, g.slices, 1))})
        norm = np.hypot(params["G"]["w"], params["D"]["w"])
    for t, digits in zip((100, 500), printed, strict=True):
        places = len(digits.split("e")[0].replace(".", "").lstrip("0")) - 1
        assert f"{norm[t - 1]:.{places}e}" == f"{float(digits):.{places}e}", (t, norm[t - 1])


# Two players of two weights, neither bilinear nor convex, on data x [2]; their gradients by hand.
A = np.array([[1.0, 0.4], [-0.3, 0.8]])
CURVED = {
    "G": lambda at, x: at["G"] @ A @ at["D"] + (at["G"] ** 4).sum() / 4 + x @ at["G"],
    "D": lambda at, x: -(at["G"] @ A @ at["D"]) + (at["D"] ** 2).sum() / 2 - (x @ at["D"]) ** 2 / 2,
}


def slope(w, x):
    return {"G": A @ w["D"] + w["G"] ** 3 + x, "D": -A.T @ w["G"] + w["D"] - x * (x @ w["D"])}


def draws(rounds, slices):
    return np.random.default_rng(5).normal(0, 0.5, (rounds, slices, 1, 2))


class Adam:
    """Kingma & Ba 2015, algorithm 1, on one vector."""

    def __init__(self, rate, b1, b2=0.999):
        self.rate, self.b1, self.b2, self.m, self.v, self.t = rate, b1, b2, 0.0, 0.0, 0

    def step(self, g):
        self.t, self.m, self.v = (
            self.t + 1,
            self.b1 * self.m + (1 - self.b1) * g,
            self.b2 * self.v + (1 - self.b2) * g**2,
        )
        m, v = self.m / (1 - self.b1**self.t), self.v / (1 - self.b2**self.t)
        return -self.rate * m / (np.sqrt(v) + 1e-8)


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
@pytest.mark.parametrize("again", [(), ("batch",)], ids=["two batches", "one batch"])
def test_extra_adam(order, again):
    pair = lambda *names: (move(*names), move(*names, again=again))
    moves = pair("G", "D") if order == "simultaneous" else pair("G") + pair("D")
    with jax.enable_x64(True):
        rates = {"G": adam(0.02, 0.5), "D": adam(0.05, 0.3, 0.9)}
        g = of_vectors(CURVED, rates, moves, extragradient, (2,))
        x = draws(60, g.slices)
        params, metrics = played(g, {"x": jnp.asarray(x)})
    w, opt = {n: np.ones(2) for n in "GD"}, {"G": Adam(0.02, 0.5), "D": Adam(0.05, 0.3, 0.9)}
    for t in range(60):
        hands = iter(x[t, :, 0])
        for names in ("GD",) if order == "simultaneous" else ("G", "D"):
            first = next(hands)
            second = first if again else next(hands)
            seen = slope(w, first)
            ahead = w | {n: w[n] + opt[n].step(seen[n]) for n in names}
            there = slope(ahead, second)
            w = w | {n: w[n] + opt[n].step(there[n]) for n in names}
        for n in "GD":
            np.testing.assert_allclose(params[n]["w"][t], w[n], rtol=1e-9)
    np.testing.assert_allclose(metrics["grad/D"][-1], np.linalg.norm(there["D"]), rtol=1e-9)


def test_averages_follow_the_steps_of_extragradient_only():
    with jax.enable_x64(True):
        g = of_vectors(CURVED, {"G": sgd(0.1), "D": sgd(0.1)}, 2 * BOTH, extragradient, (2,))
        g = replace(g, players={n: replace(p, ema=ema(0.5)) for n, p in g.players.items()})
        batch = {"x": jnp.asarray(draws(1, 2)[0])}
        before = engine.init(g, KEY, batch)
        after, _ = engine.step(g, before, batch)
    for n in "GD":
        mean = (np.asarray(before.params[n]["w"]) + np.asarray(after.params[n]["w"])) / 2
        np.testing.assert_allclose(after.ema[n][0]["w"], mean, rtol=1e-12)


@pytest.mark.parametrize("moves", [BOTH, IN_TURN, 2 * (move("G", "D", when=lambda m: True),)])
def test_extragradient_wants_pairs(moves):
    with pytest.raises(UserError, match="extragradient"):
        g = of_vectors(CURVED, {"G": GDA, "D": GDA}, moves, extragradient, (2,))
        engine.init(g, KEY, {"x": jnp.zeros((len(moves), 1, 2))})


def test_optimistic_adam():
    """Written with the uncorrected moments, as its article's code is; the first ratio stands for the one before it."""
    rate, b1, b2, eps = 0.03, 0.5, 0.9, 1e-8
    schedule = lambda count: rate / (1 + count)
    with jax.enable_x64(True):
        g = of_vectors(CURVED, {n: optimistic_adam(schedule, b1, b2) for n in "GD"}, BOTH, size=(2,))
        x = draws(60, 1)
        params, metrics = played(g, {"x": jnp.asarray(x)})
    w, m, v, last = ({n: start for n in "GD"} for start in (np.ones(2), 0.0, 0.0, None))
    for t in range(60):
        now = slope(w, x[t, 0, 0])
        for n in "GD":
            m[n], v[n] = b1 * m[n] + (1 - b1) * now[n], b2 * v[n] + (1 - b2) * now[n] ** 2
            ratio = m[n] / (np.sqrt(v[n]) + eps)
            corrected = schedule(t) * np.sqrt(1 - b2 ** (t + 1)) / (1 - b1 ** (t + 1))
            w[n] = w[n] - 2 * corrected * ratio + corrected * (ratio if last[n] is None else last[n])
            last[n] = ratio
            np.testing.assert_allclose(params[n]["w"][t], w[n], rtol=1e-9)
    np.testing.assert_allclose(metrics["lr/G"], [schedule(t) for t in range(60)], rtol=1e-12)


# Three players of two weights, L_n = ½ θᵀS_nθ + b_nᵀθ: v = Jθ + b, the rows of J those of S_n that are n's own.
NAMES = ("G", "D", "E")
AT_ONCE = (move(*NAMES),)
ROWS = {n: slice(2 * i, 2 * i + 2) for i, n in enumerate(NAMES)}


def quadratic(seed):
    rng = np.random.default_rng(seed)
    S = {n: (M + M.T) / 2 for n, M in zip(NAMES, rng.normal(size=(3, 6, 6)), strict=True)}
    b = {n: rng.normal(size=6) for n in NAMES}
    J = np.concatenate([S[n][ROWS[n]] for n in NAMES])
    v = lambda θ: J @ θ + np.concatenate([b[n][ROWS[n]] for n in NAMES])

    def loss(at, n):
        θ = jnp.concatenate([at[m] for m in NAMES])
        return θ @ S[n] @ θ / 2 + b[n] @ θ

    return {n: lambda at, x, n=n: loss(at, n) for n in NAMES}, J, v


def by_rule(losses, rule, moves):
    """The direction of the first round from θ = 1, in the order of NAMES."""
    with jax.enable_x64(True):
        g = of_vectors(losses, {n: sgd(0.1) for n in NAMES}, moves, rule, (2,))
        params, _ = played(g, {"x": jnp.zeros((1, g.slices, 1, 2))})
    return (1 - np.concatenate([params[n]["w"][0] for n in NAMES])) / 0.1


def test_symplectic_gradient_adjustment():
    signs = set()
    for seed in (0, 1):
        losses, J, field = quadratic(seed)
        v = field(np.ones(6))
        At_v, Jt_v = (J.T - J) @ v / 2, J.T @ v
        sign = np.sign((v @ Jt_v) * (At_v @ Jt_v) / 3 + 0.1)
        np.testing.assert_allclose(by_rule(losses, symplectic(0.7), AT_ONCE), v + 0.7 * sign * At_v, rtol=1e-9)
        signs.add(sign)
    np.testing.assert_allclose(by_rule(losses, symplectic(0.7, align=False), AT_ONCE), v + 0.7 * At_v, rtol=1e-9)
    assert signs == {-1.0, 1.0}


def test_consensus_in_one_move_and_in_turn():
    losses, J, field = quadratic(0)
    v = field(np.ones(6))
    np.testing.assert_allclose(by_rule(losses, consensus(0.3), AT_ONCE), v + 0.3 * J.T @ v, rtol=1e-9)
    θ = np.ones(6)
    for n in NAMES:  # who moves alone follows its part of the whole field, at the weights the others have by then
        v = field(θ)
        θ[ROWS[n]] -= 0.1 * (v + 0.3 * J.T @ v)[ROWS[n]]
    np.testing.assert_allclose(by_rule(losses, consensus(0.3), tuple(map(move, NAMES))), (1 - θ) / 0.1, rtol=1e-9)


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
    return lambda params: {n: t.loss for n, t in engine.evaluate(g, state, params, own, key)[0].items()}


def test_consensus_of_networks_descends_half_the_squared_norm():
    with jax.enable_x64(True):
        g, batch = of_networks(consensus(0.5)), points(1)
        state = engine.init(g, KEY, batch)
        after, metrics = quick(partial(engine.step, g))(state, batch)
        of = own_losses(g, state, batch)

        def field(params):
            return {n: jax.grad(lambda p, n=n: of(params | {n: p})[n])(params[n]) for n in "GD"}

        half = lambda params: sum((x**2).sum() for x in jax.tree.leaves(field(params))) / 2
        v, pulled = quick(lambda params: (field(params), jax.grad(half)(params)))(state.params)
        for n in "GD":
            expected = jax.tree.map(lambda w, v, h: w - 0.1 * (v + 0.5 * h), state.params[n], v[n], pulled[n])
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), after.params[n], expected)
        plain, _ = quick(partial(engine.step, replace(g, rule=in_order)))(state, batch)
        for n in "GD":  # what a move remembers is that of the plain one
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), after.memory[n], plain.memory[n])
        assert {"loss/G", "loss/D", "grad/G", "grad/D", "lr/G", "lr/D"} <= metrics.keys()


def test_a_lone_mover_leaves_the_others_memory_under_consensus():
    with jax.enable_x64(True):
        g, batch = of_networks(consensus(0.5), (move("G"), move("D", when=lambda m: False))), points(2)
        state = engine.init(g, KEY, batch)
        after, _ = quick(partial(engine.step, g))(state, batch)
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
    """θ_G -> G's loss after k steps of D by hand on the move's own batch and noise, and D's own loss now."""
    of, optimizer = own_losses(g, state, batch), g.players["D"].optimizer

    def loss(θ):
        params, opt = state.params | {"G": θ}, state.opt["D"]
        for _ in range(k):
            grads = jax.grad(lambda ω, params=params: of(params | {"D": ω})["D"])(params["D"])
            updates, opt = optimizer.update(grads, opt, params["D"])
            params = params | {"D": optax.apply_updates(params["D"], updates)}
        return of(params)["G"]

    return loss


slow = partial(pytest.param, marks=pytest.mark.slow)


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
        after, metrics = quick(partial(engine.step, g))(state, batch)
        loss = answered(g, state, batch, k)
        start, unravel = ravel_pytree(state.params["G"])
        along = jnp.asarray(np.random.default_rng(0).normal(size=(4, len(start))))
        at = quick(jax.vmap(lambda w: loss(unravel(w))))(jnp.concatenate([start + 1e-5 * along, start - 1e-5 * along]))
        slopes = (at[:4] - at[4:]) / 2e-5
        gradient = (start - ravel_pytree(after.params["G"])[0]) / 0.1
        np.testing.assert_allclose(along @ gradient, slopes, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(metrics["loss/G"], loss(state.params["G"]), rtol=1e-9)
        plain, before = quick(partial(engine.step, replace(g, rule=in_order)))(state, batch)
        same = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
        jax.tree.map(same, (after.params["D"], after.opt["D"]), (plain.params["D"], plain.opt["D"]))
        assert abs(metrics["loss/G"] - before["loss/G"]) > 1e-4  # D did answer
        np.testing.assert_allclose(metrics["loss/D"], before["loss/D"], rtol=1e-9)


@pytest.mark.parametrize("moves", [BOTH, ORDERS["same_fakes"]], ids=["simultaneous", "alternating"])
def test_unrolled_by_no_step_is_in_order(moves):
    with jax.enable_x64(True):
        g, batch = of_networks(unrolled(0), moves), points(1)
        state = engine.init(g, KEY, batch)
        ours, plain = (quick(partial(engine.step, h))(state, batch) for h in (g, replace(g, rule=in_order)))
        same = partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-14)
        jax.tree.map(same, (ours[0].replace(key=0), ours[1]), (plain[0].replace(key=0), plain[1]))


def test_unrolled_wants_a_follower():
    with pytest.raises(UserError, match="'D', who never moves"):
        g = of_vectors(CURVED, {"G": GDA, "D": GDA}, (move("G"),), unrolled(1), (2,))
        engine.init(g, KEY, {"x": jnp.zeros((1, 1, 2))})


def test_slow_and_super_slow_weights():
    """w_slow by a loop in NumPy: every 2 rounds drawn back, every 6 once more, whence the slow weights go on."""
    with jax.enable_x64(True):
        rule = lookahead(lookahead(in_order, 2, 0.7), 6, 0.4)
        g = of_vectors(CURVED, {"G": sgd(0.1), "D": sgd(0.1)}, BOTH, rule, (2,))
        x = draws(20, 1)
        params, _ = played(g, {"x": jnp.asarray(x)})
    fast = {n: np.ones(2) for n in "GD"}
    slow = slower = fast
    for t in range(20):
        v = slope(fast, x[t, 0, 0])
        fast = {n: fast[n] - 0.1 * v[n] for n in "GD"}
        if (t + 1) % 2 == 0:
            fast = slow = {n: slow[n] + 0.7 * (fast[n] - slow[n]) for n in "GD"}
        if (t + 1) % 6 == 0:
            fast = slow = slower = {n: slower[n] + 0.4 * (fast[n] - slower[n]) for n in "GD"}
        for n in "GD":
            np.testing.assert_allclose(params[n]["w"][t], fast[n], rtol=1e-9)


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
        born = partial(engine.init, g, batch=batch)
        many, one = jax.vmap(born)(keys), quick(partial(engine.step, g))
        together = quick(jax.vmap(partial(engine.step, g), in_axes=(0, None)))
        for _ in range(2):
            many, metrics = together(many, batch)
        assert all(np.isfinite(m).all() for m in metrics.values())
        for i, key in enumerate(keys):
            alone = born(key)
            for _ in range(2):
                alone, found = one(alone, batch)
            pick = jax.tree.map(lambda x, i=i: x[i], (many.replace(key=np.zeros(2)), metrics))
            same = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
            jax.tree.map(same, pick, (alone.replace(key=0.0), found))


@rules
def test_save_and_resume(name, tmp_path):
    rule, moves = RULES[name]
    g = gan(toy.G, toy.D, losses.non_saturating, priors.normal(3), moves=moves, rule=rule)
    keep = partial(train, g, toy.POINTS, batch=8, progress=False, checkpoint_every=3)
    keep(steps=3, run=tmp_path / "cut")
    resumed, straight = keep(steps=5, run=tmp_path / "cut"), keep(steps=5)
    assert toy.bits(resumed.state) == toy.bits(straight.state)
    assert resumed.state.step == 5


def test_a_swept_decay():
    assert ema(0) is None and ema(0.0) is None and ema(0.9)(7) == 0.9
    assert jax.vmap(lambda d: ema(d)(7))(jnp.asarray([0.0, 0.5])).tolist() == [0.0, 0.5]
