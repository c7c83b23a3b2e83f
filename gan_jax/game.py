"""A GAN is a game: named players, named losses, an order of moves.

    v(θ) = (∂L_G/∂θ_G, ∂L_D/∂θ_D, …)

Two pure functions of `gan_jax.engine` run any game, `init` and `step`. Everything that changes is in `State`, a pytree
of arrays; everything that does not is in `Game`. So a training can be jitted, sharded, saved, resumed, forked, mapped
over seeds or hyper-parameters, and differentiated, with one code path.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import optax
from flax import struct

from gan_jax.errors import UserError
from gan_jax.net import Module, Nets

Tree = Any  # a pytree of arrays; fields of State stay unchecked, for JAX also fills them with shapes and None

RESERVED = {"game", "rule", "skipped"}  # entries of State.memory that belong to no player


class Loss(struct.PyTreeNode):
    """One loss of a play, with what is reported and remembered only if a player descends it."""

    value: Tree  # []
    metrics: dict[str, Tree] = field(default_factory=dict)  # scalars
    memory: dict[str, Tree] = field(default_factory=dict)  # new memory by player, or "game"


@dataclass(frozen=True)
class Move:
    """Players who step at once, each on the loss named: {"D": "D"}, or {"G": "path_length"}.

    again: "batch" and "key" are drawn anew for each move, unless named here: then they are those of the move before.
    when: (metrics of the round so far) -> bool: does the move count? If not, nothing changes.
    """

    losses: Mapping[str, str]
    again: tuple[str, ...] = ()
    when: Callable[[dict], Any] | None = None

    def __post_init__(self):
        if unknown := [word for word in self.again if word not in ("batch", "key")]:
            raise UserError(f'again names {unknown[0]!r}: a move can use "batch" and "key" of the move before again.')
        if not self.losses:
            raise UserError('A move needs a player: give move("D"), or Move({"G": "path_length"}).')

    @property
    def label(self) -> str:
        """The movers' names, by which a conditional move counts how often it was skipped."""
        return "+".join(self.losses)


def move(*players: str, again: tuple[str, ...] = (), when: Callable[[dict], Any] | None = None) -> Move:
    """A move in which each player named steps on the loss of its own name.

    >>> move("D", "G").losses
    {'D': 'D', 'G': 'G'}
    """
    return Move({name: name for name in players}, again, when)


@dataclass(frozen=True)
class Player:
    """A network, how it learns, and what happens to its weights before each use.

    net: a flax.linen.Module. optimizer: an optax.GradientTransformation, which gets the round as extra argument `step`.
    ema: step -> decay of the average of weights and memory, updated when the player moves. None keeps no average.
    reparam: (weights, memory) -> (used weights, memory), where the first memory is None.
    """

    net: Any
    optimizer: Any
    ema: Callable[[Any], Any] | None = None
    reparam: Callable[[Tree, Tree], tuple[Tree, Tree]] | None = None

    def __post_init__(self):
        if not isinstance(self.net, Module):
            what = f"the class {self.net.__name__}" if isinstance(self.net, type) else f"a {type(self.net).__name__}"
            how = f"{self.net.__name__}()" if isinstance(self.net, type) else "an instance of a flax.linen.Module"
            raise UserError(f"A player's network is {what}: give {how}.")
        if not isinstance(self.optimizer, optax.GradientTransformation):
            raise UserError(
                f"A player's optimizer is {self.optimizer!r:.40}: give an optax optimizer, as optimizers.adam(2e-4)."
            )
        object.__setattr__(self, "optimizer", optax.with_extra_args_support(self.optimizer))


class Rule(NamedTuple):
    """How a round is played: by default the moves in order (engine.in_order); others are in gan_jax.rules."""

    init: Callable[["Game", "State"], Tree]  # what it remembers, kept in State.memory["rule"]
    round: Callable[["Game", "State", Tree], tuple["State", dict]]


@jax.tree_util.register_static  # a program takes it as an argument that has no arrays
@dataclass(frozen=True, eq=False)
class Game:
    """Players, their losses, the order of moves. A Game equals only itself: one Game, one executable.

    play: (nets, batch, key, step) -> {name: Loss}, the only description of who is fed what. A loss named like its
        player is that player's; others are extra losses of it. `nets.memory` is what the game remembers.
    memory: what the game itself remembers at step 0; where two losses of a move update it, a dict merged by key.
    rule: how a round is played; None: the moves in order.
    parts: micro-batches whose gradients a move averages: part i is rows i::parts.
    sample: (nets, key, n, **given) -> {"x": [n, …], "y": …} with the networks in evaluation mode. Values of `given`
        are traced: scalars, or arrays with a row for each sample.
    translations: {domain: (nets, x, key) -> x in that domain}, with the networks in evaluation mode.
    check: data -> None, which raises a UserError for data that the game cannot be trained on.
    batch: rows of each slice of a round, if not the training's; a schedule of Games may change it.
    sets: which of the training's sets a round reads; None: all of them. A schedule of Games may change it.
    """

    players: Mapping[str, Player]
    play: Callable[[Nets, Tree, Tree, Tree], dict[str, Loss]]
    moves: tuple[Move, ...]
    memory: Tree = ()
    parts: int = 1
    rule: Rule | None = None
    sample: Callable[..., Tree] | None = None
    translations: Mapping[str, Callable[[Nets, Tree, Tree], Tree]] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], None] = lambda data: None
    batch: int | None = None
    sets: tuple[str, ...] | None = None

    def __post_init__(self):
        _check_moves(self)

    @property
    def slices(self) -> int:
        """How many batches a round reads: one for each move that draws its own."""
        return sum("batch" not in m.again for m in self.moves)

    # What a Population has too, so that nobody asks which of the two it is.

    axis = 0  # leading axes of members in the State's leaves: 1 of a population
    numbers = ()  # what a program is handed that tells members apart

    @property
    def owner(self) -> "Game":
        """What compiled programs live as long as."""
        return self

    def with_numbers(self, numbers: Tree) -> "Game":
        return self

    def data_seeds(self, seed: int) -> tuple[int, ...]:
        """Seeds that determine the data order, one per member."""
        return (seed,)

    def keys(self, seed: int) -> Tree:
        """The key of `init`, of a population one per member."""
        return jax.random.key(seed)

    def each(self, f: Callable, *trees: Tree, shared: tuple = ()) -> Tree:
        """f(Game, *trees, *shared), of a population that of every member over the leading axis of `trees`."""
        return f(self, *trees, *shared)

    def stack(self, members: Sequence[Tree]) -> Tree:
        """The only member's tree of NumPy arrays as it is, of a population the members' along a leading axis."""
        (only,) = members
        return only

    def unstack(self, tree: Tree) -> list[Tree]:
        """A list of each member's part of a tree of NumPy arrays: the inverse of `stack`."""
        return [tree]

    def member(self, i: int) -> "Game":
        raise UserError(f"This is one training, which has no member {i}: leave the member out.")

    def about(self, i: int) -> dict[str, float]:
        """A member's own numbers."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What config.json says of a population's members, {} of a Game."""
        return {}


def _check_moves(game):
    """UserError for what cannot be played, before anything is traced."""
    names = ", ".join(game.players)
    if reserved := RESERVED.intersection(game.players):
        raise UserError(f"A player is named {min(reserved)!r}, which State.memory needs: give it another name.")
    if not game.moves:
        raise UserError('The game has no moves: give moves=(move("D"), move("G")), say.')
    if game.moves[0].again:
        raise UserError("The first move of a round has no move before it whose batch or key it could use again.")
    for m in game.moves:
        for n in m.losses:
            if n not in game.players:
                raise UserError(f"A move names player {n!r}; the players are {names}.")
    if still := [n for n in game.players if not any(n in m.losses for m in game.moves)]:
        raise UserError(f"Player {still[0]!r} never moves: give it a move, or leave it out of `players`.")
    for name, count in {"parts": game.parts, "batch": game.batch}.items():
        if count is not None and (not isinstance(count, int) or count < 1):
            raise UserError(f"{name} of the game is {count!r}: it must be a whole number, 1 or more.")


class State(struct.PyTreeNode):
    """Everything that changes, and nothing else. The key never changes: round t draws from fold_in(key, t)."""

    step: Tree  # int32 [], rounds played
    key: Tree
    params: dict[str, Tree]  # by player
    opt: dict[str, Tree]  # by player
    ema: dict[str, Tree]  # (params, memory) by player that keeps an average
    memory: dict[str, Tree]  # by player; "game", "rule", and "skipped": by conditional move, how often it did not count
