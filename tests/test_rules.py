"""Rules against closed forms, loops in NumPy and explicit Jacobians, on games of vectors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import BOTH, CURVED, IN_TURN, KEY, draws, of_vectors, played, slope

from gan_jax import engine
from gan_jax.engine import in_order
from gan_jax.errors import UserError
from gan_jax.game import move
from gan_jax.optimizers import adam, ema, optimistic_adam, optimistic_sgd, sgd
from gan_jax.rules import consensus, extragradient, lookahead, symplectic, unrolled

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
        inputs = iter(x[t, :, 0])
        for names in ("GD",) if order == "simultaneous" else ("G", "D"):
            first = next(inputs)
            second = first if again else next(inputs)
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


def test_slow_and_super_slow_weights():
    """w_slow by a loop in NumPy: a step every 2 rounds, and a super-slow one every 6, from which both continue."""
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


@pytest.mark.parametrize("moves", [BOTH, IN_TURN, 2 * (move("G", "D", when=lambda m: True),)])
def test_extragradient_wants_pairs(moves):
    with pytest.raises(UserError, match="extragradient"):
        g = of_vectors(CURVED, {"G": GDA, "D": GDA}, moves, extragradient, (2,))
        engine.init(g, KEY, {"x": jnp.zeros((len(moves), 1, 2))})


@pytest.mark.parametrize(
    "rule, words",
    [
        (lambda: unrolled(-1), "unrolled has k = -1: give the number of steps, 0 or more"),
        (lambda: lookahead(in_order, 0), "lookahead has every = 0: give the number of rounds between its steps"),
    ],
)
def test_numbers_that_a_rule_refuses(rule, words):
    with pytest.raises(UserError, match=words):
        rule()


def test_unrolled_wants_a_follower():
    g = of_vectors(CURVED, {"G": GDA, "D": GDA}, BOTH, unrolled(1, "C"), (2,))
    with pytest.raises(UserError, match="unrolls 'C', who makes no move in this game: give one of G, D"):
        engine.init(g, KEY, {"x": jnp.zeros((1, 1, 2))})
