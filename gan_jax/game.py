"""A GAN is a game: named players, named losses, an order of moves.

    v(θ) = (∂L_G/∂θ_G, ∂L_D/∂θ_D, …)

Two pure functions run any of them, `init` and `step`. Everything that changes is in `State`, a pytree of arrays;
everything that does not is in `Game`. So a training can be jitted, sharded, saved, resumed, forked, `vmap`ped
over seeds or hyper-parameters, and differentiated, with one code path.

A move takes one `jax.vjp` of `play` with respect to its movers and pulls each loss back to its own mover. What is
off the diagonal of the game's Jacobian, and what nobody descends, is dead code that XLA deletes: no loss needs a
`stop_gradient` between players. Players who share a loss, as {"G": "both", "F": "both"}, share its pull-back.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from flax.errors import InvalidRngError
from jax.extend.core import get_opaque_trace_state

from gan_jax.errors import UserError
from gan_jax.parallel import rows

Tree = Any  # a pytree of arrays; fields of State stay unchecked, for JAX also fills them with shapes and None


class Turn(struct.PyTreeNode):
    """One loss of a play, with what is reported and what is remembered only when someone descends it."""

    loss: Tree  # []
    metrics: dict[str, Tree] = field(default_factory=dict)  # scalars
    memory: dict[str, Tree] = field(default_factory=dict)  # new memory by player, or "game"


@dataclass(frozen=True)
class Move:
    """Players who step at once, each on the loss of that name: {"D": "D"}, or {"G": "path_length"}.

    again: "batch" and "key" are drawn anew for each move, unless named here: then they are those of the move before.
    when: (metrics of the round so far) -> does the move count? If not, nothing changes.
    """

    losses: Mapping[str, str]
    again: tuple[str, ...] = ()
    when: Callable[[dict], Any] | None = None


def move(*players: str, again: tuple[str, ...] = (), when: Callable[[dict], Any] | None = None) -> Move:
    """Each player steps on the loss of its own name."""
    return Move({name: name for name in players}, again, when)


@dataclass(frozen=True)
class Player:
    """A network, how it learns, and what happens to its weights before each use."""

    net: nn.Module
    optimizer: optax.GradientTransformation
    ema: Callable[[Any], Any] | None = None  # step -> decay; averages weights and memory when the player moves
    reparam: Callable[[Tree, Tree], tuple[Tree, Tree]] | None = None  # weights, memory (at first None) -> both


class Rule(NamedTuple):
    """How a round is played: by default the moves in order; extragradient, unrolled and others are rules too."""

    init: Callable[["Game", "State"], Tree]  # what it remembers, kept in State.memory["rule"]
    round: Callable[["Game", "State", Tree], tuple["State", dict]]


@jax.tree_util.register_static  # a program takes it as an argument that has no arrays
@dataclass(frozen=True, eq=False)
class Game:
    """Players, their losses, the order of moves. A Game equals only itself: one Game, one executable.

    play: (nets, batch, key, step) -> {name: Turn}, the only description of who is fed what. A loss named like its
    player is that player's; others are extra losses of it. `nets.memory` is what the game remembers.
    sample: (nets, key, n, **options) -> n samples, with the networks in evaluation mode.
    translations: {domain: (nets, x, key) -> x as it would be there}, with the networks in evaluation mode.
    """

    players: Mapping[str, Player]
    play: Callable[["Nets", Tree, Tree, Tree], dict[str, Turn]]
    moves: tuple[Move, ...]
    memory: Tree = ()  # what the game itself remembers, at step 0
    parts: int = 1  # micro-batches whose gradients a move averages: part i is rows i::parts
    rule: Rule = field(default_factory=lambda: in_order)
    sample: Callable[..., Tree] | None = None
    translations: Mapping[str, Callable[["Nets", Tree, Tree], Tree]] = field(default_factory=dict)

    @property
    def slices(self) -> int:
        """How many batches a round reads: one for each move that draws its own."""
        return sum("batch" not in move.again for move in self.moves)


class State(struct.PyTreeNode):
    """Everything that changes, and nothing else. The key never changes: round t draws from fold_in(key, t)."""

    step: Tree  # int32 [], rounds played
    key: Tree
    params: dict[str, Tree]  # by player
    opt: dict[str, Tree]  # by player
    ema: dict[str, Tree]  # (params, memory) by player that keeps an average
    memory: dict[str, Tree]  # by player; "game", "rule", and "skipped": by move that waits, how often it did


class Net:
    """A player's network bound to its weights, a pure function; the only place that touches Flax.

    `net(x, key=k)` -> output. `net.mutate(x, key=k)` -> output and new memory (batch statistics); call it again
    from that memory with `memory=`: of two calls from one memory only one can be kept. `key` feeds dropout and
    noise; UserError if the network draws and gets none.
    """

    def __init__(self, name: str, module: nn.Module, params: Tree = None, memory: Tree = None, *, key=None, train=True):
        self.name, self.module, self.key = name, module, key
        self.params, self.memory = params, memory or {}
        # A network that behaves alike in training and evaluation need not take the argument.
        self.mode = {"train": train} if "train" in inspect.signature(module.__call__).parameters else {}
        self.trace = _trace()

    def __call__(self, *args, key=None, **kwargs):
        return self.mutate(*args, key=key, **kwargs)[0]

    def mutate(self, *args, key=None, memory: Tree = None, **kwargs):
        args = [rows(x) for x in args]
        kwargs |= self.mode
        rngs = {} if key is None else {"dropout": key, "noise": jax.random.fold_in(key, 1)}
        if self.params is None:
            self._be_born(args, kwargs, rngs)
        memory = self.memory if memory is None else memory
        try:
            variables: Tree = {"params": self.params} | memory
            with jax.named_scope(self.name):  # in front of Flax's own: replay tells a layer by its player
                return self.module.apply(variables, *args, mutable=list(memory), rngs=rngs, **kwargs)
        except InvalidRngError:
            if key is not None:
                raise
            raise UserError(
                f"Network {self.name!r} draws random numbers but was called without a key: "
                f"call nets[{self.name!r}](…, key=k) with a key that `play` split off its own."
            ) from None

    def _be_born(self, args, kwargs, rngs):
        if _trace() != self.trace:
            raise UserError(
                f"The first call of network {self.name!r} is inside scan, vmap, cond or grad, where its weights "
                "cannot be made: call it once before, outside (the result may go unused)."
            )
        memory = dict(self.module.init({"params": self.key} | rngs, *args, **kwargs))
        self.params, self.memory = memory.pop("params", {}), memory


def _trace():
    return get_opaque_trace_state(convention="flax")


class Nets(dict):
    """{"G": Net, …}, and what the game remembers."""

    memory: Tree = ()


def init(game: Game, key: Tree, batch: Tree) -> State:
    """State at round 0, its shapes found by playing once on `batch` [slices, B, …] with unborn networks."""
    key, *keys = jax.random.split(key, 1 + len(game.players))  # also leaves the caller's key out of donation
    nets = Nets({n: Net(n, p.net, key=k) for k, (n, p) in zip(keys, game.players.items(), strict=True)})
    nets.memory = game.memory
    (_, own, play_key), *_ = deal(game, key, jnp.int32(0), batch)
    turns = game.play(nets, own, play_key, jnp.int32(0))
    _check(game, nets, turns)
    params = {n: net.params for n, net in nets.items()}
    memory = {n: dict(net.memory) for n, net in nets.items()} | {"game": jax.tree.map(jnp.array, game.memory)}
    for n, player in game.players.items():
        if player.reparam:
            memory[n]["reparam"] = player.reparam(params[n], None)[1]
    waiting = {_label(m): jnp.int32(0) for m in game.moves if m.when}
    # An average must start as a copy, or donation would see one buffer twice.
    ema = {n: jax.tree.map(jnp.copy, (params[n], memory[n])) for n, p in game.players.items() if p.ema}
    opt = {n: p.optimizer.init(params[n]) for n, p in game.players.items()}
    state = State(jnp.int32(0), key, params, opt, ema, memory | {"skipped": waiting})
    return state.replace(memory=state.memory | {"rule": game.rule.init(game, state)})


def _check(game, nets, turns):
    for n, net in nets.items():
        if net.params is None:
            raise UserError(f"`play` never called network {n!r}: call it, or leave it out of `players`.")
    for name, turn in turns.items():
        if unknown := set(turn.memory) - set(game.players) - {"game"}:
            raise UserError(f"Loss {name!r} remembers {unknown}: memory is by player ({', '.join(nets)}), or 'game'.")
    for m in game.moves:
        for n, loss in m.losses.items():
            if n not in game.players:
                raise UserError(f"A move names player {n!r}; the players are {', '.join(game.players)}.")
            if loss not in turns:
                raise UserError(f"A move of {n!r} descends loss {loss!r}; `play` returned {', '.join(turns)}.")
            if jnp.shape(turns[loss].loss) != ():
                raise UserError(f"Loss {loss!r} has shape {jnp.shape(turns[loss].loss)}: take its mean or sum.")


def evaluate(game: Game, state: State, params: Mapping[str, Tree], batch: Tree, key: Tree):
    """(turns, memory) of one play on a `batch` [B, …] at the weights `params`; only reparametrisations have advanced
    their memory."""
    nets, memory = _seat(game, params, state.memory)
    return game.play(nets, batch, key, state.step), memory


def own_gradients(play: Callable, losses: Mapping[str, str], params: Mapping[str, Tree]):
    """({n: ∂L_n/∂θ_n}, (turns, memory)) of play: {n: θ_n} -> (turns, memory) at `params`, one pull-back a loss."""

    def values(moving):
        with jax.named_scope("losses"):
            turns, memory = play(moving)
        return {name: turns[name].loss for name in losses.values()}, (turns, memory)

    at_params, pull, played = jax.vjp(values, params, has_aux=True)
    only = lambda name: {other: jnp.full_like(value, other == name) for other, value in at_params.items()}
    pulled = {name: pull(only(name))[0] for name in at_params}
    return {n: pulled[name][n] for n, name in losses.items()}, played


def report(losses: Mapping[str, str], turns: Mapping[str, Turn], memory: Mapping[str, Tree]):
    """(memory, metrics): what the losses descended remember, on top of `memory`, and what they report."""
    memory, metrics = dict(memory), {}
    for name in dict.fromkeys(losses.values()):
        metrics |= {f"loss/{name}": turns[name].loss} | turns[name].metrics
        for n, new in turns[name].memory.items():
            memory[n] = new if n == "game" else memory[n] | new
    return memory, metrics


def gradient(game: Game, state: State, losses: Mapping[str, str], batch: Tree, key: Tree):
    """({n: ∂L_n/∂θ_n}, (memory, metrics)) on a `batch` [B, …]: one forward pass, one pull-back a loss."""
    play = lambda moving: evaluate(game, state, state.params | moving, batch, key)
    grads, played = own_gradients(play, losses, {n: state.params[n] for n in losses})
    return grads, report(losses, *played)


def _seat(game, params, memory):
    """Everyone's network with the weights it is used with, and memory with the reparametrisations' advanced."""
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
    """(gradients, state, metrics): the mean over the parts, and the memory they leave; part i draws from
    fold_in(key, i)."""
    total, sizes = [], {len(x) for x in jax.tree.leaves(batch)}
    if any(size % game.parts for size in sizes):
        raise UserError(f"{game.parts} parts do not divide a batch of {sizes}: choose a batch that they divide.")
    for i in range(game.parts):  # unrolled: XLA on CPU compiles a convolution's gradient badly inside a loop
        part = jax.tree.map(lambda x, i=i: x[i :: game.parts], batch)
        grads, (memory, metrics) = gradient(game, state, losses, part, jax.random.fold_in(key, i))
        state, total = state.replace(memory=memory), [*total, (grads, metrics)]
    grads, metrics = jax.tree.map(lambda x, *more: sum(more, x) / game.parts, *total)
    return grads, state, metrics


def update(game: Game, state: State, grads: Mapping[str, Tree]) -> tuple[State, dict]:
    """All in `grads` {n: gradient} take one optimiser step at once, and their averages follow."""
    params, opt, ema, metrics = dict(state.params), dict(state.opt), dict(state.ema), {}
    for n, grad in grads.items():
        player = game.players[n]
        with jax.named_scope(f"update/{n}"):
            updates, opt[n] = player.optimizer.update(grad, opt[n], params[n])
            params[n] = optax.apply_updates(params[n], updates)
            metrics[f"grad/{n}"] = optax.tree.norm(grad)
            if player.ema:
                ema[n] = _average(ema[n], (params[n], state.memory[n]), player.ema(state.step))
        rates = optax.tree.get_all_with_path(opt[n], "learning_rate")
        metrics |= {f"lr/{n}": rate for _, rate in rates} if len(rates) == 1 else {}
    return state.replace(params=params, opt=opt, ema=ema), metrics


def _average(old, new, decay):
    mix = lambda a, b: (b + decay * (a - b)).astype(b.dtype) if jnp.issubdtype(b.dtype, jnp.inexact) else b
    return jax.tree.map(mix, old, new)


def deal(game: Game, key: Tree, step: Tree, batch: Tree) -> list[tuple[Move, Tree, Tree]]:
    """Each move of round `step` with its batch [B, …] and key: batch i and fold_in(fold_in(key, step), j), where i
    and j count the moves that drew one."""
    if game.moves[0].again:
        raise UserError("The first move of a round has no move before it whose batch or key it could use again.")
    sizes = {len(leaf) for leaf in jax.tree.leaves(batch)}
    if sizes != {game.slices}:
        raise UserError(f"A round of this game reads {game.slices} slices, a batch {sizes} came: give [slices, B, …].")
    hands, i, j, start = [], -1, -1, jax.random.fold_in(key, step)
    for m in game.moves:
        i, j = i + ("batch" not in m.again), j + ("key" not in m.again)
        hands.append((m, jax.tree.map(lambda x, i=i: x[i], batch), jax.random.fold_in(start, j)))
    return hands


def _label(m: Move) -> str:
    return "+".join(m.losses)


def along(gradient: Callable) -> Rule:
    """The moves in order, each a step along `gradient`, a function such as the one of that name here."""

    def round(game, state, batch):
        metrics = {}
        for m, own, key in deal(game, state.key, state.step, batch):
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


def _unless_skipped(game, m, go, after, before):
    """`after` if the move counts, else `before`; a select, not a cond: XLA on CPU compiles a convolution's gradient
    badly inside one."""
    name, skipped = _label(m), before.memory["skipped"]
    kept = {f: getattr(before, f) for f in ("params", "opt", "ema", "memory")}
    choose = lambda a, b: jnp.where(go, a, b)
    after = after.replace(**{f: jax.tree.map(choose, getattr(after, f), old) for f, old in kept.items()})
    skipped = skipped | {name: skipped[name] + jnp.logical_not(go)}
    alike = sum(other.when is not None and _label(other) == name for other in game.moves)
    share = {f"skipped/{name}": skipped[name] / (alike * (before.step + 1.0))}
    return after.replace(memory=after.memory | {"skipped": skipped}), share


def step(game: Game, state: State, batch: Tree) -> tuple[State, dict]:
    """One round on `batch` [slices, B, …]: every player's losses, gradients and updates in one program."""
    state, metrics = game.rule.round(game, state, batch)
    return state.replace(step=state.step + 1), metrics


def net(game: Game, state: State, name: str, *, average: bool = True) -> Net:
    """The named player ready to use, in evaluation mode: with averaged weights and memory if it keeps them."""
    averaged = average and name in state.ema
    params, memory = state.ema[name] if averaged else (state.params[name], state.memory[name])
    memory = dict(memory)
    if reparam := game.players[name].reparam:
        raw, vectors = params, memory.pop("reparam")
        for _ in range(20 if averaged else 1):  # averaged weights have other singular vectors
            params, vectors = reparam(raw, vectors)
    return Net(name, game.players[name].net, params, memory, train=False)


def carry(new: State, old: State, fields: tuple[str, ...] = tuple(State.__dataclass_fields__)) -> State:
    """`new` with the leaves of `old` that have kept their place, shape and dtype, in the fields named."""
    kept = {path: leaf for path, leaf in jax.tree.leaves_with_path(old) if path[0].name in fields}
    fits = lambda path, leaf: path in kept and (kept[path].shape, kept[path].dtype) == (leaf.shape, leaf.dtype)
    return jax.tree.map_with_path(lambda path, leaf: kept[path] if fits(path, leaf) else leaf, new)


def continued(new: State, old: State, *fields: tuple[str, ...]) -> State:
    """`new` with what it shares with `old`, as `carry`; an average that `old` did not keep begins at the weights."""
    state = carry(new, old, *fields)
    begun = {n: jax.tree.map(jnp.copy, (state.params[n], state.memory[n])) for n in state.ema if n not in old.ema}
    return state.replace(ema=state.ema | begun)
