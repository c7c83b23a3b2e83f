"""Rules: how a round is played. A rule knows the whole game: `gan(…, rule=extragradient)`.

With v = (∂L_n/∂θ_n) over the players and J its Jacobian, a round goes along

    in_order        v, the moves one after another: gan_jax.game
    extragradient   v, seen from a step ahead
    consensus       v + γ Jᵀv
    symplectic      v + λ Aᵀv, A = (J − Jᵀ)/2
    unrolled        v of a follower who has stepped ahead, and whose answer is differentiated
    lookahead       any of these, drawn back now and then

J is applied by reverse mode alone: a `custom_vjp` has no forward mode.
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
        raise UserError(f"extragradient plays moves in pairs, and this game has {len(moves)}: give moves=2 * (…).")
    for first, second in zip(moves[::2], moves[1::2], strict=True):
        if first.losses != second.losses:
            raise UserError(
                f"extragradient looks ahead with {dict(first.losses)} and steps with {dict(second.losses)}: "
                "let both moves of a pair descend the same losses, as in moves=2 * (move('D', 'G'),)."
            )
        if first.when or second.when:
            raise UserError("extragradient has no moves that wait: leave out their `when`.")
    return ()


def _pairs(game, state, batch):
    metrics, hands = {}, engine.move_inputs(game, state.key, state.step, batch)
    for (m, *seen), (_, *hand) in zip(hands[::2], hands[1::2], strict=True):
        grads, ahead, _ = engine.mean_gradient(game, state, m.losses, *seen)
        ahead, _ = engine.update(game, ahead, grads)
        grads, ahead, found = engine.mean_gradient(game, ahead, m.losses, *hand)
        # Moments and memory have advanced at both; the weights and their averages step from where the pair began.
        state, stepped = engine.update(game, ahead.replace(params=state.params, ema=state.ema), grads)
        metrics |= found | stepped
    return state, metrics


extragradient = Rule(_check_pairs, _pairs)
"""θ' = θ − η v(θ), θ ← θ − η v(θ'): of each pair of moves the first looks ahead, the second steps from where the pair
began with the gradient seen there, each through the player's own optimizer: with adam it is ExtraAdam, whose moments
and count advance at both. moves=2 * (move("D", "G"),); each draws a batch and noise of its own unless it says `again`.
Gidel et al. 2019, algorithm 4. UserError for moves that make no pairs or that wait."""


def _adjusted(adjust) -> Rule:
    """Along v + adjust(v, Jᵀv, w -> Jw) of all players whom the round's moves name; a mover takes its own part."""

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
    """v + γ ∇½‖v‖² = v + γ Jᵀv, the players moving together to where nobody wants to move. Mescheder et al. 2017.

    v is of all players that the round's moves name, on the move's own batch and noise: a player who moves alone still
    follows its part of ∇½‖v‖². With `parts`, ½‖v‖² is that of each part.
    """
    return _adjusted(lambda v, Jt_v, times_J: optax.tree.scale(gamma, Jt_v))


def symplectic(weight=1.0, align: bool = True) -> Rule:
    """v + λ Aᵀv, Aᵀ = (Jᵀ − J)/2: symplectic gradient adjustment. Balduzzi et al. 2018; Letcher et al. 2019.

    λ = weight · sign(⟨v, Jᵀv⟩⟨Aᵀv, Jᵀv⟩/n + 0.1), n weight tensors, which turns away from unstable points; without
    `align`, λ = weight. v and `parts` as in `consensus`: all players that the round's moves name, whoever moves.
    """

    def adjust(v, Jt_v, times_J):
        At_v = jax.tree.map(lambda a, b: (a - b) / 2, Jt_v, times_J(v))
        dot = lambda a, b: optax.tree.vdot(a, b)
        agree = dot(v, Jt_v) * dot(At_v, Jt_v) / len(jax.tree.leaves(v))
        return optax.tree.scale(weight * jnp.sign(agree + 0.1) if align else weight, At_v)

    return _adjusted(adjust)


def unrolled(k: int, follower: str = "D") -> Rule:
    """Each other player descends L(θ, ω_k(θ)): its loss once the follower has taken k more optimizer steps, through
    which it differentiates; the follower itself steps along its own gradient. Metz et al. 2017.

    The k steps see the move's own batch and noise again and again, and leave nothing behind. k = 0 is `in_order`.
    UserError if the follower never moves.
    """

    def check(game, state):
        if not any(follower in m.losses for m in game.moves):
            raise UserError(f"unrolled waits for the answer of {follower!r}, who never moves: name another follower.")
        return ()

    def gradient(game, state, losses, batch, key):
        own = {follower: next(m.losses[follower] for m in game.moves if follower in m.losses)}
        optimizer = game.players[follower].optimizer

        def play(params):
            return engine.evaluate(game, state, params, batch, key)

        def after_the_answer(moving):
            params, opt = state.params | moving, state.opt[follower]
            now, memory = play(params)
            for _ in range(k):
                ω, held = params[follower], params
                grads, _ = engine.own_gradients(lambda moved, held=held: play(held | moved), own, {follower: ω})
                updates, opt = optimizer.update(jax.tree.map(_rooted, grads[follower]), opt, ω, step=state.step)
                params = params | {follower: optax.apply_updates(ω, updates)}
            later, _ = play(params)
            return later | {loss: now[loss] for n, loss in losses.items() if n == follower}, memory

        grads, played = engine.own_gradients(after_the_answer, losses, {n: state.params[n] for n in losses})
        return grads, engine.report(losses, *played)

    return Rule(check, engine.along(gradient).round)


@jax.custom_vjp
def _rooted(gradient):
    """The gradient itself; where its square is nothing, what an optimizer's √ makes infinite or NaN there is 0.

    d/dg of Adam's g / (√v + ε) at v = 0 is written as 0 · ∞. It belongs to dead units, whose g depends on nothing.
    """
    return gradient


def _rooted_forward(gradient):
    return gradient, jnp.abs(gradient) < 1e4 * jnp.sqrt(jnp.finfo(gradient.dtype).smallest_normal)


def _rooted_backward(nothing, cotangent):
    return (jnp.where(nothing & ~jnp.isfinite(cotangent), 0, cotangent),)


_rooted.defvjp(_rooted_forward, _rooted_backward)


def lookahead(rule: Rule, every, weight=0.5) -> Rule:
    """After every so many rounds of `rule`, all players go back to w_slow + weight · (w − w_slow), the new w_slow.

    Lookahead-minmax, Chavdarova et al. 2021. Moments and memory stay; averages have taken in the weights
    of each move, before the way back. The inner rule begins anew there, so that lookahead(lookahead(rule, 5), 5000)
    has super-slow weights, from which the slow ones go on.
    """

    def init(game, state):
        return {"slow": jax.tree.map(jnp.copy, state.params), "inner": rule.init(game, state)}

    def round(game, state, batch):
        own = state.memory["rule"]
        inside = state.replace(memory=state.memory | {"rule": own["inner"]})
        state, metrics = rule.round(game, inside, batch)
        back = (state.step + 1) % every == 0
        select = lambda new, old: jax.tree.map(lambda a, b: jnp.where(back, a, b), new, old)
        drawn = jax.tree.map(
            lambda slow, fast: (slow + weight * (fast - slow)).astype(fast.dtype), own["slow"], state.params
        )
        begun = rule.init(game, state.replace(params=drawn))
        memory = {"slow": select(drawn, own["slow"]), "inner": select(begun, state.memory["rule"])}
        return state.replace(params=select(drawn, state.params), memory=state.memory | {"rule": memory}), metrics

    return Rule(init, round)
