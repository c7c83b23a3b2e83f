"""Debugging a diverged training: repeat its rounds from a checkpoint, and explain the first that is not finite::

    print(replay("runs/mine", images, game))
    # Round 57: G/Generator/Dense_0 is inf for the first time, in the gradient (dot_general, dcgan.py:41)

A round is a pure function of State and batch. The State comes from a checkpoint and the batches from the data order, so
the failure is reproduced: bit for bit on the same machine if each dispatch was one round, otherwise to rounding.
"""

import dataclasses
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
from tqdm.auto import tqdm

from gan_jax.data import as_data, content_hash, take
from gan_jax.engine import step
from gan_jax.errors import UserError
from gan_jax.game import State
from gan_jax.pixels import to_float
from gan_jax.population import Games
from gan_jax.programs import per_game
from gan_jax.runs.explain import Fault, explain
from gan_jax.runs.load import described
from gan_jax.training import checkpoint, feeds, parallel
from gan_jax.training.finite import finite
from gan_jax.training.rounds import Training, changes
from gan_jax.training.spec import Schedule, abstract_state, game_at


def replay(
    folder: str | Path,
    data: Any,
    game: Games | Schedule | None = None,
    *,
    step: int | None = None,
    member: int | None = None,
    steps: int | None = None,
    paper: str | Path | None = None,
    progress: bool = True,
) -> Fault | None:
    """The first non-finite value of a run after its latest checkpoint, or after that of `step`.

    Args:
        folder: The run's folder.
        data: The data it was trained on.
        game: As for `load`, for runs of your own game.
        step: A round with a checkpoint; None: the latest.
        member: A member of a population.
        steps: The last round to repeat; None: as in config.json.
        paper: As for `load`, for runs of your own paper.
        progress: Show a progress bar.

    Returns:
        The Fault; None if all rounds are finite.

    Raises:
        UserError: The data are others, a population's member is missing, there are no rounds to repeat, or the run has
            no checkpoint and started from the weights of another.
    """
    folder, data = Path(folder).expanduser(), as_data(data)
    about, schedule = described(folder, game, paper)
    if about["data"] != content_hash(data):
        raise UserError(f"This is not the data that {folder} was trained on: give the same, in the same order.")
    config, first = about["config"], schedule(0)
    layout = parallel.layout(config["batch"], devices=1)
    training = Training(schedule, data, config["batch"], config["seed"], about["batch"], layout, _origin(about))
    like = lambda t: abstract_state(game_at(schedule, t), about["batch"])
    found = checkpoint.restore(folder / "checkpoints", like, step)
    if not found and "start" in about:
        raise UserError(f"{folder} has no checkpoint and started from the weights of another run: train it again.")
    if not first.axis and member is not None:
        raise UserError(f"{folder} is a single training without members: leave out the member.")
    if first.axis:
        if member is None:
            count = len(first.data_seeds(0))
            raise UserError(f"{folder} has {count} members, which are replayed one at a time: give a member.")
        training = _alone(training, member)
    state = jax.tree.map(lambda x: x[member] if first.axis else x, found[1]) if found else training.initial()
    last = config.get("steps") if steps is None else steps
    if last is None or last <= int(state.step):
        raise UserError(f"{folder} is at round {int(state.step)}: give a later round as steps.")
    return first_fault(training, state, last, progress=progress)


def _origin(about):
    fork = about.get("fork", {})
    return (fork["step"], fork["examples"]) if "examples" in fork else None


def _alone(training, i):
    """The Training of member i of a population."""
    game = lru_cache(maxsize=None)(lambda games: games.member(i))  # a Game equals only itself
    game(training.schedule(0))  # UserError if there is no such member
    seed = training.schedule(0).data_seeds(training.seed)[i]
    return dataclasses.replace(training, schedule=lambda t: game(training.schedule(t)), seed=seed)


def first_fault(training: Training, state: State, steps: int, progress: bool = False) -> Fault | None:
    """The first non-finite value of a single training between a State's round and `steps`; None if there is none.

    Args:
        training: What is trained on what.
        state: The State to start from.
        steps: The last round.
        progress: Show a progress bar.

    Raises:
        UserError: The State itself is not finite.
    """
    t, schedule, data = int(state.step), training.schedule, training.data
    if not _still_finite(state):
        raise UserError(f"The State of round {t} is already not finite: start from an earlier one.")
    now: Any = game_at(schedule, t)
    position, before, change = training.position(t), None, changes(training)
    for i in tqdm(range(t, steps), disable=not progress, unit=" rounds", leave=False):
        if schedule(i) is not now:
            state = change(now, schedule(i), state)
            now, before = schedule(i), None
        order = feeds.order(data, now, training.seed, position, training.batch)
        own = take(data, jax.tree.map(lambda rows: rows[0], order))
        after, metrics, good = _round(now, state, own)
        if not good:
            return explain(now, state, own, after, metrics, before)
        before, state = (state, own), after
        position = feeds.advance(position, data, now, training.batch)
    return None


_still_finite = jax.jit(partial(finite, metrics={}))


@per_game
def _round(game, state, batch):
    """(State, metrics, whether they are finite) after a round on a batch as stored in the data."""
    state, metrics = step(game, state, jax.tree.map(to_float, batch))
    return state, metrics, finite(state, metrics)
