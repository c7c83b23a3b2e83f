"""Scores of samples against real images, by names a user can type; each prints with the protocol it was taken under.

The features of real images are kept in a file per (data, extractor), for they are asked for again and again:
in $GAN_JAX_CACHE, by default ~/.cache/gan_jax. It may be deleted at any time.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8
from tqdm import tqdm

from gan_jax import data as sources
from gan_jax import limits, metrics
from gan_jax.errors import UserError, nearest
from gan_jax.metrics import Extractor, Moments, Score, extractors
from gan_jax.metrics.score import DRAWS
from gan_jax.pixels import to_bytes
from gan_jax.runs.run import CHUNK, Run, sampler

WHOLE = 10_000  # images of a set; the kernel distance of larger ones is taken over 100 subsets of 1,000


@dataclass(frozen=True)
class Seen:
    """Images and what an extractor saw in them."""

    images: UInt8[np.ndarray, "n h w c"]
    features: Float32[np.ndarray, "n d"]
    probabilities: Float32[np.ndarray, "n classes"] | None = None
    labels: Int[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def gaussian(self) -> Moments | Float32[np.ndarray, "n d"]:
        """What the Fréchet distance takes, and need not find twice."""
        n, d = self.features.shape
        return metrics.moments(self.features) if n > d else self.features

    @cached_property
    def radii(self) -> Float64[np.ndarray, " n"]:
        return metrics.radii(self.features)

    def rows(self, rows) -> "Seen":
        some = lambda part: None if part is None else part[rows]
        return Seen(self.images[rows], self.features[rows], some(self.probabilities), some(self.labels))


Scoring = Callable[[Seen, Seen], Mapping[str, Score]]  # (real, fake) -> scores by name


def _kernel_distance(x, y):
    whole = max(len(x), len(y)) <= WHOLE
    subsets = None if whole else metrics.random_subsets(len(x), len(y), size=min(1000, len(x), len(y)))
    return {"kernel_distance": metrics.kernel_distance(x.features, y.features, subsets)}


def _even(x, y):
    """As many of one as of the other."""
    n = min(len(x), len(y))
    return x.rows(slice(n)), y.rows(slice(n))


def _nearest_neighbour_test(x, y):
    x, y = _even(x, y)
    found = metrics.nearest_neighbour_test(x.features, y.features)
    return {f"nearest_neighbour_{name}": score for name, score in found.items()}


def _classes(seen, whose):
    if seen.labels is None:
        raise UserError(f"This score needs the classes of the {whose} images: subfolders, or the array y of a .npz.")
    return seen.labels


def _inception_score(x, y):
    if y.probabilities is None:
        raise UserError("The inception score needs a classifier's probabilities: give a classifier as --extractor.")
    return {"inception_score": metrics.inception_score(y.probabilities, splits=10)}


def _with_classes(name, metric):
    return lambda x, y: {name: metric(x.features, _classes(x, "real"), y.features, _classes(y, "generated"))}


def _sliced_wasserstein(x, y):
    x, y = _even(x, y)
    found = metrics.sliced_wasserstein(x.images, y.images)
    return {f"sliced_wasserstein_{level.replace(' ', '')}": score for level, score in found.items()}


ON_FEATURES: dict[str, Scoring] = {
    "frechet_distance": lambda x, y: {"frechet_distance": metrics.frechet_distance(x.gaussian, y.gaussian)},
    "kernel_distance": _kernel_distance,
    "prdc": lambda x, y: metrics.prdc(x.features, y.features, radii_x=x.radii if len(x) > 5 else None),
    "inception_score": _inception_score,
    "nearest_neighbour_test": _nearest_neighbour_test,
    "intra_class": _with_classes("intra_class", metrics.intra_class_frechet_distance),
    "classification_accuracy": _with_classes("classification_accuracy", metrics.classification_accuracy_score),
}
ON_IMAGES: dict[str, Scoring] = {
    "sliced_wasserstein": _sliced_wasserstein,
    "ms_ssim": lambda x, y: {"ms_ssim": metrics.ms_ssim_diversity(y.images)},
}
SCORES = {**ON_FEATURES, **ON_IMAGES}
USUAL = ("frechet_distance", "kernel_distance", "prdc")


def named(words: str) -> Sequence[str]:
    """The names in "prdc,ms_ssim", by default USUAL."""
    return words.split(",") if words else USUAL


def check(names: Sequence[str]) -> Sequence[str]:
    """The names as they are. UserError for one that is none of SCORES."""
    for name in names:
        if name not in SCORES:
            raise UserError(f"There is no score {name!r}{nearest(name, SCORES)}: there are {', '.join(SCORES)}.")
    return names


@dataclass(frozen=True)
class Reference:
    """Real images, who saw them, and what a score's protocol says of them."""

    real: Seen
    extractor: Extractor
    protocol: Mapping[str, Any]


def reference(data: sources.Set, name: str, extractor: Extractor, limit: int = 0, progress: bool = False) -> Reference:
    """Images [n, h, w, c], shuffled, and at most `limit` of them (0: all); `name` is theirs in the protocol."""
    digest, images = sources.content_hash(data), to_bytes(np.asarray(data["x"]))
    features, probabilities = _cached(
        digest, len(images), extractor, partial(metrics.extract, extractor, images, progress=progress)
    )
    labels = np.asarray(data["y"]) if "y" in data else None
    order = np.random.default_rng(0).permutation(len(images))[: limit or None]
    protocol = extractor.protocol(images.shape[-1]), {"reference": f"{name} {digest[:8]}", "images": _shape(images)}
    return Reference(Seen(images, features, probabilities, labels).rows(order), extractor, protocol[0] | protocol[1])


def score(fake: Seen, against: Reference, names: Sequence[str]) -> dict[str, Score]:
    """{"precision": Score, …}: what the names ask for. UserError for a name that is none of SCORES."""
    found = {}
    for name in check(names):
        title = against.extractor.called if name in ON_FEATURES else str
        for key, value in SCORES[name](against.real, fake).items():
            found[key] = replace(value, name=title(value.name), protocol={**value.protocol, **against.protocol})
    return found


def scorer(against: Reference, names: Sequence[str]) -> Callable[[np.ndarray], dict[str, Score]]:
    """Samples [n, h, w, c] in [-1, 1] -> their scores."""
    return lambda samples: score(see(to_bytes(samples), against), against, names)


def score_run(
    run: Run, scores: Callable, *, n: int, draws: int = DRAWS, seed: int = 0, progress: bool = False
) -> dict[str, Score]:
    """The mean scores of independent draws of n samples, and their standard errors; `scores` takes samples [n, …].

    UserError for fewer than 5 draws.
    """
    if draws < DRAWS:
        raise UserError(f"{draws} draws give no uncertainty: take {DRAWS} or more.")
    keys = jax.random.split(jax.random.key(seed), draws)
    found = [scores(run.sample(key, n)) for key in tqdm(keys, disable=not progress, unit=" draws")]
    return {name: metrics.over_draws([one[name] for one in found]) for name in found[0]}


def score_images(data: sources.Set, against: Reference, names: Sequence[str], *, n: int = 0) -> dict[str, Score]:
    """The scores of images as they are, at most n of them, at random (0: all); standard errors from halves of them."""
    order = np.random.default_rng(1).permutation(len(data["x"]))[: n or None]
    labels = np.asarray(data["y"])[order] if "y" in data else None
    fake = replace(see(to_bytes(np.asarray(data["x"])[order]), against), labels=labels)
    return metrics.over_halves(lambda rows: score(fake.rows(rows), against, names), len(order))


def see(images: UInt8[np.ndarray, "n h w c"], against: Reference) -> Seen:
    """What the reference's extractor sees in samples. UserError where they are not of the real images' shape."""
    if images.shape[1:] != against.real.images.shape[1:]:
        ours, theirs = _shape(images), _shape(against.real.images)
        raise UserError(f"Samples of {ours} cannot be scored against real images of {theirs}: bring both to one shape.")
    return Seen(images, *metrics.extract(against.extractor, images))


def copied(real: Seen, images: UInt8[np.ndarray, "n h w c"]) -> float:
    """The share of images that are real ones, byte for byte."""
    known = {image.tobytes() for image in real.images}
    return float(np.mean([image.tobytes() in known for image in images]))


def callback(against: Reference, names: Sequence[str], n: int, seed: int = 0) -> tuple[Callable, list[str]]:
    """`along` by scores against real images. UserError now, not in the training, for what cannot be scored."""
    some = against.real.rows(slice(n))
    return along(scorer(against, names), list(score(some, replace(against, real=some), names)), n, seed)


def along(scores: Callable, names: Sequence[str], n: int, seed: int = 0) -> tuple[Callable, list[str]]:
    """(fn, what it logs) for `train(callbacks=[(every, *along(…))])`: "score/NAME", … of a draw of n samples.

    scores: samples [n, …] -> {name: Score}. The noise is the same each time. Samples are dispatched at once, and scored
    when the next rounds are under way. Of a population, each member is scored.
    """

    def start(run, step):
        make, key = sampler(run.game), jax.random.key(seed)
        chunks = [make(run.state, jax.random.fold_in(key, i)) for i in range(-(-n // CHUNK))]

        def finish():
            axis = np.ndim(run.state.step)  # 1 of a population
            samples = np.take(np.concatenate([np.asarray(chunk) for chunk in chunks], axis), np.arange(n), axis)
            found = [scores(one) for one in (samples if axis else [samples])]
            values = {f"score/{name}": np.array([one[name].value for one in found]) for name in found[0]}
            return values if axis else {name: value[0] for name, value in values.items()}

        return finish

    return start, [f"score/{name}" for name in names]


def extractor(word: str, resize: str = "") -> Extractor:
    """By its name, or by the kind of the file of its weights. UserError for neither, or a resize that it has not."""
    known = {"pixels": extractors.pixels, "random": extractors.random_network}
    inception = partial(extractors.inception, resize=resize) if resize else extractors.inception
    files, kind = {".npz": extractors.classifier, ".pth": inception}, Path(word).suffix
    if resize and kind != ".pth":
        raise UserError(
            f"--resize {resize} is for the Inception network: leave it out, or give its .pth as --extractor."
        )
    if word in known:
        return known[word]()
    if kind not in files:
        raise UserError(f"--extractor {word} is none of {', '.join(known)}, a classifier's .npz or Inception's .pth.")
    return files[kind](word)


def stem(data: str) -> str:
    """What a set is called in a protocol: the last part of where it lies, without its kind."""
    return re.sub(r"\.(tar|tgz|npz|gz|xz|bz2)\b.*", "", Path(data).name)


def _shape(images):
    return " x ".join(map(str, images.shape[1:]))


def _cached(digest, n, extractor, make):
    """Features and probabilities of n images, from their file, which is made anew where it cannot be read."""
    folder = Path(os.environ.get("GAN_JAX_CACHE") or "~/.cache/gan_jax").expanduser()
    key = hashlib.sha256(f"1 {digest} {extractor.name} {extractor.resize}".encode()).hexdigest()[:16]
    path = folder / f"features-{key}.npz"
    try:
        found = limits.npz(path)
        features, probabilities = found["features"], found["probabilities"]
        probabilities = probabilities if probabilities.size else None
        for part in (features, *([] if probabilities is None else [probabilities])):
            if part.ndim != 2 or len(part) != n or part.dtype != np.float32:
                raise ValueError(f"{part.dtype} {part.shape} are no features of {n} images")
        return features, probabilities
    except (ValueError, KeyError):
        features, probabilities = make()
    draft = folder / f"{path.stem}.{os.getpid()}.tmp.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(draft, features=features, probabilities=np.zeros(0) if probabilities is None else probabilities)
        draft.replace(path)
    except OSError:  # without a cache it is slower, no more
        with contextlib.suppress(OSError):
            draft.unlink()
    return features, probabilities
