"""A run: a game in a State, and the folder it is kept in.

config.json      what the run is: paper and preset, every field, the batch's shapes, versions, threads
lock             held by the process that trains it, and says which that is
metrics.jsonl    one row a log
samples/         STEP.png, real.png
checkpoints/     the whole State
"""

import fcntl
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import limits, population
from gan_jax.engine import net
from gan_jax.errors import UserError, writing
from gan_jax.game import Game, State
from gan_jax.net import Nets
from gan_jax.population import Games
from gan_jax.runs import paper as papers
from gan_jax.training import checkpoint, parallel

FORMAT = 1  # of the run folder; rises when an older one could no longer be read as it is
FREE = {"steps", "data"}  # fields that may change between two starts of one run
CHUNK, TOGETHER = 256, 16  # samples made, and images translated, at once
MEMBERS = 4_096  # of a population that a file describes, at most
DTYPES = {"bool", "float16", "bfloat16", "float32", "float64"} | {
    f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)
}

Schedule = Callable[[int], Games]  # round -> one of a few made beforehand
Spec = Mapping[str, Any]  # {name: [shape of a batch, dtype]}, or that for each of several sets


@dataclass(frozen=True)
class Run:
    """A game, or a population of them, and its State, and where they are kept (None: nowhere)."""

    game: Games
    state: State
    folder: Path | None = None

    def sample(self, key, n: int, **options) -> np.ndarray:
        """n samples [n, …], of a population [members, n, …], in [-1, 1] for images.

        Options are the prior's, such as y= (labels) or truncation=.

        A function of (key, n) alone, and the first of n samples are those of fewer: chunk i draws from
        fold_in(key, i). UserError for an option that the game's samples do not have.
        """
        make = sampler(self.game, **options)
        chunk = jax.eval_shape(make, self.state, key)
        limits.check(n * chunk.size * chunk.dtype.itemsize // CHUNK, f"{n:,} samples")
        chunks = [np.asarray(make(self.state, jax.random.fold_in(key, i))) for i in range(-(-n // CHUNK))]
        axis = np.ndim(self.state.step)
        return np.take(np.concatenate(chunks, axis), np.arange(n), axis)

    def translate(self, x: Any, to: str, key=None) -> np.ndarray:
        """Images x [n, h, w, c] as they would be in the domain `to`, all in [-1, 1].

        Of a population [members, n, h, w, c], each member's of the same x or, if it is of that shape, of its own.
        Image i is a function of x[i] and fold_in(key, i) alone. UserError for a domain that the game does not know,
        and for images of a size that its network does not take.
        """
        known = self.game.translations
        if to not in known:
            where = f"only {', '.join(known)}" if known else "and to no other domain either"
            raise UserError(f"This game does not translate to {to!r}, {where}.")
        members = np.shape(self.state.step)
        x = np.asarray(x, np.float32)
        x = np.broadcast_to(x, (*members, *x.shape[-4:]))
        axis, key = len(members), jax.random.key(0) if key is None else key
        n = x.shape[axis]
        together, make = min(n, TOGETHER), translator(self.game, to)
        chunks = []
        for start in range(0, n, together):
            rows = np.arange(start, start + together)
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(rows)
            chunks.append(np.asarray(make(self.state, np.take(x, rows, axis, mode="clip"), keys)))
        return np.take(np.concatenate(chunks, axis), np.arange(n), axis)

    def member(self, i: int) -> "Run":
        """Member i of a population as a training of its own, kept nowhere. UserError if there is none."""
        if isinstance(self.game, Game):
            raise UserError("This run is one training, which has no members: use it as it is.")
        return Run(self.game.member(i), jax.device_put(jax.tree.map(lambda x: x[i], self.state), jax.devices()[0]))


@lru_cache(maxsize=16)  # one Game's samples are compiled once
def sampler(games: Games, n: int = CHUNK, **options):
    """The compiled (state, key) -> n samples, with averaged weights where the game keeps them; of each member alike."""

    def make(game, state, key):
        if game.sample is None:
            translates = "it translates images, by `python -m gan_jax translate` or run.translate."
            how = translates if game.translations else "give Game(sample=(nets, key, n) -> x)."
            raise UserError(f"This game does not say how to sample: {how}")
        try:
            return game.sample(_in_use(game, state), key, n, **options)
        except TypeError as error:
            unknown = [name for name in options if f"'{name}'" in str(error)]
            if not unknown:
                raise
            raise UserError(f"The samples of this game take no {unknown[0]}: leave it out.") from None

    return jax.jit(lambda state, key: parallel.whole(population.each(games, make, state, shared=(key,))))


@lru_cache(maxsize=16)
def translator(games: Games, to: str):
    """The compiled (state, x [n, …], keys [n]) -> x in the domain `to`, each image alone; of each member alike."""

    def make(game, state, x, keys):
        nets, f = _in_use(game, state), game.translations[to]
        return jax.vmap(lambda x, key: f(nets, x[None], key)[0])(x, keys)

    return jax.jit(lambda state, x, keys: parallel.whole(population.each(games, make, state, x, shared=(keys,))))


def _in_use(game, state):
    """All networks in evaluation mode, with averaged weights where the game keeps them."""
    nets = Nets({name: net(game, state, name) for name in game.players})
    nets.memory = state.memory["game"]
    return nets


def load(
    folder: str | Path,
    game: Game | Schedule | None = None,
    step: int | None = None,
    paper: str | Path | None = None,
) -> Run:
    """The run in `folder` at its newest checkpoint, or at `step`; its data is not needed.

    A run of a paper that is shipped finds its game by the paper's name. A run of a paper of your own needs its file,
    load(folder, paper="mine.py"), and a run of your own game the game, load(folder, game=…).
    """
    folder = Path(folder)
    about, schedule = played(folder, game, paper)

    def like(t):
        state = abstract_state(left_by(schedule, t), about["batch"])
        limits.check(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)), f"The State of {folder}")
        return state

    found = checkpoint.restore(folder / "checkpoints", like, step)
    if found is None:
        raise UserError(f"{folder} has no checkpoint yet: train it first.")
    return Run(left_by(schedule, found[0]), found[1], folder)


def played(
    folder: Path, game: Games | Schedule | None = None, paper: str | Path | None = None
) -> tuple[dict[str, Any], Schedule]:
    """What config.json says of a run, and what it plays: its paper's game, unless it is given."""
    about = describe(folder)
    return about, as_schedule(_of_paper(folder, about, paper) if game is None else game)


def _of_paper(folder: Path, about: Mapping[str, Any], paper: str | Path | None) -> Games | Schedule:
    """The game that a run's file describes. UserError for one that cannot be built, whatever is wrong with it."""
    if not about["paper"]:
        raise UserError(f"{folder} is a run of your own game: give it, as in gan_jax.load({str(folder)!r}, game=…).")
    module, config = papers.configured(about["paper"], about["config"], paper)
    members = about.get("members", {"seeds": [], "numbers": {}})
    for field in members["numbers"]:
        if not isinstance(getattr(config, field, None), float):
            raise UserError(f"{folder / 'config.json'}: {about['paper']} has no number {field!r} for its members.")
    try:
        game = population.members(module.game, config, **members) if members["seeds"] else module.game(config)
        abstract_state(left_by(as_schedule(game), 0), about["batch"])
    except Exception as error:  # a width that a network cannot have, a batch that is not what it reads …
        why = (str(error) or repr(error)).splitlines()[0]
        raise UserError(f"{folder / 'config.json'} describes a game that cannot be built ({why}).") from error
    return game


def as_schedule(game: Games | Schedule) -> Schedule:
    """A Game is the schedule that never changes. UserError for one whose Games are made anew at each call."""
    if isinstance(game, Games):
        return lambda t: game
    if game(0) is not game(0):
        raise UserError("The schedule makes a new Game at each call: make its Games beforehand and return one of them.")
    return game


def left_by(schedule: Schedule, t: int) -> Games:
    """The Game whose State stands at round t: of the round before, for a change comes with the round after it."""
    return schedule(max(t - 1, 0))


def batch_spec(data: Mapping[str, Any], batch: int) -> Spec:
    """{name: [shape, dtype]} of a batch of `data` as the game sees it, where bytes have become floats."""
    dtype = lambda x: "float32" if x.dtype == np.uint8 else str(jax.dtypes.canonicalize_dtype(x.dtype))
    return jax.tree.map(lambda x: [[batch, *x.shape[1:]], dtype(x)], dict(data))


def zeros(game: Games, spec: Spec):
    """A round's batch [slices, B, …] of zeros."""
    limits.check(game.slices * _bytes(spec), "A round's batch")
    return jax.tree.map(lambda leaf: jnp.zeros((game.slices, *leaf[0]), leaf[1]), dict(spec), is_leaf=_is_leaf)


def abstract_state(game: Games, spec: Spec) -> State:
    """The shapes of a State."""
    return jax.eval_shape(lambda: population.born(game, 0, zeros(game, spec)))


def _bytes(spec):
    leaves = jax.tree.leaves(dict(spec), is_leaf=_is_leaf)
    return sum(math.prod(shape) * jnp.dtype(dtype).itemsize for shape, dtype in leaves)


def _is_leaf(node):
    """[shape, dtype] in a Spec."""
    return not isinstance(node, Mapping)


def describe(folder: Path) -> dict[str, Any]:
    """What config.json says. UserError if there is none or it cannot be read."""
    try:
        about = json.loads(limits.text(folder / "config.json"))
    except UserError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is not a run: it has no config.json. Give the folder that --run named.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / 'config.json'} cannot be read ({error}): restore it from a copy.") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError(f"{folder / 'config.json'} is not of format {FORMAT}: {_who_reads(about)}.")
    for entry, why in _flaws(about):
        raise UserError(f"{folder / 'config.json'}: {entry} is {about.get(entry)!r:.60}, {why}.")
    return about


def _who_reads(about):
    """What reads a config.json of another format, as far as it tells."""
    if not isinstance(about, dict) or "format" not in about:
        return "it is none of gan_jax's, so restore it from a copy"
    versions = about.get("versions")
    wrote = versions.get("gan_jax") if isinstance(versions, dict) else None
    return f"it is of {about['format']!r}, so use {f'gan_jax {wrote}' if wrote else 'the version'}, which wrote it"


def _flaws(about):
    """(entry, what is wrong with it) of what a config.json says."""
    for entry, kind in {"paper": str, "data": str, "config": dict, "batch": dict}.items():
        if not isinstance(about.get(entry), kind):
            yield entry, f"not a {kind.__name__}"
            return
    count = lambda n, most: type(n) is int and 0 <= n < most
    sets = [one if isinstance(one, dict) else {"": one} for one in about["batch"].values()]
    for leaf in (leaf for one in sets for leaf in one.values()):
        match leaf:
            case [[*shape], str(dtype)] if dtype in DTYPES and len(shape) <= 8 and all(count(n, 2**63) for n in shape):
                pass
            case _:
                yield "batch", "which must be {name: [shape, dtype]}, or that for each of several sets"
    number = lambda x: type(x) in (int, float) and abs(x) < 2**128  # float32's
    match about.get("members"):
        case None:
            pass
        case {"seeds": [_, *_] as seeds, "numbers": dict(numbers)} if (
            len(seeds) <= MEMBERS
            and all(count(seed, 2**32) for seed in seeds)
            and all(isinstance(x, list) and len(x) == len(seeds) and all(map(number, x)) for x in numbers.values())
        ):
            pass
        case _:
            yield "members", f"which must be 1 to {MEMBERS:,} seeds, and numbers {{field: one for each}}"


@contextmanager
def open_folder(
    folder: Path,
    paper: str,
    config: Mapping[str, Any],
    data: str,
    batch: Spec,
    members: Mapping[str, Any],
    notes: Mapping[str, Any] = MappingProxyType({}),
):
    """Make the run's folder, or check that the run in it is the same one; until the end no other process may train it.

    UserError names the fields that differ, or the process that has the folder.

    config: every field of the paper's Config; data: the content's hash; members: seeds and numbers of a population;
    notes: what else config.json is to say.
    """
    about = {"format": FORMAT, "paper": paper, "config": dict(config), "data": data, "batch": dict(batch)}
    about |= {"members": dict(members)} if members else {}
    made = folder / "config.json"  # the first file of a run, but for those of a start that came no further
    strange = {path.name for path in folder.iterdir()} - {"lock", "config.json.tmp"} if folder.is_dir() else set()
    if made.exists():
        describe(folder)
    elif strange:
        raise UserError(f"{folder} is not empty and holds no run: give another --run.")
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(_locked(folder))
            if not made.exists():
                write_text(made, json.dumps({**about, **notes, **_surroundings()}, indent=2) + "\n")
            (folder / "samples").mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be written ({error.strerror}): give another --run.") from None
        old, new = _identity(describe(folder)), _identity(about)
        differ = sorted(field for field in old | new if old.get(field) != new.get(field))
        if differ:
            changes = ", ".join(f"{field} {old.get(field)} → {new.get(field)}" for field in differ)
            raise UserError(f"{folder} holds another run ({changes}): give another --run, or the same values again.")
        yield


@contextmanager
def _locked(folder):
    """The folder's lock, which the kernel takes back when the process ends, however it ends."""
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            by = file.read() or "another process"
            raise UserError(f"{folder} is in use by {by}: wait until that has ended, or give another --run.") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def _identity(about):
    config = {field: value for field, value in about["config"].items() if field not in FREE}
    return config | {"paper": about["paper"], "data": about["data"], "members": about.get("members")}


def _surroundings():
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "gan_jax")
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
        "backend": jax.default_backend(),
        "devices": jax.device_count(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last line that a kill cut short is left out. UserError for what is no row."""
    path, rows = folder / "metrics.jsonl", []
    try:
        lines = limits.text(path).splitlines() if path.exists() else []
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it from a copy.") from None
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not _is_row(row):
            raise UserError(f"{path}: line {len(rows) + 1} is {line:.60}, no row of numbers with a step: take it away.")
        rows.append(row)
    return rows


def _is_row(row):
    """{"step": a round, name: number, …}."""
    number = lambda x: isinstance(x, float) or (isinstance(x, int) and abs(x) < 2**53)
    return isinstance(row, dict) and type(row.get("step")) is int and all(map(number, row.values()))


def cut_rows(folder: Path, step: int) -> None:
    """Cut metrics.jsonl back to the rows up to `step`, from which a run goes on."""
    rows = [json.dumps(row) + "\n" for row in read_rows(folder) if row["step"] <= step]
    with writing(folder / "metrics.jsonl"):
        write_text(folder / "metrics.jsonl", "".join(rows))


def write_text(path: Path, text: str) -> None:
    """Write whole or not at all."""
    draft = path.with_name(path.name + ".tmp")
    draft.unlink(missing_ok=True)  # it might be a link to elsewhere
    draft.write_text(text)
    draft.replace(path)
