"""The command line: `python experiments/PAPER.py PRESET …`, and `python -m gan_jax COMMAND …`."""

import dataclasses
import datetime
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro
from tyro.conf import Positional

from gan_jax import data as sources
from gan_jax import show
from gan_jax.cli import flags
from gan_jax.errors import UserError, nearest, say
from gan_jax.metrics import protocols, references
from gan_jax.pixels import to_bytes, to_float
from gan_jax.runs import cost as costs
from gan_jax.runs import experiment as experiments
from gan_jax.runs import fork as branches
from gan_jax.runs import paper as papers
from gan_jax.runs import results, translation
from gan_jax.runs import score as scoring
from gan_jax.runs.experiment import Options, Repeated
from gan_jax.runs.folder import describe, read_rows
from gan_jax.runs.load import load
from gan_jax.runs.replay import replay as play_again
from gan_jax.training import parallel
from gan_jax.training.spec import as_schedule, zeros


def experiment(file: str) -> None:
    """Train the paper in `file` as the command line says: its preset, then flags."""
    with flags.one_line_errors():
        paper, words = papers.paper(file), sys.argv[1:]
        chosen = words.pop(0) if words and not words[0].startswith("-") else next(iter(paper.presets))
        program = f"{paper.name}.py {{{','.join(paper.presets)}}}"
        given = flags.parse(paper.config(chosen), Options(), words, program, paper.doc)
        if how := given[1].distributed:
            parallel.start(how)
        sweep = dict(flags.values(given[0], word) for word in given[1].sweep)
        experiments.run(paper, paper.title(chosen), *given, sweep)


def main() -> None:
    """`python -m gan_jax COMMAND …`."""
    with flags.one_line_errors():
        commands = {
            "list": list_papers,
            "cost": cost,
            "sample": sample,
            "translate": translate,
            "evaluate": evaluate,
            "fork": fork,
            "replay": replay,
        }
        words = sys.argv[1:]
        if not words or words[0] in ("-h", "--help"):
            first = lambda f: str(f.__doc__).splitlines()[0]
            print("usage: python -m gan_jax COMMAND …", *(f"  {n:10}{first(f)}" for n, f in commands.items()), sep="\n")
            return
        if words[0] not in commands:
            hint = nearest(words[0], commands)
            raise UserError(f"There is no command {words[0]!r}{hint}: there are {', '.join(commands)}.")
        command: Callable = commands[words[0]]
        given = functools.wraps(command)(lambda *args, **kw: functools.partial(command, *args, **kw))
        run = flags.run(given, words[1:], prog=f"python -m gan_jax {words[0]}")
        run()  # only now: what is said while parsing is held back


def list_papers() -> None:
    """Every paper and preset: what it makes, its parameters, FLOPs a round, and how far it has been reproduced."""
    print(f"{'paper:preset':24}{'sample':>14}{'parameters':>14}{'GFLOP/round':>14}  reproduction")
    for name in papers.names():
        paper = papers.paper(name)
        for chosen, config in paper.presets.items():
            game, spec = as_schedule(paper.game(config))(0), paper.spec(config)
            shape = "x".join(map(str, jax.tree.leaves(paper.example(config))[0].shape))
            total, work = sum(costs.parameters(game, spec).values()), costs.flops(game, spec) / 1e9
            title = paper.title(chosen)
            print(f"{title:24}{shape:>14}{total:>14,}{work:>14,.2f}  {results.reproduction(title)}")


def cost(title: Positional[str], /) -> None:
    """Parameters, FLOPs, memory and expected time of PAPER:PRESET on this machine; plays a few rounds on noise."""
    module, config = papers.preset(title)
    game, spec = as_schedule(module.game(config))(0), module.spec(config)
    found = costs.measure(game, spec)
    images = game.slices * config.batch
    for player, number in found.parameters.items():
        print(f"{player:<20}{number:>16,} parameters")
    print(f"{'a round':<20}{found.flops / 1e9:>16,.2f} GFLOP, {images} images read")
    print(f"{'memory':<20}{found.bytes / 2**20:>16,.1f} MiB")
    print(f"{'pace':<20}{images / found.seconds:>16,.1f} images/s, {found.flops / found.seconds / 1e9:,.1f} GFLOP/s")
    total = found.compile_seconds + config.steps * found.seconds
    print(f"{'expected time':<20}{total:>16,.0f} s for {config.steps} rounds, compilation included")


def sample(
    run: Positional[str],
    /,
    n: int = 64,
    out: str = "samples.png",
    seed: int = 0,
    class_: Annotated[int | None, tyro.conf.arg(name="class")] = None,
    truncation: float | None = None,
    step: int | None = None,
    member: int | None = None,
) -> None:
    """Samples of the run in folder RUN, as a picture (.png) or as numbers (.npz: samples [n, …], images in [-1, 1])."""
    path = Path(out)
    if path.suffix not in SAVE:
        raise UserError(f"--out {out} must end in {' or '.join(SAVE)}.")
    if n < 1:
        raise UserError(f"--n is {n}: it must be at least 1.")
    options = {"y": class_, "truncation": truncation}
    options = {name: value for name, value in options.items() if value is not None}
    loaded = load(run, step=step)
    loaded = loaded if member is None else loaded.member(member)
    SAVE[path.suffix](path, loaded.sample(jax.random.key(seed), n, **options)["x"], loaded)
    print(f"{n} samples of {run} are in {out}.")


def translate(
    run: Positional[str],
    /,
    to: str,
    input: str,
    out: str,
    seed: int = 0,
    step: int | None = None,
    member: int | None = None,
) -> None:
    """Translate the pictures of a folder, a tar or a file by the run in folder RUN, each of its own size.

    --to          the domain: A or B
    --input       what is translated
    --out         a folder for the translations, NAME.png each; nothing in it is overwritten
    --seed        of the noise, where the translation has some
    """
    loaded = load(run, step=step)
    loaded = loaded if member is None else loaded.member(member)
    if np.ndim(loaded.state.step):
        raise UserError(f"{run} has members: say by --member which of them is to translate.")
    spec = describe(Path(run))["batch"]
    channels = jax.tree.leaves(jax.eval_shape(lambda: zeros(loaded.game, spec)))[0].shape[-1]
    written = 0
    for name, _, read in sources.one_by_one(input, channels):
        path = (Path(out) / name).with_suffix(".png")
        if path.exists() or path.is_symlink():
            raise UserError(f"{path} is there already: give an --out that is new or empty.")
        try:
            made = loaded.translate(to_float(read()[None]), to, jax.random.key(seed))
        except UserError as error:
            raise UserError(f"'{name}' in '{input}': {error}") from error
        show.save_png(path, to_bytes(made)[0])
        written += 1
    print(f"{written} pictures of {input}, translated to {to}, are in {out}.")


def _save_npz(path, samples, run):
    draft = path.with_name(f".{path.stem}.tmp.npz")  # whole or not at all
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(draft, samples=samples.astype(np.float32))
        draft.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place.") from None


SAVE = {".png": lambda path, samples, run: show.save_png(path, experiments.page(samples, run)), ".npz": _save_npz}


def evaluate(
    source: Positional[str],
    /,
    data: str = "",
    split: str = "train",
    scores: str = "",
    extractor: str = "pixels",
    resize: str = "",
    n: int | None = None,
    real: int = 0,
    draws: int = 5,
    seed: int = 0,
    step: int | None = None,
    member: int | None = None,
    out: str = "",
) -> None:
    """Scores of a run, or of images in a folder, tar or .npz: a paper's own, or against the real images of --data.

    A run that translates images is measured on those held out: l1, psnr and cycle.

    --scores      the paper's own if it has such and none are named; else frechet_distance,kernel_distance,prdc; or some
                  of frechet_distance, kernel_distance, prdc, inception_score, nearest_neighbour_test, intra_class,
                  classification_accuracy, sliced_wasserstein, ms_ssim: several with commas
    --extractor   pixels, random, a classifier's .npz, or the .pth of FID's Inception network
    --resize      for Inception: tf1_bilinear, as the published FID, or pil_bicubic, as clean-fid
    --n, --draws  samples of a run in a draw, and draws; of images, at most how many are taken (0: all)
    --real        real images to compare with, taken at random (0: all)
    --out         where a row is added; by default scores.jsonl in the run's folder
    """
    if min(n or 0, real, draws) < 0:
        raise UserError(f"--n {n or 0}, --real {real} and --draws {draws} count something: they must be 0 or more.")
    names = protocols.check(protocols.named(scores))
    about = describe(Path(source)) if (Path(source) / "config.json").exists() else {}
    if about and n == 0:
        raise UserError("--n 0 samples of a run give no score: it must be 1 or more.")
    run, perfect = load(source, step=step) if about else None, {}
    if run and member is not None:
        run = run.member(member)
    if run and np.ndim(run.state.step):
        raise UserError(f"{source} has {len(run.state.step)} members: score one at a time, by --member.")
    how = {"draws": draws, "seed": seed, "progress": True}
    if run and run.game.translations:
        found = _of_translations(run, about, data, scores, n)
    elif run and not (scores or data) and (own := _own_scores(about, n)):
        scorer, n, perfect = own
        found = scoring.score_run(run, scorer, n=n, **how)
    else:
        n = 10_000 if n is None else n
        images = _real_images(source, about, data, split)
        samples = None if run else sources.load(source)  # what is not there is told before the long part
        name = f"{references.stem(data or about['config']['data'])} {split}"
        against = references.reference(images, name, references.extractor(extractor, resize), real, progress=True)
        if run:
            found = scoring.score_run(run, protocols.scorer(against, names), n=n, **how)
        else:
            found = _score_images(samples, against, names, n)
    row = {"source": source, "date": datetime.date.today().isoformat()}
    row |= {"step": int(run.state.step), "seed": seed} if run else {}
    if out or run:  # written before it is shown
        _add_row(Path(out or f"{source}/scores.jsonl"), row | {"scores": {k: vars(v) for k, v in found.items()}})
    for name, score in found.items():
        say(str(score))
        if name in perfect:
            say(f"    exact samples: {str(perfect[name]).partition(';')[0]}")


def _of_translations(run, about, data, scores, n):
    """How far translations of images held out are from their truth, or from the same images there and back."""
    module, config = papers.configured(about["paper"], about["config"])
    if scores:
        raise UserError("A run that translates is scored on the images held out of --data: leave out --scores.")
    return translation.scores(run, module.held_out(dataclasses.replace(config, data=data or config.data)), n or 1000)


def _score_images(samples, against, names, n):
    same = references.copied(against.real, samples["x"])
    if same > 0.01:
        print(f"warning: {same:.0%} of these images are real ones, byte for byte.", file=sys.stderr)
    return protocols.score_images(samples, against, names, n=n)


def _own_scores(about, n):
    """(scores, of how many samples, what exact samples get) of the paper of a run, or None if it has no own ones."""
    module, config = papers.configured(about["paper"], about["config"])
    if not module.scores:
        return None
    config = dataclasses.replace(config, samples=n or config.samples)
    return module.scores(config), config.samples, module.perfect(config) if module.perfect else {}


def _real_images(source, about, data, split):
    """The real images of `data`, by default a run's own, in the shape that it makes."""
    shape = about["batch"]["x"][0][1:] if about else [None] * 3
    if len(shape) != 3:
        raise UserError(f"{source} makes no images but arrays of shape {shape}, which have no scores here.")
    data = data or about.get("config", {}).get("data", "")
    if not data:
        raise UserError("There is nothing to compare with: name the real images by --data.")
    side, _, channels = shape
    return sources.load(data, split=split, size=side, channels=channels)


def fork(
    run: Positional[str],
    /,
    set: Repeated = (),
    at: int | None = None,
    member: int | None = None,
    steps: int = 0,
    data: str = "",
    out: str = "",
) -> None:
    """Branch a run: from round --at on, under other settings, with the same past; then compare the two.

    --set         FIELD=VALUE of the recipe, such as loss=hinge; may be repeated
    --at          a round that a checkpoint was kept of; by default the newest
    --member      take this member out of a population, as a run of its own
    --steps       go on to this round; by default as far as the recipe says
    --data        where its data lies, if elsewhere now
    --out         the branch's folder; by default the run's name and what is set
    """
    paper, title, config, members = branches.settings(Path(run), member)
    given = {"steps": steps, "data": data}
    words = [*set, *(f"{field}={value}" for field, value in given.items() if value)]
    for word in words:
        field, values = flags.values(config, word)
        config = dataclasses.replace(config, **{field: values[0]})
    named = [*set, *([] if member is None else [f"member={member}"])]
    folder = Path(out or "-".join([run.rstrip("/"), *(named or ["fork"])]))
    t = branches.fork(Path(run), folder, config, paper.data(config), at, member)
    print(f"{folder} has the past of {run} up to round {t}; it goes on to {config.steps}.")
    if config.steps > t:
        experiments.run_games(paper, title, config, Options(run=str(folder)), branches.games(paper, config, members))
    label = lambda path: Path(path).name
    rows = {label(run): read_rows(Path(run)), label(folder): read_rows(folder)}
    if member is not None:
        rows[label(run)] = branches.alone(rows[label(run)], member)
    show.compare(rows, folder / "compare.png")
    print(f"Both in one picture: {folder / 'compare.png'}")


def replay(
    run: Positional[str],
    /,
    data: str = "",
    step: int | None = None,
    steps: int | None = None,
    member: int | None = None,
) -> None:
    """Play a run that broke again from a checkpoint, and say which layer or loss was the first that was not finite.

    --data        where its data lies, if elsewhere now
    --step        the checkpoint to play from, by default the newest
    --steps       play up to this round; by default as far as the recipe says
    --member      of a population, whose members are played one at a time
    """
    about = describe(Path(run))
    if not about["paper"]:
        raise UserError(f"{run} is a run of your own game: play it again by gan_jax.replay(folder, data, game).")
    module, config = papers.configured(about["paper"], about["config"])
    images = module.data(dataclasses.replace(config, data=data or config.data))
    fault = play_again(run, images, step=step, steps=steps, member=member)
    if fault is None:
        print(f"{run} stays finite up to round {steps or config.steps}: there is nothing to mend.")
        return
    print(f"{fault}.")
    print(f"Losses of that round: {', '.join(f'{name} {value:.4g}' for name, value in fault.losses.items())}.")


def _add_row(path, row):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():  # what a run from elsewhere has there may lead anywhere
            raise UserError(f"{path} is a link; choose another --out.")
        with path.open("a") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out.") from None
