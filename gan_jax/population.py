"""Many trainings as one program: over seeds, and over hyper-parameters that do not change the computation's structure.

Member i is the Game of the Config with the i-th hyper-parameters, initialised from the i-th seed and with that seed's
data order. A `Population` has the methods of a `Game`; every leaf of its State has a leading axis of members. The
hyper-parameters are traced, so that all members share one executable. Members do not interact::

    many = population.of(game, Config(), seeds=range(10), sweep={"lr": [1e-4, 2e-4]})    # 20 members
    run = gan_jax.train(many, data, steps=2000)

Members are mapped by `vmap` on accelerators and by `lax.map` on CPUs, where `lax.map` was never slower than one program
per member; `vmap` was slower with convolutions, which it turns into grouped ones, and with 64 members, which do not fit
the cache (experiments/results/population_cpu.json). Members are sharded over the mesh axis "members".
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec, get_abstract_mesh

from gan_jax.engine import init, step
from gan_jax.errors import UserError
from gan_jax.game import Game, State

Tree = Any  # a pytree of arrays
Schedule = Callable[[int], Game]


@dataclass(frozen=True, eq=False)
class Population:
    """n trainings of one kind, with the methods of a Game. Like Games, populations are compared by identity.

    Attributes:
        make: {field: value} of one member -> its Game.
        seeds: n seeds.
        numbers: Hyper-parameters {field: [n]}; traced inside a program.

    >>> Population(lambda numbers: None, seeds=(0, 1), numbers={"lr": np.array([0.1, 0.2])}).about(1)
    {'lr': 0.2}
    """

    make: Callable[[Mapping[str, Any]], Game]
    seeds: tuple[int, ...]
    numbers: dict[str, Any]

    axis = 1

    def __len__(self) -> int:
        return len(self.seeds)

    @cached_property
    def _first(self) -> Game:
        """The Game of member 0, for everything that all members have in common."""
        return self.make(self.about(0))

    slices = property(lambda self: self._first.slices)
    batch = property(lambda self: self._first.batch)
    sets = property(lambda self: self._first.sets)
    check = property(lambda self: self._first.check)
    sample = property(lambda self: self._first.sample)
    translations = property(lambda self: self._first.translations)  # only their names are meaningful

    @property
    def owner(self) -> Callable:
        """The object whose lifetime bounds that of the compiled programs: `make`."""
        return self.make

    def with_numbers(self, numbers: dict[str, Any]) -> "Population":
        """The population with other, for instance traced, hyper-parameters."""
        return replace(self, numbers=numbers)

    def data_seeds(self, seed: int) -> tuple[int, ...]:
        """Seeds that determine the data order, one per member; `seed` is ignored."""
        return self.seeds

    def keys(self, seed: int) -> Tree:
        """Keys of the initialisation [members]; `seed` is ignored."""
        return jax.vmap(jax.random.key)(np.array(self.seeds, np.uint32))

    def each(self, f: Callable, *trees: Tree, shared: tuple = ()) -> Tree:
        """``f(game, *trees, *shared)`` mapped over the members, i.e. over the leading axis of `trees`."""

        def over(rows, shared):
            one = lambda row: f(self.make(row[0]), *row[1], *shared)
            return lax.map(one, rows) if one_after_another() else jax.vmap(one)(rows)

        mesh, members, same = get_abstract_mesh(), PartitionSpec("members"), PartitionSpec()
        if mesh.shape.get("members", 1) > 1:
            over = jax.shard_map(
                over, in_specs=(members, same), out_specs=members, axis_names={"members"}, check_vma=False
            )
        return over((self.numbers, trees), shared)

    def stack(self, members: Sequence[Tree]) -> Tree:
        """The members' trees of NumPy arrays stacked along a leading axis."""
        return jax.tree.map(lambda *x: np.stack(x), *members)

    def unstack(self, tree: Tree) -> list[Tree]:
        """The members' trees of NumPy arrays as a list: the inverse of `stack`."""
        return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(len(self))]

    def member(self, i: int) -> Game:
        """The Game of member i. Raises UserError if there is none."""
        if not 0 <= i < len(self):
            raise UserError(f"There is no member {i}: members are 0 to {len(self) - 1}.")
        return self.make(self.about(i))

    def about(self, i: int) -> dict[str, float]:
        """Hyper-parameters of member i in the decimals given: 0.01, not its float32 value 0.0099999998."""
        return {field: values[i] for field, values in self._as_given().items()}

    def describe(self) -> dict[str, Any]:
        """The seeds and hyper-parameters, as config.json records them."""
        return {"seeds": list(self.seeds), "numbers": self._as_given()}

    def _as_given(self):
        return {field: [float(str(v)) for v in np.asarray(values)] for field, values in self.numbers.items()}


Games = Game | Population


def of(
    make: Callable[[Any], Game | Schedule],
    config: Any,
    seeds: Iterable[int] = (0,),
    sweep: Mapping[str, Sequence[Any]] | None = None,
) -> Callable[[int], Population]:
    """A population with one member for every combination of the swept values and every seed, as a schedule.

    Args:
        make: Config -> Game, or -> schedule of Games whose changes do not depend on a swept field.
        config: A frozen dataclass; its other fields are common to all members.
        seeds: Seeds of initialisation, noise and data order.
        sweep: {field of the Config: its values}.

    Raises:
        UserError: A swept field does not exist or has a value that is not a number, or a seed is out of range.

    >>> from dataclasses import make_dataclass
    >>> import optax
    >>> from flax import linen as nn
    >>> from gan_jax import Player, gan
    >>> game = lambda c: gan(Player(nn.Dense(2), optax.sgd(c.lr)), Player(nn.Dense(1), optax.sgd(c.lr)), "hinge", 4)
    >>> Config = make_dataclass("Config", [("lr", float, 0.1)])
    >>> many = of(game, Config(), seeds=range(2), sweep={"lr": [0.1, 0.2, 0.3]})(0)
    >>> len(many), many.about(5), many.seeds
    (6, {'lr': 0.3}, (0, 1, 0, 1, 0, 1))
    """
    sweep = dict(sweep or {})
    for field, values in sweep.items():
        if not hasattr(config, field):
            raise UserError(f"There is no field {field!r} to sweep: the Config has {', '.join(vars(config))}.")
        if not values or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            raise UserError(f"{field} cannot be swept over {list(values)}: give numbers, one or more.")
    rows = [(*values, seed) for values in itertools.product(*sweep.values()) for seed in seeds]
    if not rows:
        raise UserError("A population needs at least one seed.")
    if bad := [seed for *_, seed in rows if not 0 <= seed < 2**32]:
        raise UserError(f"seed is {bad[0]}: it must be from 0 to {2**32 - 1}.")
    *columns, chosen = zip(*rows, strict=True)
    return members(make, config, chosen, dict(zip(sweep, columns, strict=True)))


def members(
    make: Callable[[Any], Game | Schedule], config: Any, seeds: Sequence[int], numbers: Mapping[str, Sequence[float]]
) -> Callable[[int], Population]:
    """A population as a schedule, from the seed and the hyper-parameters {field: [n]} of each member."""
    alone = make(replace(config, **{field: values[0] for field, values in numbers.items()}))
    # Weakly typed, like Python numbers, so that they do not promote the dtype of what they multiply.
    traced = {field: jnp.stack([jnp.asarray(float(v)) for v in values]) for field, values in numbers.items()}

    def at(t):
        def one(own):
            game = make(replace(config, **own))
            return game if isinstance(game, Game) else game(t)

        return Population(one, tuple(seeds), traced)

    if isinstance(alone, Game):
        always = at(0)
        return lambda t: always
    phases: dict[int, Population] = {}  # one for each Game that the schedule of a single training returns
    return lambda t: phases.setdefault(id(alone(t)), at(t))


def decides_structure(make: Callable, config: Any, field: str, batch: Callable[[Game], Tree]) -> bool:
    """Whether a field of the Config cannot be traced, because the structure of the computation depends on it.

    `make` is that of `of`; `batch` maps a Game to a round's batch [slices, B, …], or its shapes.

    Raises:
        UserError: No computation depends on the field, so that all members would be identical.

    >>> from dataclasses import make_dataclass
    >>> Config = make_dataclass("Config", [("width", int, 64)])
    >>> decides_structure(lambda c: ..., Config(), "width", batch=lambda game: ...)
    True
    """
    value, kind = getattr(config, field), get_type_hints(type(config))[field]
    if kind is not float or value is None:
        return True
    alone = make(config)
    shapes = batch(alone if isinstance(alone, Game) else alone(0))

    def round(number, key, batch):
        game = make(replace(config, **{field: number}))
        game = game if isinstance(game, Game) else game(0)
        return step(game, init(game, key, batch), batch)

    try:
        program = jax.make_jaxpr(round)(float(value), jax.random.key(0), shapes).jaxpr
    except TypeError:  # JAX's concretization errors are TypeErrors
        return True
    if not any(program.invars[0] is used for equation in program.eqns for used in equation.invars):
        raise UserError(f"No computation of the game depends on {field}: all its values would give the same training.")
    return False


def one_after_another() -> bool:
    """Whether a device computes its members sequentially (`lax.map`) instead of in parallel (`vmap`).

    >>> one_after_another() == (jax.default_backend() == "cpu")
    True
    """
    return jax.default_backend() == "cpu"


def select(games: Population, state: State, rows: Sequence[int]) -> tuple[Population, State]:
    """The subpopulation of the given members, in that order, and its State.

    Raises:
        UserError: `rows` is empty or names a member that does not exist.

    >>> three = Population(lambda numbers: None, seeds=(5, 6, 7), numbers={})
    >>> select(three, State(jnp.arange(3), None, {}, {}, {}, {}), [2, 0])[1].step.tolist()
    [2, 0]
    """
    if not rows or min(rows) < 0 or max(rows) >= len(games):
        raise UserError(f"Members are 0 to {len(games) - 1}: {list(rows)} is empty or names others.")
    take = lambda tree: jax.tree.map(lambda x: x[np.array(rows)], tree)
    return replace(games, seeds=tuple(games.seeds[i] for i in rows), numbers=take(games.numbers)), take(state)


def halve(games: Population, state: State, scores: Sequence[float], keep: float = 0.5) -> tuple[Population, State]:
    """The best members and their State, best first: one rung of successive halving. Jamieson & Talwalkar 2016.

    Args:
        games: A population.
        state: Its State.
        scores: One per member, lower is better; a score that is not finite is the worst.
        keep: The share of members to keep.

    >>> three = Population(lambda numbers: None, seeds=(5, 6, 7), numbers={})
    >>> halve(three, State(jnp.arange(3), None, {}, {}, {}, {}), scores=[0.3, 0.1, 0.2])[0].seeds
    (6, 7)
    """
    order = _ranked(games, scores)
    return select(games, state, order[: max(1, round(keep * len(order)))])


def exploit_and_explore(
    key: Tree, games: Population, state: State, scores: Sequence[float], share: float = 0.2, factor: float = 1.2
) -> tuple[Population, State]:
    """One exploit-and-explore step of population-based training. Jaderberg et al. 2017.

    Each of the worst members copies the weights and hyper-parameters of a random one of the best, and every copied
    hyper-parameter is multiplied or divided by `factor` at random. A member keeps its own key and data order.

    Args:
        key: A PRNG key for the random choices.
        games: A population with hyper-parameters.
        state: Its State.
        scores: One per member, lower is better; a score that is not finite is the worst.
        share: The share of members that are replaced, at most 1/2.
        factor: The factor of the perturbation.

    Raises:
        UserError: The population has no hyper-parameters, or `share` is too large.

    >>> four = Population(lambda numbers: None, seeds=(0, 1, 2, 3), numbers={"lr": jnp.ones(4)})
    >>> state = State(jnp.zeros(4), jnp.arange(4), {"G": jnp.arange(4)}, {}, {}, {})
    >>> exploit_and_explore(jax.random.key(0), four, state, scores=[0.3, 0.1, 0.2, 0.9])[1].params["G"].tolist()
    [0, 1, 2, 1]
    """
    if not games.numbers:
        raise UserError("These members differ only by their seeds: there are no hyper-parameters to explore.")
    order, count = _ranked(games, scores), max(1, round(share * len(games)))
    if 2 * count > len(order):
        raise UserError(f"share {share:g} of {len(order)} members would replace some of the best: give at most 0.5.")
    pick, *coins = jax.random.split(key, 1 + len(games.numbers))
    rows = list(range(len(order)))
    for loser, winner in zip(order[-count:], jax.random.randint(pick, (count,), 0, count).tolist(), strict=True):
        rows[loser] = order[winner]
    moved = np.array(rows) != np.arange(len(order))
    parents, copied = select(games, state, rows)
    changed = {}
    for coin, (field, values) in zip(coins, sorted(parents.numbers.items()), strict=True):
        change = jnp.where(jax.random.bernoulli(coin, shape=moved.shape), factor, 1 / factor)
        changed[field] = jnp.where(moved, values * change, values)
    return replace(games, numbers=changed), copied.replace(key=state.key)


def _ranked(games, scores):
    """Indices of the members, best first."""
    scores = np.asarray(scores, float)
    if scores.shape != (len(games),):
        raise UserError(f"There are {len(games)} members and scores of shape {scores.shape}: give one per member.")
    return [int(i) for i in np.argsort(np.where(np.isfinite(scores), scores, np.inf), kind="stable")]
