"""A run: a game, its State, and the folder of its files."""

import base64
import contextlib
import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import limits, show
from gan_jax.engine import net
from gan_jax.errors import UserError
from gan_jax.game import State
from gan_jax.net import Nets
from gan_jax.population import Games
from gan_jax.programs import per_game
from gan_jax.training import parallel

CHUNK, TOGETHER = 256, 16  # samples generated, and images translated, in one program
NOTEBOOK = 16  # samples shown in a notebook

Set = dict[str, np.ndarray]  # {"x": [n, …], "y": …}


@dataclass(frozen=True, repr=False)
class Run:
    """A trained game or population, as `train` and `load` return it.

    Attributes:
        game: The Game or Population.
        state: Its State.
        folder: The run's folder; None if it has none.
    """

    game: Games
    state: State
    folder: Path | None = None

    def sample(self, key: Any, n: int, **given: Any) -> Set:
        """n samples from the generator, with averaged weights if there are any.

        Samples depend only on the key, and the first samples do not depend on n: chunk i draws from fold_in(key, i).

        Args:
            key: A PRNG key, or an integer seed.
            n: Number of samples.
            given: Options of the game's sampler: one value for all samples or one for each, such as y=3,
                y=np.arange(10) or truncation=1.5.

        Returns:
            {"x": [n, …]}, with "y" [n] if the game has labels; [members, n, …] for a population. Images are in [-1, 1].

        Raises:
            UserError: The game cannot be sampled, or its sampler does not have such an option or value.
        """
        if n < 0:
            raise UserError(f"n is {n}: the number of samples must be 0 or more.")
        key, given = as_key(key), {name: np.asarray(value) for name, value in given.items()}
        _check_given(self.game, self.state, given, n)
        some = lambda i: {name: _rows(value, i * CHUNK, CHUNK) for name, value in given.items()}
        with on_mesh_of(self.state):
            chunks = []
            for i in range(max(1, -(-n // CHUNK))):
                made = samples(self.game, self.state, jax.random.fold_in(key, i), some(i), n=CHUNK)
                size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(made))
                limits.check(n * size // CHUNK, f"{n:,} samples")
                chunks.append(jax.tree.map(np.asarray, made))
        axis = self.game.axis
        joined = jax.tree.map(lambda *x: np.concatenate(x, axis), *chunks)
        return jax.tree.map(lambda x: np.take(x, np.arange(n), axis), joined)

    def translate(self, x: Any, to: str, key: Any = 0) -> np.ndarray:
        """Images translated to another domain, with averaged weights if there are any.

        Image i depends only on x[i] and fold_in(key, i).

        Args:
            x: Images [n, h, w, c] in [-1, 1]; for a population optionally [members, n, h, w, c].
            to: The target domain, one of `game.translations`.
            key: A PRNG key, or an integer seed.

        Returns:
            Images [n, h, w, c] in [-1, 1]; [members, n, h, w, c] for a population.

        Raises:
            UserError: The game has no such domain, or its network does not accept images of this size.
        """
        known = self.game.translations
        if to not in known:
            where = f"only to {', '.join(known)}" if known else "nor to any other domain"
            raise UserError(f"This game does not translate to {to!r}, {where}.")
        axis, key = self.game.axis, as_key(key)
        x = np.asarray(x, np.float32)
        x = np.broadcast_to(x, (*np.shape(self.state.step), *x.shape[-4:]))
        n = x.shape[axis]
        together = max(1, min(n, TOGETHER))
        blank = np.zeros((*x.shape[:axis], together, *x.shape[axis + 1 :]), np.float32)
        chunks = []
        with on_mesh_of(self.state):
            for start in range(0, max(1, n), together):
                rows = np.arange(start, start + together)
                keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(rows)
                own = np.take(x, rows, axis, mode="clip") if n else blank
                chunks.append(np.asarray(translations(self.game, self.state, own, keys, to=to)))
        return np.take(np.concatenate(chunks, axis), np.arange(n), axis)

    def member(self, i: int) -> "Run":
        """Member i of a population as a single training without a folder. Raises UserError if there is none."""
        game = self.game.member(i)
        return Run(game, jax.device_put(jax.tree.map(lambda x: x[i], self.state), jax.devices()[0]))

    def __repr__(self) -> str:
        steps = np.asarray(self.state.step)
        where = "" if self.folder is None else f" in {self.folder}"
        members = f", {len(steps)} members" if self.game.axis else ""
        sizes = [f"{n} {_size(p, self.game.axis):,}" for n, p in self.state.params.items()]
        return f"Run at round {int(steps.max()):,}{where}: {', '.join(sizes)} weights{members}"

    def _repr_html_(self) -> str:
        """HTML for notebooks: the `repr` and a picture of some samples, if there is one."""
        line = f"<code>{html.escape(repr(self))}</code>"
        if self.game.sample is None:
            return line
        made = self.sample(0, NOTEBOOK)
        one = {name: jax.ShapeDtypeStruct(x.shape[1 + self.game.axis :], x.dtype) for name, x in made.items()}
        picture = show.infer(one).page(self.game.unstack(made)).get("png", b"")
        return f'{line}<br><img src="data:image/png;base64,{base64.b64encode(picture).decode()}">' if picture else line


def _size(params, axis):
    return sum(math.prod(x.shape[axis:]) for x in jax.tree.leaves(params))


def as_key(key: Any) -> jax.Array:
    """The PRNG key of an integer seed; a key as it is.

    Raises:
        UserError: Neither a key nor an integer from 0 to 2³² − 1.

    >>> as_key(0) == jax.random.key(0)
    Array(True, dtype=bool)
    """
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and 0 <= key < 2**32:
        return jax.random.key(int(key))
    raise UserError(f"The key is {key!r:.40}: give jax.random.key(0), or a seed such as 0.")


def as_set(samples: Any) -> Any:
    """Samples as a dict: a bare array becomes {"x": array}.

    >>> as_set(np.zeros(3))
    {'x': array([0., 0., 0.])}
    """
    return dict(samples) if isinstance(samples, Mapping) else {"x": samples}


@per_game
def samples(game, state, key, given, *, n):
    """n samples as one program, with averaged weights if there are any.

    Args:
        game: A Game or Population.
        state: Its State.
        key: A PRNG key.
        given: Options of the game's sampler, traced.
        n: Number of samples.

    Returns:
        {"x": [n, …], …}; [members, n, …] for a population.
    """
    make = lambda one, state, key, given: _sample(one, state, key, n, given)
    return parallel.whole(game.each(make, state, shared=(key, given)))


def _sample(game, state, key, n, given):
    if game.sample is None:
        translates = "it translates images: use run.translate or `python -m gan_jax translate`."
        how = translates if game.translations else "give Game(sample=(nets, key, n) -> x)."
        raise UserError(f"This game has no sampler: {how}")
    try:
        return as_set(game.sample(networks(game, state), key, n, **given))
    except TypeError as error:
        unknown = [name for name in given if f"'{name}'" in str(error)]
        if not unknown:
            raise
        raise UserError(f"The sampler of this game has no option {unknown[0]}: leave it out.") from None


def _check_given(game, state, given, n):
    """Raise a UserError for invalid options, while their values are concrete: inside a program they are traced."""
    for name, value in given.items():
        if value.ndim and value.shape[0] != n:
            raise UserError(f"{name} has {value.shape[0]} values for {n} samples: give one for each, or one for all.")
    if given and n:
        one = lambda member, state: _sample(member, state, jax.random.key(0), n, given)
        jax.eval_shape(lambda state: game.each(one, state), state)


def _rows(value, start, count):
    """Rows of an option with a value for each sample, padded with the last one; a scalar as it is."""
    return np.take(value, np.arange(start, start + count), 0, mode="clip") if value.ndim and len(value) else value


@per_game
def translations(game, state, x, keys, *, to):
    """Images translated to the domain `to`, one by one, as one program.

    Args:
        game: A Game or Population.
        state: Its State.
        x: Images [n, h, w, c] in [-1, 1]; [members, n, h, w, c] for a population.
        keys: PRNG keys [n].
        to: The target domain.
    """

    def make(one, state, x, keys):
        nets, f = networks(one, state), one.translations[to]
        return jax.vmap(lambda x, key: f(nets, x[None], key)[0])(x, keys)

    return parallel.whole(game.each(make, state, x, shared=(keys,)))


def networks(game: Any, state: State) -> Nets:
    """All networks of a Game in evaluation mode, with averaged weights if there are any."""
    nets = Nets({name: net(game, state, name) for name in game.players})
    nets.memory = state.memory["game"]
    return nets


@contextlib.contextmanager
def on_mesh_of(state: State):
    """Context with the mesh on which a State is placed."""
    mesh = getattr(state.step.sharding, "mesh", None) if isinstance(state.step, jax.Array) else None
    if mesh is None or mesh.size == 1 or not jax.sharding.get_abstract_mesh().empty:
        yield
        return
    with jax.set_mesh(mesh):
        yield
