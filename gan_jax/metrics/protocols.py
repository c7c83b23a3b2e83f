"""Scores of images against real images, by name. Each score says the protocol under which it was taken.

A scorer is made once, from the real images and the extractor of their features, and then takes samples::

    against = reference(load("digits"), "digits train", extractor("pixels"))
    scorer(against, ["frechet_distance", "prdc"])(run.sample(0, 1000))      # {"frechet_distance": Score, …}
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gan_jax import metrics
from gan_jax.data import Set
from gan_jax.errors import UserError, nearest
from gan_jax.metrics.references import Extracted, Reference, extracted, rows_of
from gan_jax.metrics.score import Score

WHOLE = 10_000  # images of a set; the kernel distance of larger ones is the mean over 100 subsets of 1,000


@dataclass(frozen=True)
class Protocol:
    """A named group of scores.

    Attributes:
        score: (real, fake) -> {name: Score}.
        least: The fewest images of each set that it can be computed from.
    """

    score: Callable[[Extracted, Extracted], Mapping[str, Score]]
    least: int = 2


def _kernel_distance(x, y):
    whole = max(len(x), len(y)) <= WHOLE
    subsets = None if whole else metrics.random_subsets(len(x), len(y), size=min(1000, len(x), len(y)))
    return {"kernel_distance": metrics.kernel_distance(x.features, y.features, subsets)}


def _same_size(x, y):
    n = min(len(x), len(y))
    return x.rows(slice(n)), y.rows(slice(n))


def _nearest_neighbour_test(x, y):
    x, y = _same_size(x, y)
    found = metrics.nearest_neighbour_test(x.features, y.features)
    return {f"nearest_neighbour_{name}": score for name, score in found.items()}


def _inception_score(x, y):
    if y.probabilities is None:
        raise UserError("The inception score needs a classifier's probabilities: give a classifier as --extractor.")
    return {"inception_score": metrics.inception_score(y.probabilities, splits=10)}


def _by_class(name, metric):
    return lambda x, y: {name: metric(x.features, _classes(x, "real"), y.features, _classes(y, "generated"))}


def _classes(x, which):
    if x.labels is not None:
        return x.labels
    source = {
        "real": "a folder for each class, or the array y of a .npz",
        "generated": "samples {'x', 'y'} of a conditional generator, or of images a folder for each class",
    }
    raise UserError(f"This score needs the classes of the {which} images, an integer for each: {source[which]}.")


def _sliced_wasserstein(x, y):
    x, y = _same_size(x, y)
    found = metrics.sliced_wasserstein(np.asarray(x.images), np.asarray(y.images))
    return {f"sliced_wasserstein_{level.replace(' ', '')}": score for level, score in found.items()}


ON_FEATURES: dict[str, Protocol] = {
    "frechet_distance": Protocol(
        lambda x, y: {"frechet_distance": metrics.frechet_distance(x.gaussian, y.gaussian)},
    ),
    "kernel_distance": Protocol(_kernel_distance),
    "prdc": Protocol(lambda x, y: metrics.prdc(x.features, y.features, radii_x=x.radii), least=6),
    "inception_score": Protocol(_inception_score, least=10),
    "nearest_neighbour_test": Protocol(_nearest_neighbour_test),
    "intra_class": Protocol(_by_class("intra_class", metrics.intra_class_frechet_distance)),
    "classification_accuracy": Protocol(_by_class("classification_accuracy", metrics.classification_accuracy_score)),
}
ON_IMAGES: dict[str, Protocol] = {
    "sliced_wasserstein": Protocol(_sliced_wasserstein, least=1),
    "ms_ssim": Protocol(lambda x, y: {"ms_ssim": metrics.ms_ssim_diversity(np.asarray(y.images))}, least=4),
}
SCORES = {**ON_FEATURES, **ON_IMAGES}
USUAL = ("frechet_distance", "kernel_distance", "prdc")


def named(words: str) -> Sequence[str]:
    """The names in a list with commas; USUAL if it is empty.

    >>> named("prdc,ms_ssim")
    ['prdc', 'ms_ssim']
    """
    return words.split(",") if words else USUAL


def check(names: Sequence[str]) -> Sequence[str]:
    """The names as they are. UserError for one that is not in SCORES."""
    for name in names:
        if name not in SCORES:
            raise UserError(f"There is no score {name!r}{nearest(name, SCORES)}: there are {', '.join(SCORES)}.")
    return names


def score(fake: Extracted, against: Reference, names: Sequence[str]) -> dict[str, Score]:
    """The scores of the groups named: {"precision": Score, …}.

    Raises:
        UserError: A name that is not in SCORES, or fewer images than it needs.
    """
    found = {}
    for name in check(names):
        _check_enough(name, len(against.real), "real images")
        _check_enough(name, len(fake), "samples")
        title = against.extractor.called if name in ON_FEATURES else str
        for key, value in SCORES[name].score(against.real, fake).items():
            found[key] = replace(value, name=title(value.name), protocol={**value.protocol, **against.protocol})
    return found


def scorer(against: Reference, names: Sequence[str]) -> Callable[[Set | np.ndarray], dict[str, Score]]:
    """samples -> {name: Score}.

    Samples are a Set {"x": [n, h, w, c]}, with the classes "y" [n] where scores need them, or the array x alone; floats
    in [-1, 1] or bytes. Warns of Fréchet distances of fewer samples than features.
    """
    check(names)

    def scores(samples):
        samples = samples if isinstance(samples, Mapping) else {"x": samples}
        fake = extracted(samples, against)
        _warn_of_bias(names, against.real, fake)
        return score(fake, against, names)

    return scores


def score_images(data: Set, against: Reference, names: Sequence[str], *, n: int = 0) -> dict[str, Score]:
    """The scores of a set of images, with standard errors from random halves of them.

    Args:
        data: {"x": images [m, h, w, c], "y": classes [m]}, with "y" optional. Images on disk are read in chunks.
        against: The real images.
        names: Some of SCORES.
        n: Take at most this many of them, at random; 0: all.

    Raises:
        UserError: Fewer images than twice what a score needs; another shape than that of the real images.
    """
    rows = np.random.default_rng(1).permutation(len(data["x"]))[: n or None]
    for name in check(names):
        if len(rows) < (least := 2 * SCORES[name].least):
            raise UserError(
                f"{name} needs {least} images or more, half of them in each of the two halves that its standard error"
                f" is taken from; there are {len(rows)}."
            )
    fake = extracted({name: rows_of(leaf, rows) for name, leaf in data.items()}, against)
    _warn_of_bias(names, against.real, fake)
    return metrics.over_halves(lambda rows: score(fake.rows(rows), against, names), len(rows))


def _check_enough(name, n, what):
    least = SCORES[name].least
    if n < least:
        raise UserError(f"{name} needs {least} {what} or more; there are {n}.")


def _warn_of_bias(names, real, fake):
    """Warn where a Fréchet distance is taken of fewer images than features."""
    sizes, d = {"frechet_distance": [len(real), len(fake)]}, fake.features.shape[1]
    if real.labels is not None and fake.labels is not None:
        counts = lambda labels: np.unique(labels, return_counts=True)[1]
        sizes["intra_class"] = [*counts(real.labels), *counts(fake.labels)]
    few = {name: min(sizes[name]) for name in names if name in sizes and min(sizes[name]) <= d}
    if few:
        those = " and ".join(f"{name} of {n} images" for name, n in few.items())
        warnings.warn(
            f"{those} with {d} features is biased: take more than {d} images"
            f"{' of each class' if 'intra_class' in few else ''}, or compare it only at this number.",
            stacklevel=3,
        )
