"""Forks: a copy of a run at some round, continued with other hyper-parameters in a folder of its own."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax

from gan_jax import population
from gan_jax.carry import carry, fits
from gan_jax.data import Data
from gan_jax.errors import UserError, writing
from gan_jax.runs.folder import describe, open_folder, read_rows, write_text
from gan_jax.runs.load import configured, load
from gan_jax.runs.paper import Paper
from gan_jax.runs.train import identity, prepare
from gan_jax.training import checkpoint
from gan_jax.training.log import as_json
from gan_jax.training.options import Devices
from gan_jax.training.spec import game_at


def settings(
    folder: Path, member: int | None = None, file: str | Path | None = None
) -> tuple[Paper, str, Any, dict[str, Any]]:
    """A run's Paper, its title "paper:preset", its Config, and its members: {} or {"seeds": …, "numbers": …}.

    Args:
        folder: The run's folder.
        member: A member of a population, whose own Config is returned.
        file: The paper's file, if it is not one of gan_jax's.

    Raises:
        UserError: The run is not of a paper, or has no such member.
    """
    about = describe(folder)
    if not about["paper"]:
        raise UserError(f"{folder} is a run of your own game: continue from its State with train(game, data, state=…).")
    paper, config = configured(folder, about, file)
    members = about.get("members", {})
    if member is None:
        return paper, about["paper"], config, members
    if not 0 <= member < len(members.get("seeds", [])):
        raise UserError(f"{folder} has no member {member}: it has {len(members.get('seeds', [])) or 'no'} members.")
    own = {field: values[member] for field, values in members["numbers"].items()}
    return paper, about["paper"], dataclasses.replace(config, seed=members["seeds"][member], **own), {}


def games(paper: Paper, config: Any, members: dict[str, Any]):
    """The Game of a paper's Config, or its population."""
    return population.members(paper.game, config, **members) if members else paper.game(config)


def alone(rows: list[dict[str, Any]], member: int) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl of one member, as of a single training.

    >>> alone([{"step": 1, "member": 0, "loss/G": 0.5}, {"step": 1, "members": 1, "loss/G": 0.5}], member=0)
    [{'step': 1, 'loss/G': 0.5}]
    """
    return [{k: v for k, v in row.items() if k != "member"} for row in rows if row.get("member") == member]


def fork(
    folder: Path,
    out: Path,
    config: Any,
    data: Data,
    at: int | None = None,
    member: int | None = None,
    file: str | Path | None = None,
) -> int:
    """Create a run folder that continues another run from round `at` with a changed Config.

    The fork inherits every leaf of the State whose path, shape and dtype agree, the rows of metrics.jsonl and the
    pictures up to that round, and the position in the data. Its noise is determined by its own seed.

    Args:
        folder: The parent's folder.
        out: The fork's folder.
        config: The fork's Config.
        data: The training data.
        at: A round with a checkpoint; None: the latest.
        member: A member of a population, which continues as a single training.
        file: The paper's file, if it is not one of gan_jax's.

    Returns:
        The round from which the fork continues.

    Raises:
        UserError: `out` holds another run, or no weight of some network fits.
    """
    paper, title, before, members = settings(folder, member, file)
    parent = load(folder, step=at, paper=file)
    parent = parent if member is None else parent.member(member)
    t = int(parent.state.step.max())
    training = prepare(games(paper, config, members), data, config.batch, config.seed, Devices(devices=1), None)
    so_far = prepare(games(paper, before, members), data, before.batch, before.seed, Devices(devices=1), folder)
    new = training.initialise(game_at(training.schedule, t))
    state = carry(new, parent.state, tuple(f.name for f in dataclasses.fields(new) if f.name != "key"))
    kept = [path[1].key for path in fits(new, parent.state, ("params",))]
    if lost := [name for name in state.params if name not in kept]:
        raise UserError(f"No weight of network {lost[0]!r} fits the fork: keep its shape.")
    came_from = {"run": str(folder), "step": t, "examples": dict(so_far.position(t))}
    came_from |= {} if member is None else {"member": member}
    rows = read_rows(folder) if member is None else alone(read_rows(folder), member)
    rows = [row for row in rows if row["step"] <= t]
    about = identity(training, title, dataclasses.asdict(config))
    with open_folder(out, about, {"fork": came_from}):
        with writing(out):
            write_text(out / "metrics.jsonl", "".join(json.dumps(as_json(row)) + "\n" for row in rows))
            for file in (folder / "samples").glob("*") if member is None else ():
                round = file.name.partition(".")[0]
                if not round.isdigit() or int(round) <= t:
                    shutil.copy(file, out / "samples")
        saves = checkpoint.open(out / "checkpoints")
        seconds = rows[-1].get("seconds", 0.0) if rows else 0.0
        checkpoint.save(saves, t, jax.device_put(state, jax.devices()[0]), {"seconds": seconds, "metrics": {}})
        checkpoint.close(saves)
    return t
