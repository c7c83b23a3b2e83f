"""A run: a game in a State, and the folder it is kept in."""

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

CHUNK, TOGETHER = 256, 16  # samples made, and images translated, at once
NOTEBOOK = 16  # samples shown of a run

Set = dict[str, np.ndarray]  # {"x": [n, …], "y": …}


@dataclass(frozen=True, repr=False)
class Run:
    """A game, or a population of them, its State, and the folder they are kept in (None: nowhere)."""

    game: Games
    state: State
    folder: Path | None = None

    def sample(self, key: Any, n: int, **given: Any) -> Set:
        """n samples {"x": [n, …]}, and "y" [n] where the game makes labels; of a population [members, n, …].

        Images are in [-1, 1]. Samples are a function of (key, n) alone, and the first of n are those of fewer: chunk i
        draws from fold_in(key, i).

        Args:
            key: a JAX key, or a seed.
            n: how many.
            given: what the game's samples take, such as y=3, y=[0, 1, …] (a label for each) or truncation=1.5.

        Raises:
            UserError: for what the game's samples do not take.
        """
        if n < 0:
            raise UserError(f"{n} samples cannot be made: give a number of 0 or more.")
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
        """Images x [n, h, w, c] as they would be in the domain `to`, all in [-1, 1].

        Of a population [members, n, h, w, c], each member's of the same x or, if it is of that shape, of its own.
        Image i is a function of x[i] and fold_in(key, i) alone.

        Raises:
            UserError: for a domain that the game does not know, and images of a size that its network does not take.
        """
        known = self.game.translations
        if to not in known:
            where = f"only {', '.join(known)}" if known else "and to no other domain either"
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
        """Member i of a population as a training of its own, kept nowhere. UserError if there is none."""
        game = self.game.member(i)
        return Run(game, jax.device_put(jax.tree.map(lambda x: x[i], self.state), jax.devices()[0]))

    def __repr__(self) -> str:
        steps = np.asarray(self.state.step)
        where = "" if self.folder is None else f" in {self.folder}"
        members = f", {len(steps)} members" if self.game.axis else ""
        sizes = [f"{n} {_size(p, self.game.axis):,}" for n, p in self.state.params.items()]
        return f"Run at round {int(steps.max()):,}{where}: {', '.join(sizes)} weights{members}"

    def _repr_html_(self) -> str:
        """For notebooks: the line of `repr`, and some samples where they make a picture."""
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
    """A JAX key as it is, a seed as its key. UserError for anything else."""
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and 0 <= key < 2**32:
        return jax.random.key(int(key))
    raise UserError(f"The key is {key!r:.40}: give jax.random.key(0), or a seed such as 0.")


def as_set(samples: Any) -> Any:
    """What a game's `sample` returns as a Set: a bare array is its "x"."""
    return dict(samples) if isinstance(samples, Mapping) else {"x": samples}


@per_game
def samples(game, state, key, given, *, n):
    """n samples {"x": [n, …], …}, by averaged weights where the game keeps them; of a population members first."""
    make = lambda one, state, key, given: _sample(one, state, key, n, given)
    return parallel.whole(game.each(make, state, shared=(key, given)))


def _sample(game, state, key, n, given):
    if game.sample is None:
        translates = "it translates images, by `python -m gan_jax translate` or run.translate."
        how = translates if game.translations else "give Game(sample=(nets, key, n) -> x)."
        raise UserError(f"This game does not say how to sample: {how}")
    try:
        return as_set(game.sample(networks(game, state), key, n, **given))
    except TypeError as error:
        unknown = [name for name in given if f"'{name}'" in str(error)]
        if not unknown:
            raise
        raise UserError(f"The samples of this game take no {unknown[0]}: leave it out.") from None


def _check_given(game, state, given, n):
    """UserError for given values that the game refuses: it sees them here as numbers, in a program only as traced."""
    for name, value in given.items():
        if value.ndim and value.shape[0] != n:
            raise UserError(f"{name} has {value.shape[0]} rows for {n} samples: give one for each, or one for all.")
    if given and n:
        one = lambda member, state: _sample(member, state, jax.random.key(0), n, given)
        jax.eval_shape(lambda state: game.each(one, state), state)


def _rows(value, start, count):
    """Rows of a value with one for each sample, the last one repeated; a scalar as it is."""
    return np.take(value, np.arange(start, start + count), 0, mode="clip") if value.ndim and len(value) else value


@per_game
def translations(game, state, x, keys, *, to):
    """Images x [n, h, w, c], with keys [n], in the domain `to`, each image alone; of a population members first."""

    def make(one, state, x, keys):
        nets, f = networks(one, state), one.translations[to]
        return jax.vmap(lambda x, key: f(nets, x[None], key)[0])(x, keys)

    return parallel.whole(game.each(make, state, x, shared=(keys,)))


def networks(game: Any, state: State) -> Nets:
    """All networks of a Game in evaluation mode, with averaged weights where it keeps them."""
    nets = Nets({name: net(game, state, name) for name in game.players})
    nets.memory = state.memory["game"]
    return nets


@contextlib.contextmanager
def on_mesh_of(state: State):
    """The mesh that the State lies on, for programs that spread their work over it."""
    mesh = getattr(state.step.sharding, "mesh", None) if isinstance(state.step, jax.Array) else None
    if mesh is None or mesh.size == 1 or not jax.sharding.get_abstract_mesh().empty:
        yield
        return
    with jax.set_mesh(mesh):
        yield
