"""The command line: `python PAPER.py PRESET …`, and `python -m gan_jax COMMAND …`, a file a command."""

import sys
from collections.abc import Callable

from gan_jax.cli import flags
from gan_jax.cli.train import experiment
from gan_jax.errors import UserError, nearest, say

__all__ = ["experiment", "main"]

COMMANDS = {
    "train": "Train a paper, as running its file does.",
    "new": "Write a paper to start from.",
    "list": "Every paper and preset: kind of data, size, FLOPs, how far it is reproduced.",
    "cost": "Parameters, FLOPs, memory and time of a preset on this machine.",
    "sample": "Samples of a run, to look at or as arrays.",
    "translate": "Translate pictures by a run.",
    "evaluate": "Scores of a run or of images.",
    "fork": "Branch a run: go on from a round of it under other settings.",
    "replay": "Play a run that broke again, and say where it broke.",
}


def main() -> None:
    """`python -m gan_jax COMMAND …`."""
    with flags.one_line_errors():
        name, *words = sys.argv[1:] or ["--help"]
        if name in flags.HELP:
            lines = [f"  {command:10} {does}" for command, does in COMMANDS.items()]
            say("\n".join(["usage: python -m gan_jax COMMAND …", "", *lines, "", "COMMAND --help shows its flags."]))
        elif name not in COMMANDS:
            hint = nearest(name, COMMANDS)
            raise UserError(f"There is no command {name!r}{hint}: there are {', '.join(COMMANDS)}.")
        elif name == "train":
            from gan_jax.cli.train import train

            train(words)
        else:
            flags.call(_command(name), words, f"python -m gan_jax {name}")


def _command(name: str) -> Callable:
    """The function of a command; only its own module is imported."""
    match name:
        case "new":
            from gan_jax.cli.new import new

            return new
        case "list":
            from gan_jax.cli.list import list_papers

            return list_papers
        case "cost":
            from gan_jax.cli.cost import cost

            return cost
        case "sample":
            from gan_jax.cli.sample import sample

            return sample
        case "translate":
            from gan_jax.cli.translate import translate

            return translate
        case "evaluate":
            from gan_jax.cli.evaluate import evaluate

            return evaluate
        case "fork":
            from gan_jax.cli.fork import fork

            return fork
    from gan_jax.cli.replay import replay

    return replay
