"""A GAN is a game: named players, named losses, an order of moves.

Simultaneous gradient descent follows the vector field v(θ) = (∂L_G/∂θ_G, ∂L_D/∂θ_D, …).

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
    """A scalar loss with its metrics and memory updates, which count only in moves that descend this loss.

    Attributes:
        value: The loss, a scalar.
        metrics: Scalars to log, by name.
        memory: New memory (batch statistics, an image pool …) by player, or of the whole game under "game".

    >>> Loss(0.5, {"D(x)": 0.9}).memory
    {}
    """

    value: Tree
    metrics: dict[str, Tree] = field(default_factory=dict)
    memory: dict[str, Tree] = field(default_factory=dict)


@dataclass(frozen=True)
class Move:
    """A simultaneous update of one or more players, each on the gradient of its loss.

    Attributes:
        losses: {player: name of the loss that it descends}, such as {"D": "D"} or {"G": "path_length"}.
        again: What the move shares with the previous one: "batch" (the same data), "key" (the same noise). Anything
            not named is drawn anew.
        when: Metrics of the round so far -> bool. Where it is false the move is skipped and the State stays as it is.

    Raises:
        UserError: The move has no player, or `again` has an unknown word.

    >>> Move({"G": "path_length"}, again=("batch",)).label
    'G'
    """

    losses: Mapping[str, str]
    again: tuple[str, ...] = ()
    when: Callable[[dict], Any] | None = None

    def __post_init__(self):
        if unknown := [word for word in self.again if word not in ("batch", "key")]:
            raise UserError(f'again names {unknown[0]!r}: a move can share "batch" and "key" of the previous move.')
        if not self.losses:
            raise UserError('A move needs a player: give move("D"), or Move({"G": "path_length"}).')

    @property
    def label(self) -> str:
        """The players' names joined by "+": the key under which State.memory counts skipped moves."""
        return "+".join(self.losses)


def move(*players: str, again: tuple[str, ...] = (), when: Callable[[dict], Any] | None = None) -> Move:
    """A move in which each of the players descends the loss of its own name.

    Args:
        players: Names of the players that are updated simultaneously.
        again: "batch" and "key" are shared with the previous move if named here, otherwise drawn anew.
        when: Metrics of the round so far -> bool; a move for which it is false is skipped.

    >>> move("D", "G").losses
    {'D': 'D', 'G': 'G'}
    """
    return Move({name: name for name in players}, again, when)


@dataclass(frozen=True)
class Player:
    """A network, its optimizer, and optionally an average and a reparametrisation of its weights.

    Attributes:
        net: A flax.linen.Module.
        optimizer: An optax.GradientTransformation. It gets the round as the extra argument `step`.
        ema: Step -> decay of the exponential moving average of weights and memory, updated whenever the player moves.
            None: no average.
        reparam: (weights, memory) -> (weights that the network uses, new memory), such as spectral normalisation; the
            initial memory is None.

    Raises:
        UserError: `net` is not an instance of a Flax module, or `optimizer` is not an optax optimizer.

    >>> from flax import linen as nn
    >>> Player(nn.Dense(1), optax.adam(2e-4), ema=lambda step: 0.999).reparam is None
    True
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
    """How a round is played: by default the moves in order (engine.in_order); see gan_jax.rules for others.

    Attributes:
        init: (game, state) -> the rule's own memory at step 0, stored in State.memory["rule"].
        round: (game, state, batch) -> (state, metrics).
    """

    init: Callable[["Game", "State"], Tree]
    round: Callable[["Game", "State", Tree], tuple["State", dict]]


@jax.tree_util.register_static  # jitted functions take a Game as a static argument
@dataclass(frozen=True, eq=False)
class Game:
    """Players, their losses, and the order of moves in a round.

    Games are compared by identity, so that each has its own compiled programs.

    Attributes:
        players: {name: Player}.
        play: (nets, batch, key, step) -> {name: Loss}: one forward pass that computes every loss of the game. A loss
            named like a player is that player's; others are additional losses. `nets.memory` is the game's memory.
        moves: The moves of a round, in order.
        memory: The game's own memory at step 0, such as an image pool; a dict if several losses update it.
        parts: Number of micro-batches over which a move averages its gradient; part i has the rows i::parts.
        rule: How a round is played; None: the moves in order.
        sample: ``(nets, key, n, **given)`` -> {"x": [n, …], "y": …}, with the networks in evaluation mode. Values of
            `given` are traced: scalars, or arrays with one row per sample.
        translations: {domain: (nets, x, key) -> x translated to that domain}, with the networks in evaluation mode.
        check: Data -> None; raises UserError for data that the game cannot be trained on.
        batch: Batch size, if it differs from the training's; a schedule of Games may change it.
        sets: Names of the data sets that a round reads; None: all of them. A schedule of Games may change them.

    Raises:
        UserError: The moves name an unknown player or leave one out, a player's name is reserved, or a count is not a
            positive integer.
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
        """Number of batches in a round: one for each move that does not reuse the previous one's."""
        return sum("batch" not in m.again for m in self.moves)

    # The methods shared with Population: code above this module works for both.

    axis = 0  # number of leading member axes in the State's leaves: 1 for a population
    numbers = ()  # hyper-parameters by member, which compiled programs take as an argument

    @property
    def owner(self) -> "Game":
        """The object whose lifetime bounds that of the game's compiled programs."""
        return self

    def with_numbers(self, numbers: Tree) -> "Game":
        """The game itself; a population with other (for instance traced) hyper-parameters."""
        return self

    def data_seeds(self, seed: int) -> tuple[int, ...]:
        """Seeds that determine the data order, one per member."""
        return (seed,)

    def keys(self, seed: int) -> Tree:
        """Key of the initialisation; for a population one per member, [members]."""
        return jax.random.key(seed)

    def each(self, f: Callable, *trees: Tree, shared: tuple = ()) -> Tree:
        """``f(game, *trees, *shared)``; for a population mapped over its members and the leading axis of `trees`."""
        return f(self, *trees, *shared)

    def stack(self, members: Sequence[Tree]) -> Tree:
        """A population's trees of NumPy arrays stacked along a leading axis; the only tree of a single game."""
        (only,) = members
        return only

    def unstack(self, tree: Tree) -> list[Tree]:
        """The members' trees of NumPy arrays as a list: the inverse of `stack`."""
        return [tree]

    def member(self, i: int) -> "Game":
        """The Game of member i. Raises UserError: a single game has no members."""
        raise UserError(f"This is a single training and has no member {i}: leave the member out.")

    def about(self, i: int) -> dict[str, float]:
        """Hyper-parameters of member i; {} for a single game."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Entry of config.json about a population's members; {} for a single game."""
        return {}


def _check_moves(game):
    """Raise a UserError for a game that cannot be played, before anything is traced."""
    names = ", ".join(game.players)
    if reserved := RESERVED.intersection(game.players):
        raise UserError(f"A player is named {min(reserved)!r}, a reserved key of State.memory: give it another name.")
    if not game.moves:
        raise UserError('The game has no moves: give moves=(move("D"), move("G")), say.')
    if game.moves[0].again:
        raise UserError("The first move of a round has no previous move to share a batch or key with: leave again out.")
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
    """Everything that changes during training, as a pytree of arrays.

    Attributes:
        step: int32 scalar, the number of rounds played.
        key: The PRNG key, which never changes: round t draws from fold_in(key, t).
        params: Weights by player.
        opt: Optimizer state by player.
        ema: Averaged (weights, memory) by player, for players with an `ema`.
        memory: By player (batch statistics, vectors of the spectral norm …), and under "game", "rule" and "skipped"
            (how often each conditional move was skipped).
    """

    step: Tree
    key: Tree
    params: dict[str, Tree]
    opt: dict[str, Tree]
    ema: dict[str, Tree]
    memory: dict[str, Tree]
