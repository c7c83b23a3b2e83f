"""Many trainings as one program: seeds, and every number of a Config that enters the computation.

Member i is the Game of the Config with the i-th numbers, initialised from the i-th seed, with that seed's data order.
A `Population` has the methods of a `Game`; its State has a leading axis of members in every leaf. The numbers are
traced, so members share one executable, and no member sees another.

    many = population.of(game, config, seeds=range(10), sweep={"lr": [1e-4, 2e-4]})    # 20 members
    run = gan_jax.train(many, data, steps=2000)

Members run by `vmap` on accelerators and by `lax.map` on CPUs, where `lax.map` was never slower than a program for
each member; `vmap` was with convolutions, which it groups, and with 64 members, which leave the cache
(experiments/results/population_cpu.json). Members are spread over the mesh axis "members" of the program they are in.
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
    """`make` turns one member's {field: number} into its Game; `numbers` holds {field: [n]}, `seeds` n of them.

    Like a Game it equals only itself; inside a program its numbers are traced. Its methods are those of a Game.
    """

    make: Callable[[Mapping[str, Any]], Game]
    seeds: tuple[int, ...]
    numbers: dict[str, Any]

    axis = 1

    def __len__(self) -> int:
        return len(self.seeds)

    @cached_property
    def _first(self) -> Game:
        """A member, for what all members have in common."""
        return self.make(self.about(0))

    slices = property(lambda self: self._first.slices)
    batch = property(lambda self: self._first.batch)
    sets = property(lambda self: self._first.sets)
    check = property(lambda self: self._first.check)
    sample = property(lambda self: self._first.sample)
    translations = property(lambda self: self._first.translations)  # of use for their names only

    @property
    def owner(self) -> Callable:
        return self.make

    def with_numbers(self, numbers: dict[str, Any]) -> "Population":
        return replace(self, numbers=numbers)

    def data_seeds(self, seed: int) -> tuple[int, ...]:
        return self.seeds

    def keys(self, seed: int) -> Tree:
        return jax.vmap(jax.random.key)(np.array(self.seeds, np.uint32))

    def each(self, f: Callable, *trees: Tree, shared: tuple = ()) -> Tree:
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
        return jax.tree.map(lambda *x: np.stack(x), *members)

    def unstack(self, tree: Tree) -> list[Tree]:
        return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(len(self))]

    def member(self, i: int) -> Game:
        """The Game of member i alone. UserError if there is none."""
        if not 0 <= i < len(self):
            raise UserError(f"There is no member {i}: they are 0 to {len(self) - 1}.")
        return self.make(self.about(i))

    def about(self, i: int) -> dict[str, float]:
        """Member i's own numbers, as they were given: 0.01, not its float32 0.0099999998."""
        return {field: values[i] for field, values in self._as_given().items()}

    def describe(self) -> dict[str, Any]:
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
    """The schedule of a population: every combination of the swept values, times every seed.

    Args:
        make: Config -> Game, or a schedule of Games whose changes depend on no swept number.
        config: a frozen dataclass, whose other fields all members share.
        seeds: of initialisation, noise and data order.
        sweep: {field of the Config: its values}.

    Raises:
        UserError: for a field that the Config has not, or that is no number.
    """
    sweep = dict(sweep or {})
    for field, values in sweep.items():
        if not hasattr(config, field):
            raise UserError(f"There is no field {field!r} to sweep: the Config has {', '.join(vars(config))}.")
        if not values or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            raise UserError(f"{field} cannot be swept over {list(values)}: give numbers, one or more.")
    rows = [(*values, seed) for values in itertools.product(*sweep.values()) for seed in seeds]
    if not rows:
        raise UserError("A population needs a seed at least.")
    if bad := [seed for *_, seed in rows if not 0 <= seed < 2**32]:
        raise UserError(f"seed is {bad[0]}: it must be from 0 to {2**32 - 1}, or it would be cut to that.")
    *columns, chosen = zip(*rows, strict=True)
    return members(make, config, chosen, dict(zip(sweep, columns, strict=True)))


def members(
    make: Callable[[Any], Game | Schedule], config: Any, seeds: Sequence[int], numbers: Mapping[str, Sequence[float]]
) -> Callable[[int], Population]:
    """The same from each member's own seed and numbers {field: [n]}."""
    alone = make(replace(config, **{field: values[0] for field, values in numbers.items()}))
    # Weakly typed, like the plain numbers that they stand for: they take the dtype of what they meet.
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
    """Whether the field cannot be traced, because the shape of the computation depends on it.

    Args:
        batch: Game -> a round's batch [slices, B, …], or its shapes.

    Raises:
        UserError: the number enters no computation at all, so its members would be one and the same.
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
    except TypeError:  # JAX's errors for a tracer that is asked for its value are of this kind
        return True
    if not any(program.invars[0] is used for equation in program.eqns for used in equation.invars):
        raise UserError(f"{field} enters no computation of the game: every value of it would train the same.")
    return False


def one_after_another() -> bool:
    """Whether a device runs its members in turn, not side by side."""
    return jax.default_backend() == "cpu"


def select(games: Population, state: State, rows: Sequence[int]) -> tuple[Population, State]:
    """The members named, in that order, with their State."""
    if not rows or min(rows) < 0 or max(rows) >= len(games):
        raise UserError(f"Members are 0 to {len(games) - 1}: {list(rows)} names none, or others.")
    take = lambda tree: jax.tree.map(lambda x: x[np.array(rows)], tree)
    return replace(games, seeds=tuple(games.seeds[i] for i in rows), numbers=take(games.numbers)), take(state)


def halve(games: Population, state: State, scores: Sequence[float], keep: float = 0.5) -> tuple[Population, State]:
    """The best share of the members, the best first; lower scores are better, and one that is not finite is worst.

    A rung of successive halving. Jamieson & Talwalkar 2016.
    """
    order = _ranked(games, scores)
    return select(games, state, order[: max(1, round(keep * len(order)))])


def exploit_and_explore(
    key: Tree, games: Population, state: State, scores: Sequence[float], share: float = 0.2, factor: float = 1.2
) -> tuple[Population, State]:
    """A step of population-based training: each of the worst `share` copies the State and numbers of one of the best,
    and each copied number is multiplied or divided by `factor`; key and data order stay its own. Jaderberg et al. 2017.

    Lower scores are better. UserError without numbers to explore.
    """
    if not games.numbers:
        raise UserError("These members differ by their seeds alone: there are no numbers to explore.")
    order, count = _ranked(games, scores), max(1, round(share * len(games)))
    if 2 * count > len(order):
        raise UserError(f"{share:.0%} of {len(order)} members cannot both lose and win: share at most a half.")
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
    """Members, best first."""
    scores = np.asarray(scores, float)
    if scores.shape != (len(games),):
        raise UserError(f"There are {len(games)} members and scores of shape {scores.shape}: give one for each.")
    return [int(i) for i in np.argsort(np.where(np.isfinite(scores), scores, np.inf), kind="stable")]
