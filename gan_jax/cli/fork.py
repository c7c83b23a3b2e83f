"""`fork`: a branch of a run, under other settings."""

import dataclasses

from gan_jax import limits, show
from gan_jax.cli import flags
from gan_jax.runs import fork as branches
from gan_jax.runs.experiment import Options, run_games
from gan_jax.runs.folder import read_rows


def fork(
    run: str,  # the run's folder
    /,
    set: tuple[str, ...] = (),  # FIELD=VALUE of the recipe, such as loss=hinge
    at: int | None = None,  # a round that a checkpoint was kept of; by default the newest
    member: int | None = None,  # take this member out of a population, as a run of its own
    steps: int = 0,  # go on to this round; by default as far as the recipe says
    data: str = "",  # where its data lies, if elsewhere now
    out: str = "",  # the branch's folder; by default the run's name and what is set
    paper: str = "",  # the paper's file, where the run is of a paper of your own
) -> None:
    """Branch a run: from round --at on, under other settings, with the same past; then compare the two."""
    folder, file = limits.path(run), paper or None
    found, title, config, members = branches.settings(folder, member, file)
    given = {"steps": steps, "data": data}
    for word in (*set, *(f"{field}={value}" for field, value in given.items() if value)):
        field, values = flags.values(config, word)
        config = dataclasses.replace(config, **{field: values[0]})
    named = [*set, *([] if member is None else [f"member={member}"])] or ["fork"]
    branch = limits.path(out) if out else folder.with_name("-".join([folder.name, *named]).replace("/", "_"))
    t = branches.fork(folder, branch, config, found.data(config), at, member, file)
    print(f"{branch} has the past of {folder} up to round {t}; it goes on to {config.steps}.")
    if config.steps > t:
        run_games(found, title, config, Options(run=str(branch)), branches.games(found, config, members))
    rows = {folder.name: read_rows(folder), branch.name: read_rows(branch)}
    if member is not None:
        rows[folder.name] = branches.alone(rows[folder.name], member)
    show.compare(rows, branch / "compare.png")
    print(f"Both in one picture: {branch / 'compare.png'}")
