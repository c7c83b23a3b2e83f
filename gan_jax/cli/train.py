"""Training: the same whether a paper's file is run or its name is given."""

import sys
from collections.abc import Sequence

from gan_jax.cli import flags
from gan_jax.errors import UserError, say
from gan_jax.runs import paper as papers
from gan_jax.runs.paper import Paper

USAGE = "python -m gan_jax train PAPER[:PRESET] [flags]"


def experiment(file: str) -> None:
    """Train the paper in `file` as the command line says: a preset, then flags.

    A paper's file ends with it: `if __name__ == "__main__": cli.experiment(__file__)`.
    """
    with flags.one_line_errors():
        paper, words = papers.paper(file), sys.argv[1:]
        preset = words.pop(0) if words and not words[0].startswith("-") else ""
        _train(paper, preset, words, f"python {sys.argv[0]} [{'|'.join(paper.presets)}] [flags]")


def train(words: Sequence[str]) -> None:
    """`python -m gan_jax train PAPER[:PRESET] …`, PAPER being a name that `list` shows or the path of a file."""
    if not words or words[0] in flags.HELP:
        if not words:
            raise UserError(f"The paper must be named: {USAGE}")
        say(
            f"usage: {USAGE}\n\n"
            "PAPER is a name that `python -m gan_jax list` shows, such as dcgan, or the path of your own file, such as"
            " mine.py.\nPAPER --help shows its presets and flags."
        )
        return
    title, *words = words
    paper, preset = papers.split(title)
    _train(paper, preset, words, f"python -m gan_jax train {title.rpartition(':')[0] or title}:PRESET [flags]")


def _train(paper: Paper, preset: str, words: Sequence[str], usage: str) -> None:
    from gan_jax.runs.experiment import Options, run
    from gan_jax.training import parallel

    preset = preset or next(iter(paper.presets))
    presets = f"Presets: {', '.join(paper.presets)}; flags below show {preset}'s numbers."
    config, options = flags.fill(words, usage, f"{paper.doc.strip()}\n\n{presets}", paper.config(preset), Options())
    if options.distributed:
        parallel.start(options.distributed)
    sweep = dict(flags.values(config, word) for word in options.sweep)
    run(paper, paper.title(preset), config, options, sweep)
