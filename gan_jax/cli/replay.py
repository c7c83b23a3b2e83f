"""`replay`: where a run broke."""

import dataclasses

from gan_jax import limits
from gan_jax.errors import UserError
from gan_jax.runs.folder import describe
from gan_jax.runs.load import configured
from gan_jax.runs.replay import replay as play_again


def replay(
    run: str,  # the run's folder
    /,
    data: str = "",  # where its data lies, if elsewhere now
    step: int | None = None,  # the checkpoint to play from, by default the newest
    steps: int | None = None,  # play up to this round; by default as far as the recipe says
    member: int | None = None,  # of a population, whose members are played one at a time
    paper: str = "",  # the paper's file, where the run is of a paper of your own
) -> None:
    """Play a run that broke again from a checkpoint, and say which layer or loss was the first that was not finite."""
    folder, file = limits.path(run), paper or None
    about = describe(folder)
    if not about["paper"]:
        raise UserError(f"{run} is a run of your own game: play it again by gan_jax.runs.replay.replay.")
    found, config = configured(folder, about, file)
    images = found.data(dataclasses.replace(config, data=data or config.data))
    fault = play_again(folder, images, step=step, steps=steps, member=member, paper=file)
    if fault is None:
        print(f"{run} stays finite up to round {steps or config.steps}: there is nothing to mend.")
        return
    print(f"{fault}.")
    print(f"Losses of that round: {', '.join(f'{name} {value:.4g}' for name, value in fault.losses.items())}.")
