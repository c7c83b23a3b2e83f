"""Experiments: a paper's Config trained in a run folder, with pictures, scores and a summary."""

import dataclasses
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import data as sources
from gan_jax import limits, population, show
from gan_jax.data import Data, rounds
from gan_jax.errors import UserError
from gan_jax.metrics import protocols, references
from gan_jax.pixels import to_float
from gan_jax.runs import score as scoring
from gan_jax.runs import translation
from gan_jax.runs.load import load
from gan_jax.runs.paper import Paper
from gan_jax.runs.pictures import pictures
from gan_jax.runs.run import Run
from gan_jax.runs.train import train
from gan_jax.runs.watch import callback as analyse
from gan_jax.training import writers
from gan_jax.training.cache import keep_programs
from gan_jax.training.spec import as_schedule, zeros


@dataclass(frozen=True)
class Options:
    """Options of a run that do not affect the result of the training."""

    run: str = ""  # the run's folder; by default runs/PAPER-PRESET
    epochs: float = 0.0  # instead of --steps
    seeds: int = 0  # a population with so many seeds, from --seed on; 0: a single training
    sweep: tuple[str, ...] = ()  # FIELD=VALUE,VALUE,… of the recipe: one training for each value and seed
    from_: str = ""  # a run whose weights this one starts from
    log_every: int = 100  # rounds
    sample_every: int = 500
    checkpoint_every: int = 1000
    keep_every: int = 0  # rounds between checkpoints that are never deleted; 0: only the last two are kept
    analyse_every: int = 0  # rounds between measurements of the vector field: spectrum, rotation, noise; 0: none
    score_every: int = 0  # rounds between scores of samples; 0: none
    scores: str = ""  # names from `python -m gan_jax evaluate --help`; by default the paper's own scores, if any
    score_n: int = 1000  # samples to score against the training images
    extractor: str = "pixels"  # of features for scores: pixels, random, or a file of weights, as for `evaluate`
    best: str = ""  # a logged metric whose best checkpoint is kept: the lowest, or for "-NAME" the highest
    dispatch: int = 0  # rounds per dispatch; 0: 1 on CPU, 10 on accelerators
    devices: int = 0  # number of devices; 0: all
    split_from: int = 0  # arrays of the State with at least so many elements are sharded over devices; 0: none
    distributed: str = ""  # for one of several processes: auto, or HOST:PORT/PROCESSES/PROCESS
    tensorboard: bool = False
    wandb: bool = False
    cache: str = ""  # folder of the compilation cache, by default in the user's cache directory
    no_cache: bool = False  # do not cache compiled programs
    verbose: bool = False  # print all metrics of every row


def run(
    paper: Paper,
    title: str,
    config: Any,
    options: Options = Options(),
    sweep: Mapping[str, Sequence[Any]] | None = None,
) -> list[Run]:
    """Train a Config of a paper in a run folder, with pictures during the training and a summary at its end.

    Args:
        paper: The Paper.
        title: Its name for config.json, "paper:preset".
        config: The Config.
        options: See `Options`.
        sweep: {field: values}. With seeds or a sweep the run is a population; each combination of values of fields that
            decide the structure of the computation is a program, with a folder, of its own.

    Returns:
        The runs, one for each program.
    """
    sweep = sweep or {}
    shapes = lambda game: jax.eval_shape(lambda: zeros(game, paper.spec(config)))
    apart = [field for field in sweep if population.decides_structure(paper.game, config, field, shapes)]
    together = {field: values for field, values in sweep.items() if field not in apart}
    seeds = range(config.seed, config.seed + max(1, options.seeds)) if options.seeds or together else ()
    folder = limits.path(options.run or f"runs/{title.replace('.py:', ':').replace(':', '-')}")
    runs = []
    for values in itertools.product(*(sweep[field] for field in apart)):
        own = dict(zip(apart, values, strict=True))
        place = "-".join([str(folder), *(f"{field}={value}" for field, value in own.items())])
        if own:
            print(f"{', '.join(apart)} cannot be traced, so each value is a program of its own: {place}")
        this = dataclasses.replace(config, **own)
        games = population.of(paper.game, this, seeds, together) if seeds else paper.game(this)
        runs.append(run_games(paper, title, this, dataclasses.replace(options, run=place), games))
    return runs


def run_games(paper: Paper, title: str, config: Any, options: Options, games: Any) -> Run:
    """Train a game of a paper's Config.

    Args:
        paper: The Paper.
        title: Its name for config.json, "paper:preset".
        config: The Config.
        options: See `Options`; `run` is the folder.
        games: The Config's Game or schedule, or a population of it.
    """
    if options.cache:
        keep_programs(options.cache)
    data, first = paper.data(config), as_schedule(games)(0)
    if options.epochs:
        steps = rounds(options.epochs, sources.epoch(data), config.batch, first.slices)
        config = dataclasses.replace(config, steps=steps)
    folder, fields = Path(options.run), dataclasses.asdict(config)
    written = [writers.tensorboard(folder)] if options.tensorboard else []
    written += [writers.wandb(folder, title, fields)] if options.wandb else []
    watch = _translated if paper.held_out else _sampled
    callbacks = [*watch(paper, config, data, options, first)]
    callbacks += [_analysed(first, config, data, options)] if options.analyse_every else []
    trained = train(
        games,
        data,
        steps=config.steps,
        batch=config.batch,
        seed=config.seed,
        run=folder,
        start=load(options.from_) if options.from_ else None,
        log_every=options.log_every,
        checkpoint_every=options.checkpoint_every,
        keep_every=options.keep_every or None,
        best=options.best or None,
        dispatch=options.dispatch or None,
        devices=options.devices or None,
        split_from=options.split_from,
        callbacks=callbacks,
        writers=written,
        paper=title,
        config=fields,
        cache=not options.no_cache,
        verbose=options.verbose,
    )
    if jax.process_index() == 0:
        _summary(paper, config, folder, trained, next(iter(first.translations), ""))
    return trained


def _summary(paper, config, folder, trained, domain):
    """Print samples (if stdout is a terminal), where the run's files are, and the next commands."""
    images = paper.shown(config) is show.images
    if images and sys.stdout.isatty() and not trained.game.axis:
        print(show.blocks(trained.sample(0, 8)["x"]))
    own = "" if paper.shipped else f" --paper {os.path.relpath(paper.file)}"
    print(f"Look:   {folder}/samples, progress.gif, curves.png")
    if domain:
        print(f"More:   python -m gan_jax translate {folder} --to {domain} --input FOLDER --out FOLDER{own}")
    else:
        print(f"More:   python -m gan_jax sample {folder}{own}")
    print(f"Score:  python -m gan_jax evaluate {folder}{own}")


def _sampled(paper, config, data, options, game):
    """The callbacks that save pictures of samples, and score samples if asked for."""
    yield options.sample_every, pictures(data, config.seed, Path(options.run), paper.shown(config))
    if options.score_every:
        yield _scored(paper, config, data, options)


def _translated(paper, config, data, options, game):
    """The callbacks that save pictures of translations, and score them if asked for."""
    held, folder = paper.held_out(config), Path(options.run) / "samples"
    save = lambda step, page: show.save_png(folder / f"{step}.png", page)
    yield options.sample_every, translation.pictures(held, save)
    if options.score_every:
        yield options.score_every, *translation.scored(held, options.score_n, game.translations)


def _scored(paper, config, data, options):
    """A callback that scores samples with the paper's own scores, or against the training data."""
    if paper.scores and not options.scores:
        score, some = paper.scores(config), {name: to_float(np.asarray(leaf[:32])) for name, leaf in data.items()}
        return options.score_every, *scoring.along(score, list(score(some)), config.samples)
    names, name = protocols.check(protocols.named(options.scores)), f"{references.stem(config.data)} as trained on"
    against = references.reference(data, name, references.extractor(options.extractor))
    return options.score_every, *scoring.callback(against, names, options.score_n)


def _analysed(game, config, data: Data, options):
    """A callback that measures the game's vector field on the first round's data."""
    if game.axis:
        raise UserError("--analyse-every is for a single training: leave out --seeds and --sweep, or fork a member.")
    first = sources.read(data, config.seed, 0, game.slices, config.batch)
    return analyse(options.analyse_every, jax.tree.map(lambda x: to_float(jax.numpy.asarray(x)), first))
