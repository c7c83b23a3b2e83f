"""Loading runs: the game that config.json describes, with the State of a checkpoint."""

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
    """The run in a folder at its latest checkpoint, or at that of `step`. Its data are not needed.

    Args:
        folder: The run's folder.
        game: The Game, Population or schedule, for runs of your own game. For runs of a paper it is made from
            config.json.
        step: A round with a checkpoint; None: the latest.
        paper: The paper's file, if it is not one of gan_jax's.

    Raises:
        UserError: The folder has no run or no checkpoint, the game is missing or does not fit, or the checkpoint is
            damaged.

    Example::

        gan_jax.load("runs/dcgan-digits").sample(0, 64)["x"]
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
    """The content of a run's config.json, and its schedule of games: the given one, or that of its paper.

    Args:
        folder: The run's folder.
        game: A Game, Population or schedule; None: made from config.json.
        paper: The paper's file, if it is not one of gan_jax's.
    """
    about = describe(folder)
    return about, as_schedule(_of_paper(folder, about, paper) if game is None else game)


def configured(folder: Path, about: Mapping[str, Any], paper: str | Path | None = None) -> tuple[Any, Any]:
    """The Paper and Config of a run.

    Args:
        folder: The run's folder, for error messages.
        about: The content of its config.json.
        paper: The paper's file, if it is not one of gan_jax's.

    Raises:
        UserError: The run is not of a paper.
    """
    if not about["paper"]:
        raise UserError(f"{folder} is a run of your own game: give it, as in gan_jax.load({str(folder)!r}, game=…).")
    return papers.configured(about["paper"], about["config"], paper)


def _of_paper(folder, about, paper):
    """The game that config.json describes, or a UserError if it cannot be built."""
    found, config = configured(folder, about, paper)
    members = about.get("members", {"seeds": [], "numbers": {}})
    for field in members["numbers"]:
        if not isinstance(getattr(config, field, None), float):
            raise UserError(
                f"{folder / 'config.json'}: {about['paper']} has no float field {field!r}, which differs by member."
            )
    try:
        game = population.members(found.game, config, **members) if members["seeds"] else found.game(config)
        abstract_state(game_at(as_schedule(game), 0), about["batch"])
    except Exception as error:  # an invalid width, a batch of the wrong shape …
        why = (str(error) or repr(error)).splitlines()[0]
        raise UserError(f"{folder / 'config.json'} describes a game that cannot be built ({why}).") from error
    return game
