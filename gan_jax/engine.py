"""The engine: `init` and `step` train any Game as pure functions of its State.

A move takes one `jax.vjp` of `play` with respect to the weights of its players, and one pull-back for each loss. The
gradients of a loss with respect to other players, and losses that no player descends, are dead code that XLA removes,
so no loss needs a `stop_gradient` between players. Players with a common loss, as in {"G": "both", "F": "both"}, share
one pull-back.

>>> from flax import linen as nn
>>> from gan_jax import Player, gan
>>> game = gan(Player(nn.Dense(2), optax.sgd(0.1)), Player(nn.Dense(1), optax.sgd(0.1)), "hinge", 4)
>>> batch = {"x": jnp.zeros((2, 8, 2))}  # 2 moves, 8 points of the plane
>>> state = init(game, jax.random.key(0), batch)
>>> state, metrics = step(game, state, batch)
>>> net(game, state, "G")(jnp.zeros((5, 4))).shape
(5, 2)
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Move, Rule, State
from gan_jax.net import Net, Nets

Tree = Any  # a pytree of arrays

SAMPLE_POWER_STEPS = 20  # averaged weights have other singular vectors than the ones in memory


def init(game: Game, key: Tree, batch: Tree) -> State:
    """The State at round 0. Networks are initialised by one evaluation of `play`, which determines their input shapes.

    A player's initial weights depend only on the key and the player's name.

    Args:
        game: A Game.
        key: A PRNG key, from which the whole training draws.
        batch: A round's batch [slices, B, …], or one of the same shapes and dtypes.

    Raises:
        UserError: `play` does not return the losses that the moves descend, or a network does not fit the batch.
    """
    key, start = jax.random.split(key)  # also leaves the caller's key out of donation
    named = lambda n: jax.random.fold_in(start, zlib.crc32(n.encode()))
    nets = Nets({n: Net(n, p.net, key=named(n)) for n, p in game.players.items()})
    nets.memory = jax.tree.map(jnp.array, game.memory)
    (_, own, play_key), *_ = move_inputs(game, key, jnp.int32(0), batch)
    losses = game.play(nets, own, play_key, jnp.int32(0))
    _check_losses(game, nets, losses)
    params = {n: net.params for n, net in nets.items()}
    memory = {n: dict(net.memory) for n, net in nets.items()} | {"game": nets.memory}
    for n, player in game.players.items():
        if player.reparam:
            memory[n]["reparam"] = player.reparam(params[n], None)[1]
    skipped = {m.label: jnp.int32(0) for m in game.moves if m.when}
    # An average must start as a copy, or donation would see one buffer twice.
    ema = {n: jax.tree.map(jnp.copy, (params[n], memory[n])) for n, p in game.players.items() if p.ema}
    opt = {n: p.optimizer.init(params[n]) for n, p in game.players.items()}
    state = State(jnp.int32(0), key, params, opt, ema, memory | {"skipped": skipped})
    return state.replace(memory=state.memory | {"rule": rule_of(game).init(game, state)})


def _check_losses(game, nets, losses):
    for n, net in nets.items():
        if net.params is None:
            raise UserError(f"`play` never called network {n!r}: call it, or leave it out of `players`.")
        if net.memory.get("batch_stats") and not net.mode:
            raise UserError(
                f"Network {n!r} keeps batch statistics, but takes no argument that tells training from evaluation: "
                "give its __call__ an argument train=True, and normalise by running averages where it is False."
            )
    for name, loss in losses.items():
        if unknown := set(loss.memory) - set(game.players) - {"game"}:
            raise UserError(
                f"Loss {name!r} has memory of {unknown}: memory is by player ({', '.join(nets)}), or 'game'."
            )
        for metric, value in loss.metrics.items():
            if jnp.shape(value) != ():
                raise UserError(
                    f"Metric {metric!r} has shape {list(jnp.shape(value))}: report a scalar, such as its mean."
                )
    for m in game.moves:
        for n, name in m.losses.items():
            if name not in losses:
                raise UserError(f"A move of {n!r} descends loss {name!r}; `play` returned {', '.join(losses)}.")
            if jnp.shape(losses[name].value) != ():
                raise UserError(f"Loss {name!r} has shape {list(jnp.shape(losses[name].value))}: take its mean or sum.")
        report(m.losses, losses, {n: dict(net.memory) for n, net in nets.items()} | {"game": nets.memory})


def evaluate(game: Game, state: State, params: Mapping[str, Tree], batch: Tree, key: Tree):
    """({name: Loss}, memory) on one slice `batch` [B, …], at weights `params` that may differ from the State's.

    The memory returned has advanced only for reparametrisations.
    """
    nets, memory = _bind(game, params, state.memory)
    return game.play(nets, batch, key, state.step), memory


def own_gradients(play: Callable, losses: Mapping[str, str], params: Mapping[str, Tree]):
    """({n: ∂L_n/∂θ_n}, (losses, memory)) at `params` {n: θ_n}: one forward pass, one pull-back per loss.

    Args:
        play: {n: θ_n} -> (losses, memory).
        losses: {player n: name of the loss that it descends}.

    >>> play = lambda w: ({"G": Loss(w["G"] * w["D"]), "D": Loss(-w["G"] * w["D"])}, {})
    >>> grads, _ = own_gradients(play, {"G": "G", "D": "D"}, {"G": 2.0, "D": 3.0})
    >>> float(grads["G"]), float(grads["D"])
    (3.0, -2.0)
    """

    def values(moving):
        with jax.named_scope("losses"):
            found, memory = play(moving)
        return {name: found[name].value for name in losses.values()}, (found, memory)

    at_params, pull, played = jax.vjp(values, params, has_aux=True)
    only = lambda name: {other: jnp.full_like(value, other == name) for other, value in at_params.items()}
    pulled = {name: pull(only(name))[0] for name in at_params}
    return {n: pulled[name][n] for n, name in losses.items()}, played


def report(losses: Mapping[str, str], found: Mapping[str, Loss], memory: Mapping[str, Tree]):
    """(memory, metrics) after a move: `memory` with the updates of the losses that it descends, and their metrics.

    Raises:
        UserError: Two of these losses update the same entry of memory to different values.

    >>> report({"D": "D"}, {"D": Loss(0.5, {"D(x)": 0.9}), "G": Loss(1.0, {"D(G(z))": 0.1})}, {})
    ({}, {'loss/D': 0.5, 'D(x)': 0.9})
    """
    new, metrics = {}, {}
    for name in dict.fromkeys(losses.values()):
        metrics |= {f"loss/{name}": found[name].value} | found[name].metrics
        for owner, entries in found[name].memory.items():
            new.setdefault(owner, []).append((name, entries))
    return dict(memory) | {owner: _merged(owner, memory[owner], own) for owner, own in new.items()}, metrics


def _merged(owner, old, updates):
    """`old` with the entries of several losses, [(loss, entries), …]."""
    if not isinstance(old, Mapping):
        if any(entries is not updates[0][1] for _, entries in updates):
            _raise_clash(owner, updates[0][0], updates[1][0], "its memory")
        return updates[0][1]
    merged, by = {}, {}
    for name, entries in updates:
        for key, value in entries.items():
            if key not in old:
                raise UserError(f"Loss {name!r} has memory {key!r} of {owner!r}, which has {', '.join(old) or 'none'}.")
            same = key in merged and jax.tree.all(jax.tree.map(lambda a, b: a is b, merged[key], value))
            if key in merged and not same:
                _raise_clash(owner, by[key], name, repr(key))
            merged[key], by[key] = value, name
    return dict(old) | merged


def _raise_clash(owner, first, second, what):
    raise UserError(
        f"Losses {first!r} and {second!r} of one move both update {what} of {owner!r}: let one of them update it, or"
        " return the same array from both."
    )


def gradient(game: Game, state: State, losses: Mapping[str, str], batch: Tree, key: Tree):
    """({n: ∂L_n/∂θ_n}, (memory, metrics)) on one slice `batch` [B, …], for `losses` {player n: name of its loss}."""
    play = lambda moving: evaluate(game, state, state.params | moving, batch, key)
    grads, played = own_gradients(play, losses, {n: state.params[n] for n in losses})
    return grads, report(losses, *played)


def _bind(game, params, memory):
    """The networks bound to their reparametrised weights, and memory after the reparametrisations."""
    nets, memory = Nets(), dict(memory)
    nets.memory = memory["game"]
    for n, player in game.players.items():
        own, used = dict(memory[n]), params[n]
        if player.reparam:
            with jax.named_scope(f"{n}/reparam"):
                used, advanced = player.reparam(used, own.pop("reparam"))
            memory[n] = own | {"reparam": advanced}
        nets[n] = Net(n, player.net, used, own)
    return nets, memory


def mean_gradient(game: Game, state: State, losses: Mapping[str, str], batch: Tree, key: Tree, gradient=gradient):
    """({n: gradient}, state, metrics): the mean of `gradient` over the game's parts, the memory threaded through them.

    Part i has the rows i::game.parts of `batch` [B, …] and draws from fold_in(key, i).
    """
    total, sizes = [], {len(x) for x in jax.tree.leaves(batch)}
    if any(size % game.parts for size in sizes):
        raise UserError(f"A batch of {sizes} does not divide into {game.parts} parts: give a multiple of them.")
    for i in range(game.parts):  # unrolled: XLA on CPU compiles a convolution's gradient badly inside a loop
        part = jax.tree.map(lambda x, i=i: x[i :: game.parts], batch)
        grads, (memory, metrics) = gradient(game, state, losses, part, jax.random.fold_in(key, i))
        state, total = state.replace(memory=memory), [*total, (grads, metrics)]
    grads, metrics = jax.tree.map(lambda x, *more: sum(more, x) / game.parts, *total)
    return grads, state, metrics


def update(game: Game, state: State, grads: Mapping[str, Tree]) -> tuple[State, dict]:
    """One simultaneous optimizer step of the players in `grads` {player: gradient}, then of their averages.

    Optimizers get the round as the extra argument `step`, so schedules are functions of the round.
    """
    params, opt, ema, metrics = dict(state.params), dict(state.opt), dict(state.ema), {}
    for n, grad in grads.items():
        player = game.players[n]
        with jax.named_scope(f"update/{n}"):
            updates, opt[n] = _optimizer_step(n, player.optimizer, grad, opt[n], params[n], state.step)
            params[n] = optax.apply_updates(params[n], updates)
            metrics[f"grad/{n}"] = optax.tree.norm(grad)
            if player.ema:
                ema[n] = _average(ema[n], (params[n], state.memory[n]), player.ema(state.step))
        rates = optax.tree.get_all_with_path(opt[n], "learning_rate")
        metrics |= {f"lr/{n}": rate for _, rate in rates} if len(rates) == 1 else {}
    return state.replace(params=params, opt=opt, ema=ema), metrics


def _optimizer_step(name, optimizer, grad, opt, params, step):
    try:
        return optimizer.update(grad, opt, params, step=step)
    except TypeError as error:
        if "keyword-only argument" not in str(error):
            raise
        raise UserError(
            f"The optimizer of player {name!r} needs the value of the loss at each update, which a game with several "
            f"losses does not provide ({error}): use another, such as optimizers.adam."
        ) from None


def _average(old, new, decay):
    mix = lambda a, b: (b + decay * (a - b)).astype(b.dtype) if jnp.issubdtype(b.dtype, jnp.inexact) else b
    return jax.tree.map(mix, old, new)


def move_inputs(game: Game, key: Tree, step: Tree, batch: Tree) -> list[tuple[Move, Tree, Tree]]:
    """[(move, batch [B, …], key), …] of round `step`, from its batch [slices, B, …] and the key of the training.

    A move has slice i and the key fold_in(fold_in(key, step), j), where i and j count the new batches and new keys.
    """
    sizes = {len(leaf) for leaf in jax.tree.leaves(batch)}
    if sizes != {game.slices}:
        raise UserError(f"A round of this game has {game.slices} slices, the batch {sizes}: give [slices, B, …].")
    inputs, i, j, start = [], -1, -1, jax.random.fold_in(key, step)
    for m in game.moves:
        i, j = i + ("batch" not in m.again), j + ("key" not in m.again)
        inputs.append((m, jax.tree.map(lambda x, i=i: x[i], batch), jax.random.fold_in(start, j)))
    return inputs


def along(gradient: Callable) -> Rule:
    """The rule that plays the moves in order, each an optimizer step along a function such as `gradient`."""

    def round(game, state, batch):
        metrics = {}
        for m, own, key in move_inputs(game, state.key, state.step, batch):
            grads, after, found = mean_gradient(game, state, m.losses, own, key, gradient)
            after, stepped = update(game, after, grads)
            metrics |= found | stepped
            if m.when:
                after, share = _unless_skipped(game, m, m.when(metrics), after, state)
                metrics |= share
            state = after
        return state, metrics

    return Rule(lambda game, state: (), round)


in_order = along(gradient)


def rule_of(game: Game) -> Rule:
    """The game's rule, by default `in_order`."""
    return game.rule or in_order


def _unless_skipped(game, m, go, after, before):
    """`after` if the move counts, otherwise `before`, with the share of skipped moves as a metric.

    A select and not a `cond`: XLA on CPU compiles the gradients of convolutions badly inside one.
    """
    name, skipped = m.label, before.memory["skipped"]
    kept = {f: getattr(before, f) for f in ("params", "opt", "ema", "memory")}
    choose = lambda a, b: jnp.where(go, a, b)
    after = after.replace(**{f: jax.tree.map(choose, getattr(after, f), old) for f, old in kept.items()})
    skipped = skipped | {name: skipped[name] + jnp.logical_not(go)}
    alike = sum(other.when is not None and other.label == name for other in game.moves)
    share = {f"skipped/{name}": skipped[name] / (alike * (before.step + 1.0))}
    return after.replace(memory=after.memory | {"skipped": skipped}), share


def step(game: Game, state: State, batch: Tree) -> tuple[State, dict]:
    """(state, metrics) after one round on `batch` [slices, B, …]: losses, gradients and updates of all players."""
    state, metrics = rule_of(game).round(game, state, batch)
    return state.replace(step=state.step + 1), metrics


def net(game: Game, state: State, name: str, *, average: bool = True) -> Net:
    """The network of player `name` in evaluation mode, with averaged weights and memory where there are any.

    average: False for the current weights.
    """
    averaged = average and name in state.ema
    params, memory = state.ema[name] if averaged else (state.params[name], state.memory[name])
    memory = dict(memory)
    if reparam := game.players[name].reparam:
        raw, vectors = params, memory.pop("reparam")
        more = SAMPLE_POWER_STEPS - 1 if averaged else 0
        vectors = jax.lax.fori_loop(0, more, lambda _, vectors: reparam(raw, vectors)[1], vectors)
        params, _ = reparam(raw, vectors)
    return Net(name, game.players[name].net, params, memory, train=False)
