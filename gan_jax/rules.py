"""Rules: how a round is played, as an argument of a game: `gan(…, rule=extragradient)`.

With v = (∂L_n/∂θ_n) over the players and J its Jacobian, the players step along::

    engine.in_order   v, the moves one after another: the default
    extragradient     v at a point one step ahead
    consensus         v + γ Jᵀv
    symplectic        v + λ Aᵀv, A = (J − Jᵀ)/2
    unrolled          v after k more steps of a follower, differentiated through these steps
    lookahead         any of these, with slow weights that follow every so many rounds

J is applied in reverse mode alone, which a `custom_vjp` has, and forward mode it has not. Optimizers get the round as
`step` under every rule, so schedules are functions of the round.

>>> from flax import linen as nn
>>> from gan_jax import Player, gan
>>> G, D = (Player(nn.Dense(1), optax.sgd(0.1)) for _ in range(2))
>>> game = gan(G, D, "wasserstein", prior=1, moves=(engine.Move({"D": "D", "G": "G"}),), rule=consensus(0.5))
>>> batch = {"x": jnp.zeros((1, 8, 1))}
>>> state, metrics = engine.step(game, engine.init(game, jax.random.key(0), batch), batch)
>>> int(state.step)
1
"""

import jax
import jax.numpy as jnp
import optax

from gan_jax import engine
from gan_jax.errors import UserError
from gan_jax.game import Rule


def _check_pairs(game, state):
    moves = game.moves
    if len(moves) % 2:
        raise UserError(
            f"extragradient plays moves in pairs, but this game has {len(moves)}: give an even number, such as "
            "moves=2 * (move('D', 'G'),)."
        )
    for first, second in zip(moves[::2], moves[1::2], strict=True):
        if first.losses != second.losses:
            raise UserError(
                f"extragradient looks ahead with {dict(first.losses)} and steps with {dict(second.losses)}: "
                "let both moves of a pair descend the same losses, as in moves=2 * (move('D', 'G'),)."
            )
        if first.when or second.when:
            raise UserError("extragradient does not take conditional moves: leave out their `when`.")
    return ()


def _pairs(game, state, batch):
    metrics, inputs = {}, engine.move_inputs(game, state.key, state.step, batch)
    for (m, *first), (_, *second) in zip(inputs[::2], inputs[1::2], strict=True):
        grads, ahead, _ = engine.mean_gradient(game, state, m.losses, *first)
        ahead, _ = engine.update(game, ahead, grads)
        grads, ahead, found = engine.mean_gradient(game, ahead, m.losses, *second)
        # Moments and memory advance at both points; the weights and their averages step from before the pair.
        state, stepped = engine.update(game, ahead.replace(params=state.params, ema=state.ema), grads)
        metrics |= found | stepped
    return state, metrics


extragradient = Rule(_check_pairs, _pairs)
"""θ' = θ − η v(θ), θ ← θ − η v(θ'). Gidel et al. 2019, algorithm 4.

The game's moves come in pairs of the same losses, moves=2 * (move("D", "G"),): the first extrapolates to θ', the second
steps from θ with the gradient there, both through the player's own optimizer. With adam this is ExtraAdam: its moments
and count advance at both. Each move draws its own batch and noise unless it names them in `again`. UserError for moves
that do not pair up or are conditional."""


def _adjusted(adjust) -> Rule:
    """Along v + adjust(v, Jᵀv, w -> Jw), v of all players in the round's moves; a mover takes its own part."""

    def gradient(game, state, losses, batch, key):
        everyone = {n: loss for m in game.moves for n, loss in m.losses.items()} | dict(losses)
        play = lambda params: engine.evaluate(game, state, state.params | params, batch, key)
        field = lambda params: engine.own_gradients(play, everyone, params)
        v, transposed, played = jax.vjp(field, {n: state.params[n] for n in everyone}, has_aux=True)
        times_J = lambda w: jax.vjp(lambda u: transposed(u)[0], v)[1](w)[0]  # u -> Jᵀu is linear
        extra = adjust(v, transposed(v)[0], times_J)
        moved = {n: optax.tree.add(v[n], extra[n]) for n in losses}
        return moved, engine.report(losses, *played)

    return engine.along(gradient)


def consensus(gamma) -> Rule:
    """v + γ ∇½‖v‖² = v + γ Jᵀv: consensus optimisation, drawn towards points where v = 0. Mescheder et al. 2017.

    v is over all players in the round's moves, on the move's own batch and noise: a player who moves alone still
    follows its part of ∇½‖v‖². With the game's `parts`, ½‖v‖² is that of each part.
    """
    return _adjusted(lambda v, Jt_v, times_J: optax.tree.scale(gamma, Jt_v))


def symplectic(weight=1.0, align: bool = True) -> Rule:
    """v + λ Aᵀv, Aᵀ = (Jᵀ − J)/2: symplectic gradient adjustment. Balduzzi et al. 2018; Letcher et al. 2019.

    v is over all players in the round's moves, as in `consensus`.

    Args:
        weight: The absolute value of λ.
        align: λ = weight · sign(⟨v, Jᵀv⟩⟨Aᵀv, Jᵀv⟩/n + 0.1) with n weight tensors, which turns away from unstable
            points; without it λ = weight.
    """

    def adjust(v, Jt_v, times_J):
        At_v = jax.tree.map(lambda a, b: (a - b) / 2, Jt_v, times_J(v))
        dot = lambda a, b: optax.tree.vdot(a, b)
        agree = dot(v, Jt_v) * dot(At_v, Jt_v) / len(jax.tree.leaves(v))
        return optax.tree.scale(weight * jnp.sign(agree + 0.1) if align else weight, At_v)

    return _adjusted(adjust)


def unrolled(k: int, follower: str = "D") -> Rule:
    """Unrolled optimisation: every other player descends L(θ, ω_k(θ)), its loss after k more optimizer steps of the
    follower ω, and differentiates through them; the follower descends its own loss as usual. Metz et al. 2017.

    Args:
        k: steps, all on the move's own batch and noise; they do not change the State. 0 is the default rule.
        follower: the player who is unrolled.

    Raises:
        UserError: k is negative; at init, for a game in which the follower makes no move.
    """
    if k < 0:
        raise UserError(f"unrolled has k = {k}: give the number of steps, 0 or more.")

    def check(game, state):
        if not any(follower in m.losses for m in game.moves):
            raise UserError(
                f"unrolled unrolls {follower!r}, who makes no move in this game: give one of "
                f"{', '.join(game.players)} as `follower`."
            )
        return ()

    def gradient(game, state, losses, batch, key):
        own = {follower: next(m.losses[follower] for m in game.moves if follower in m.losses)}
        optimizer = game.players[follower].optimizer

        def play(params):
            return engine.evaluate(game, state, params, batch, key)

        def unrolled_play(moving):
            params, opt = state.params | moving, state.opt[follower]
            now, memory = play(params)
            for _ in range(k):
                ω, fixed = params[follower], params
                grads, _ = engine.own_gradients(lambda moved, fixed=fixed: play(fixed | moved), own, {follower: ω})
                safe = jax.tree.map(_finite_cotangent, grads[follower])
                updates, opt = optimizer.update(safe, opt, ω, step=state.step)
                params = params | {follower: optax.apply_updates(ω, updates)}
            later, _ = play(params)
            return later | {loss: now[loss] for n, loss in losses.items() if n == follower}, memory

        grads, played = engine.own_gradients(unrolled_play, losses, {n: state.params[n] for n in losses})
        return grads, engine.report(losses, *played)

    return Rule(check, engine.along(gradient).round)


@jax.custom_vjp
def _finite_cotangent(g):
    """Identity whose VJP zeroes non-finite cotangents where g² underflows (Adam at v = 0).

    d/dg of Adam's g / (√v + ε) at v = 0 is computed as 0 · ∞. It occurs at dead units, whose g depends on nothing.
    """
    return g


def _finite_cotangent_forward(g):
    return g, jnp.abs(g) < 1e4 * jnp.sqrt(jnp.finfo(g.dtype).smallest_normal)


def _finite_cotangent_backward(underflows, cotangent):
    return (jnp.where(underflows & ~jnp.isfinite(cotangent), 0, cotangent),)


_finite_cotangent.defvjp(_finite_cotangent_forward, _finite_cotangent_backward)


def lookahead(rule: Rule, every, weight=0.5) -> Rule:
    """Lookahead-minmax: after every `every` rounds, w ← w_slow ← w_slow + α (w − w_slow). Chavdarova et al. 2021.

    Moments and memory of the players stay as they are, and their averages have taken in the weights before this step.
    The inner rule is initialised anew from the slow weights, so lookahead(lookahead(rule, 5), 5000) has super-slow
    weights, from which the slow ones continue.

    Args:
        rule: how the rounds in between are played.
        every: rounds, 1 or more.
        weight: α.

    Raises:
        UserError: `every` is not positive.
    """
    if not isinstance(every, jax.core.Tracer) and not every > 0:
        raise UserError(f"lookahead has every = {every}: give the number of rounds between its steps, 1 or more.")

    def init(game, state):
        return {"slow": jax.tree.map(jnp.copy, state.params), "inner": rule.init(game, state)}

    def round(game, state, batch):
        own = state.memory["rule"]
        inside = state.replace(memory=state.memory | {"rule": own["inner"]})
        state, metrics = rule.round(game, inside, batch)
        due = (state.step + 1) % every == 0
        select = lambda new, old: jax.tree.map(lambda a, b: jnp.where(due, a, b), new, old)
        step = lambda slow, fast: (slow + weight * (fast - slow)).astype(fast.dtype)
        slow = jax.tree.map(step, own["slow"], state.params)
        inner = select(rule.init(game, state.replace(params=slow)), state.memory["rule"])
        memory = state.memory | {"rule": {"slow": select(slow, own["slow"]), "inner": inner}}
        return state.replace(params=select(slow, state.params), memory=memory), metrics

    return Rule(init, round)
