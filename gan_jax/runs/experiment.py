"""An experiment: one paper trained in a run folder, with pictures, scores and a summary."""

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from gan_jax import analysis, population, show
from gan_jax import data as sources
from gan_jax.cli import flags
from gan_jax.data import batch_indices, check_enough, rounds
from gan_jax.errors import UserError
from gan_jax.game import Game
from gan_jax.metrics import protocols, references
from gan_jax.pixels import to_float
from gan_jax.runs import score as scoring
from gan_jax.runs import translation
from gan_jax.runs.paper import Paper
from gan_jax.runs.run import as_schedule, load, read_rows, sampler, zeros
from gan_jax.training import parallel, writers
from gan_jax.training.loop import train

Repeated = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


@dataclass(frozen=True)
class Options:
    """How a run is kept and watched: none of it changes the training."""

    run: str = ""  # the run's folder; by default runs/PAPER-PRESET
    epochs: float = 0.0  # another way to say --steps
    seeds: int = 0  # so many trainings as one program, from --seed on; 0: one
    sweep: Repeated = ()  # FIELD=VALUE,VALUE,… of the recipe: a training for each, times the seeds; may be repeated
    start: Annotated[str, tyro.conf.arg(name="from")] = ""  # a run whose weights this one is born with
    log_every: int = 100  # rounds
    sample_every: int = 500
    checkpoint_every: int = 1000
    keep_every: int = 0  # checkpoints kept beside the last two; 0: none
    analyse_every: int = 0  # rounds between looks at the game's vector field: spectrum, rotation, noise; 0: none
    score_every: int = 0  # rounds between scores of samples; 0: none
    scores: str = ""  # of images, as `python -m gan_jax evaluate --help` lists them; by default the paper's own, if any
    score_n: int = 1000  # samples to score against the training images
    extractor: str = "pixels"  # or random, or a file of weights, as for `evaluate`
    best: str = (
        ""  # a metric whose best checkpoint, of those it is logged at, is kept; lower is better, "-NAME": higher
    )
    dispatch: int = 0  # rounds to a dispatch; 0: 1 on CPU, 10 on accelerators
    devices: int = 0  # that share each batch; 0: all there are
    split_from: int = 0  # weights and moments of so many numbers are split over the devices; 0: each holds them all
    distributed: str = ""  # this is one of several processes: auto, or HOST:PORT/PROCESSES/PROCESS
    tensorboard: bool = False
    wandb: bool = False


def run(paper: Paper, title: str, config: Any, options: Options = Options()) -> None:
    """Train one Config of a paper in a run folder, with pictures as it goes and a summary at its end.

    With seeds or a sweep, a population; values that decide the structure are programs of their own, in a folder each.
    """
    sweep = dict(flags.values(config, word) for word in options.sweep)
    shapes = lambda game: jax.eval_shape(lambda: zeros(game, spec(paper, config)))
    apart = [field for field in sweep if population.decides_structure(paper.game, config, field, shapes)]
    together = {field: values for field, values in sweep.items() if field not in apart}
    seeds = range(config.seed, config.seed + max(1, options.seeds)) if options.seeds or together else ()
    folder = options.run or f"runs/{title.replace('.py:', ':').replace(':', '-')}"
    for values in itertools.product(*(sweep[field] for field in apart)):
        own = dict(zip(apart, values, strict=True))
        place = "-".join([folder, *(f"{field}={value}" for field, value in own.items())])
        if own:
            print(f"{', '.join(apart)} cannot be traced, so each value is a program of its own: {place}")
        this = dataclasses.replace(config, **own)
        games = population.of(paper.game, this, seeds, together) if seeds else paper.game(this)
        run_games(paper, title, this, dataclasses.replace(options, run=place), games)


def run_games(paper: Paper, title: str, config: Any, options: Options, games: Any) -> None:
    """Train `games`: the Game of the Config, its schedule, or a population of it."""
    data = paper.data(config)
    check_enough(data, config.batch)
    slices = as_schedule(games)(0).slices
    if options.epochs:
        config = dataclasses.replace(config, steps=rounds(options.epochs, sources.epoch(data), config.batch, slices))
    folder = Path(options.run)
    fields = dataclasses.asdict(config)
    written = [writers.tensorboard(folder)] if options.tensorboard else []
    written += [writers.wandb(folder, title, fields)] if options.wandb else []
    watch = _translated if paper.held_out else _sampled
    watched, more = watch(paper, config, data, options, games)
    analysed = [_analysed(games, config, data, options)] if options.analyse_every else []
    train(
        games,
        data,
        steps=config.steps,
        batch=config.batch,
        seed=config.seed,
        run=folder,
        start=load(options.start).state if options.start else None,
        log_every=options.log_every,
        checkpoint_every=options.checkpoint_every,
        keep_every=options.keep_every or None,
        best=options.best or None,
        dispatch=options.dispatch or None,
        devices=options.devices or None,
        split_from=options.split_from,
        callbacks=[*watched, *analysed],
        writers=written,
        paper=title,
        config=fields,
    )
    if not parallel.first():
        return
    pictures = sorted((folder / "samples").glob("[0-9]*.png"), key=lambda path: int(path.stem))
    show.gif(pictures, folder / "progress.gif")
    show.curves(read_rows(folder), folder / "curves.png")
    if kept := analysis.kept(folder):
        show.spectrum({step: found["spectrum"] for step, found in kept.items()}, folder / "spectrum.png")
        layers = {step: {k: v for k, v in found.items() if k.startswith("singular/")} for step, found in kept.items()}
        show.singular_values(layers, folder / "singular_values.png")
    print(f"{folder} has {config.steps} rounds: samples/, progress.gif, curves.png, metrics.jsonl and checkpoints/.")
    print(more)


def spec(paper: Paper, config: Any) -> Any:
    """{name: [shape of a batch, dtype]} of what the paper's game reads."""
    return jax.tree.map(lambda x: [[config.batch, *x.shape], x.dtype], paper.example(config))


def _sampled(paper, config, data, options, games):
    """The callbacks that draw samples, and score them where asked for; and how to have more."""
    alone, images = isinstance(as_schedule(games)(0), Game), data["x"].ndim == 4
    shown = (64 if alone else ROW) if images else 2500  # points
    first = batch_indices(config.seed, 0, len(data["x"]), min(shown, len(data["x"])))[0]
    draw = _pictures(Path(options.run), jax.random.key(config.seed), data["x"][first], shown)
    scored = [_scored(paper, config, data, options)] if options.score_every else []
    return [(options.sample_every, draw), *scored], (
        f"More samples: python -m gan_jax sample {options.run} --n {shown} --out grid.png"
    )


def _translated(paper, config, data, options, games):
    """The callbacks that translate images held out, and measure them where asked for; and how to have more."""
    held, folder, known = paper.held_out(config), Path(options.run) / "samples", as_schedule(games)(0).translations
    save = lambda step, page: show.save_png(folder / f"{step}.png", page)
    watched: list[Any] = [(options.sample_every, translation.pictures(held, save))]
    if options.score_every:
        watched.append((options.score_every, *translation.scored(held, options.score_n, known)))
    to = next(iter(known))
    return (
        watched,
        f"More translations: python -m gan_jax translate {options.run} --to {to} --input FOLDER --out FOLDER",
    )


def _pictures(folder, key, real, n):
    """A callback that draws n samples from the same noise each time; `real` is drawn once."""
    made = {}

    def draw(run, step):
        images = made.setdefault(run.game, sampler(run.game, n))(run.state, key)

        def finish():
            if not (folder / "samples" / "real.png").exists():
                show.save_png(folder / "samples" / "real.png", show.picture(real))
            show.save_png(folder / "samples" / f"{step}.png", page(np.asarray(images), run, real))

        return finish

    return draw


MEMBERS, ROW = 16, 8  # of a population in a picture, at most, and images of each


def page(samples: np.ndarray, run: Any, real: np.ndarray | None = None) -> np.ndarray:
    """Samples as a picture; of a population, a row of images or a cloud of points for each member."""
    if not np.ndim(run.state.step):
        return show.picture(samples, real)
    if samples.ndim == 5:
        return show.grid(np.concatenate(samples[:MEMBERS, :ROW]), columns=min(ROW, samples.shape[1]))
    return show.tiles([show.picture(member, real) for member in samples[:MEMBERS]])


def _scored(paper, config, data, options):
    """A callback that scores samples as the paper does, or against the images that the run learns from."""
    if paper.scores and not options.scores:
        score, some = paper.scores(config), to_float(np.asarray(data["x"][:32]))
        return options.score_every, *scoring.along(score, list(score({"x": some})), config.samples)
    if data["x"].ndim != 4:
        raise UserError(f"--scores are of images, not of arrays of shape {list(data['x'].shape[1:])}: leave it out.")
    names, name = protocols.check(protocols.named(options.scores)), f"{references.stem(config.data)} as trained on"
    against = references.reference(data, name, references.extractor(options.extractor))
    return options.score_every, *scoring.callback(against, names, options.score_n)


def _analysed(games, config, data, options):
    """A callback that looks at the game's vector field on the first round's data."""
    game = as_schedule(games)(0)
    if not isinstance(game, Game):
        raise UserError("--analyse-every looks at one training: leave out --seeds and --sweep, or fork a member.")
    first = sources.read(data, config.seed, 0, game.slices, config.batch)
    return analysis.callback(options.analyse_every, jax.tree.map(lambda x: to_float(jnp.asarray(x)), first))
