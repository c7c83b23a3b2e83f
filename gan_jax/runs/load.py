"""Runs from their folders: the game that config.json describes, in the State of a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from gan_jax import limits, population
from gan_jax.errors import UserError
from gan_jax.population import Games
from gan_jax.runs import paper as papers
from gan_jax.runs.folder import describe
from gan_jax.runs.run import Run
from gan_jax.training import checkpoint
from gan_jax.training.spec import Schedule, abstract_state, as_schedule, game_at


def load(
    folder: str | Path, game: Games | Schedule | None = None, step: int | None = None, paper: str | Path | None = None
) -> Run:
    """The run in `folder` at its newest checkpoint, or at `step`; its data is not needed.

    Args:
        game: of a run of your own game; a run of a paper finds its game by the paper's name.
        step: a round that a checkpoint was kept of.
        paper: the file of a paper of your own.

    Raises:
        UserError: for a folder that holds no run, a game that is missing or does not fit, a damaged checkpoint.
    """
    folder = Path(folder).expanduser()
    about, schedule = described(folder, game, paper)

    def like(t):
        state = abstract_state(game_at(schedule, t), about["batch"])
        limits.check(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)), f"The State of {folder}")
        return state

    found = checkpoint.restore(folder / "checkpoints", like, step)
    if found is None:
        raise UserError(f"{folder} has no checkpoint yet: train it first.")
    return Run(game_at(schedule, found[0]), found[1], folder)


def described(
    folder: Path, game: Games | Schedule | None = None, paper: str | Path | None = None
) -> tuple[dict[str, Any], Schedule]:
    """What config.json says of a run, and the schedule of its games: its paper's, unless one is given."""
    about = describe(folder)
    return about, as_schedule(_of_paper(folder, about, paper) if game is None else game)


def configured(folder: Path, about: Mapping[str, Any], paper: str | Path | None = None) -> tuple[Any, Any]:
    """The Paper and Config of a run. UserError for a run of one's own game."""
    if not about["paper"]:
        raise UserError(f"{folder} is a run of your own game: give it, as in gan_jax.load({str(folder)!r}, game=…).")
    return papers.configured(about["paper"], about["config"], paper)


def _of_paper(folder, about, paper):
    """The game that a run's file describes. UserError for one that cannot be built, whatever is wrong with it."""
    found, config = configured(folder, about, paper)
    members = about.get("members", {"seeds": [], "numbers": {}})
    for field in members["numbers"]:
        if not isinstance(getattr(config, field, None), float):
            raise UserError(f"{folder / 'config.json'}: {about['paper']} has no number {field!r} for its members.")
    try:
        game = population.members(found.game, config, **members) if members["seeds"] else found.game(config)
        abstract_state(game_at(as_schedule(game), 0), about["batch"])
    except Exception as error:  # a width that a network cannot have, a batch that is not what it reads …
        why = (str(error) or repr(error)).splitlines()[0]
        raise UserError(f"{folder / 'config.json'} describes a game that cannot be built ({why}).") from error
    return game
