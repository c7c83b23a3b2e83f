"""`evaluate`: scores of a run, or of images."""

import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from gan_jax import data as sources
from gan_jax import limits
from gan_jax.errors import UserError, say
from gan_jax.metrics import protocols, references
from gan_jax.runs import score as scoring
from gan_jax.runs import translation
from gan_jax.runs.folder import describe
from gan_jax.runs.load import configured, load

HELD_OUT, IMAGES = 1000, 10_000  # how many are scored if --n does not say


def evaluate(
    source: str,  # a run's folder; or images: a folder, a tar or an .npz
    /,
    data: str = "",  # the real images; of a run, where its data lies if elsewhere now, by default its own
    split: str = "train",  # of the real images
    scores: str = "",  # names with commas between them; by default the paper's own, or else the first three below
    extractor: str = "pixels",  # of features: pixels, random, a classifier's .npz, or the .pth of FID's Inception
    resize: str = "",  # for Inception: tf1_bilinear, as the published FID, or pil_bicubic, as clean-fid
    n: int | None = None,  # samples of a run in a draw; of images, at most how many are taken (0: all)
    real: int = 0,  # real images to compare with, taken at random (0: all)
    draws: int | None = None,  # of a run; by default 5, or 1 of each member of a population
    seed: int = 0,  # of the draws
    step: int | None = None,  # a round that a checkpoint was kept of; by default the newest
    member: int | None = None,  # of a population; by default the scores are the mean over members
    out: str = "",  # a file to which a row is added; by default scores.jsonl in the run's folder
    paper: str = "",  # the paper's file, where the run is of a paper of your own
) -> None:
    """Scores of a run, or of images: a paper's own, or against real images.

    Scores: frechet_distance, kernel_distance, prdc, inception_score, nearest_neighbour_test, intra_class,
    classification_accuracy, sliced_wasserstein, ms_ssim. A run that translates is scored on its images held out: l1,
    psnr and cycle.
    """
    names = protocols.check(protocols.named(scores))
    folder, how = limits.path(source), {"names": names, "extractor": (extractor, resize), "n": n, "real": real}
    row: dict[str, Any] = {"source": source, "date": datetime.date.today().isoformat()}
    if (folder / "config.json").exists():
        if n == 0:
            raise UserError("--n 0 samples of a run give no score: it must be 1 or more.")
        run = load(folder, step=step, paper=paper or None)
        run = run if member is None else run.member(member)
        draw = {"draws": draws, "seed": seed, "progress": True}
        found, exact = _of_run(run, folder, paper, data, split, bool(scores), how, draw)
        row |= {"step": int(run.state.step.max()), "seed": seed} | ({} if member is None else {"member": member})
        _add_row(limits.path(out) if out else folder / "scores.jsonl", row | _as_json(found))  # before it is shown
    else:
        found, exact = _of_images(source, data, split, how), {}
        if out:
            _add_row(limits.path(out), row | _as_json(found))
    for name, score in found.items():
        say(str(score))
        if name in exact:
            say(f"    exact samples: {str(exact[name]).partition(';')[0]}")


def _of_run(run, folder, file, data, split, named, how, draw):
    """(scores, those of exact samples) of a run."""
    paper, config = configured(folder, describe(folder), file or None)
    config = dataclasses.replace(config, data=data or config.data)
    if run.game.translations:
        if named:
            raise UserError("A run that translates is scored on the images held out of --data: leave out --scores.")
        return translation.scores(run, paper.held_out(config), how["n"] or HELD_OUT), {}
    if paper.scores and not (named or data or split != "train"):
        config = dataclasses.replace(config, samples=how["n"] or config.samples)
        exact = paper.perfect(config) if paper.perfect else {}
        return scoring.score_run(run, paper.scores(config), n=config.samples, **draw), exact
    images = paper.data(config) if split == "train" else _split(paper, config, split)
    if sources.several(images):
        raise UserError(f"The data of {folder} are several sets, which have no scores here: name some by --data.")
    against = _reference(images, f"{references.stem(config.data)} {split}", how)
    scorer = protocols.scorer(against, how["names"])
    return scoring.score_run(run, scorer, n=IMAGES if how["n"] is None else how["n"], **draw), {}


def _split(paper, config, split):
    """Another split of the data's source, in the size of the paper's images."""
    shape = paper.example(config)["x"].shape
    if len(shape) != 3:
        raise UserError(f"--split {split} is of images; this run makes arrays of shape {list(shape)}: leave it out.")
    return sources.load(config.data, split=split, size=shape[0], channels=shape[2])


def _of_images(source, data, split, how):
    if not data:
        raise UserError("There is nothing to compare with: name the real images by --data.")
    samples = sources.load(source)  # first, for the rest takes long
    against = _reference(sources.load(data, split=split), f"{references.stem(data)} {split}", how)
    same = references.copied(against.real, samples["x"])
    if same > 0.01:
        say(f"warning: {same:.0%} of these images are real ones, byte for byte.", sys.stderr)
    return protocols.score_images(samples, against, how["names"], n=IMAGES if how["n"] is None else how["n"])


def _reference(images, name, how):
    return references.reference(images, name, references.extractor(*how["extractor"]), how["real"], progress=True)


def _as_json(scores):
    return {"scores": {name: vars(score) for name, score in scores.items()}}


def _add_row(path: Path, row):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():  # in a run from elsewhere it may lead anywhere
            raise UserError(f"{path} is a link; choose another --out.")
        with path.open("a") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out.") from None
