"""A branch of a run: what it had learnt at some round goes on under other settings, beside what became of the run."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax

from gan_jax import population
from gan_jax.data import Data, content_hash
from gan_jax.engine import carry
from gan_jax.errors import UserError, writing
from gan_jax.runs import paper as papers
from gan_jax.runs.paper import Paper
from gan_jax.runs.run import as_schedule, batch_spec, describe, left_by, load, open_folder, read_rows, write_text, zeros
from gan_jax.training import checkpoint


def settings(
    folder: Path, member: int | None = None, file: str | Path | None = None
) -> tuple[Paper, str, Any, dict[str, Any]]:
    """A run's Paper, its title "paper:preset", its Config, and its members {} or {"seeds", "numbers"}; of one member,
    its own Config. file: of a paper that is not shipped."""
    about = describe(folder)
    if not about["paper"]:
        raise UserError(
            f"{folder} is a run of your own game: go on from its State, as train(game, data, state=…) does."
        )
    paper, config = papers.configured(about["paper"], about["config"], file)
    members = about.get("members", {})
    if member is None:
        return paper, about["paper"], config, members
    if not 0 <= member < len(members.get("seeds", [])):
        raise UserError(f"{folder} has no member {member}: it has {len(members.get('seeds', [])) or 'none'}.")
    own = {field: values[member] for field, values in members["numbers"].items()}
    return paper, about["paper"], dataclasses.replace(config, seed=members["seeds"][member], **own), {}


def games(paper: Paper, config: Any, members: dict[str, Any]):
    """The Game of a paper's Config, or its population."""
    return population.members(paper.game, config, **members) if members else paper.game(config)


def alone(rows: list[dict[str, Any]], member: int) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl that are a member's, as if it had been a run of its own."""
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
    """Make in `out` a run of `config` that has the past of the one in `folder` up to round `at`, which it returns.

    It takes over every weight, moment, average and memory that keeps its place and shape, the rows of metrics.jsonl and
    the pictures so far; its noise is that of its own seed. at: a round with a checkpoint, by default the newest. file:
    of a paper that is not shipped. UserError if `out` is taken, or if no weight of a network fits.
    """
    paper, title, _, members = settings(folder, member, file)
    parent = load(folder, step=at, paper=file)
    parent = parent if member is None else parent.member(member)
    t = int(parent.state.step.max())
    schedule = as_schedule(games(paper, config, members))
    branch, spec = left_by(schedule, t), batch_spec(data, config.batch)
    born = jax.jit(population.born, static_argnums=1)(branch, config.seed, zeros(branch, spec))
    kept = tuple(field.name for field in dataclasses.fields(born) if field.name != "key")
    state = carry(born, parent.state, kept)
    theirs = {id(x) for x in jax.tree.leaves(parent.state.params)}
    if lost := [n for n, p in state.params.items() if not any(id(x) in theirs for x in jax.tree.leaves(p))]:
        raise UserError(f"No weight of network {lost[0]!r} fits into the branch: leave its shape as it is.")
    fields = {"batch": config.batch, "seed": config.seed} | dataclasses.asdict(config)
    came_from = {"run": str(folder), "step": t} | ({} if member is None else {"member": member})
    rows = read_rows(folder) if member is None else alone(read_rows(folder), member)
    rows = [row for row in rows if row["step"] <= t]
    pictures = [] if member is not None else (folder / "samples").glob("*.png")
    with open_folder(out, title, fields, content_hash(data), spec, members, {"fork": came_from}):
        with writing(out):
            write_text(out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
            for picture in pictures:
                if not picture.stem.isdigit() or int(picture.stem) <= t:
                    shutil.copy(picture, out / "samples")
        saves = checkpoint.open(out / "checkpoints")
        checkpoint.save(saves, t, state, {"seconds": rows[-1].get("seconds", 0.0) if rows else 0.0, "metrics": {}})
        checkpoint.close(saves)
    return t
