"""Image translation between two domains, A and B: pictures on held-out images, and distances to the ground truth."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Num, UInt8

from gan_jax import show
from gan_jax.data.held_out import HeldOut, Images
from gan_jax.errors import UserError
from gan_jax.metrics import Score
from gan_jax.runs.run import Run

Callback = Callable[[Run, int], Callable[[], dict[str, Any] | None]]


class Translated(NamedTuple):
    """Translations of the images of a domain.

    Attributes:
        source: Their domain.
        there: Translations to the other domain, [n, h, w, c], or [members, n, h, w, c] for a population.
        back: Translations of these back to the source domain; None if the game has none.
    """

    source: str
    there: np.ndarray
    back: np.ndarray | None


def translate(run: Run, images: Images) -> dict[str, Translated]:
    """All translations of a game, {target domain: Translated}, for images {domain: [n, h, w, c]} in [-1, 1]."""
    found = {}
    for to in run.game.translations:
        source = _other(images, to)
        there = run.translate(images[source], to)
        found[to] = Translated(source, there, run.translate(there, source) if source in run.game.translations else None)
    return found


def _other(images, domain):
    (other,) = set(images) - {domain}
    return other


def page(images: Images, found: Mapping[str, Translated], paired: bool) -> UInt8[np.ndarray, "height width c"]:
    """A picture with a row per image: the image, its translation, that translated back (if possible), and the truth.

    Args:
        images: {domain: [n, h, w, c]} in [-1, 1].
        found: Their translations, from `translate`.
        paired: Whether the two domains' images are pairs, so that the truth is known.
    """
    lines = []
    for to, one in found.items():
        columns = [images[one.source], one.there, *([] if one.back is None else [one.back])]
        columns += [images[to]] if paired else []
        lines.append(np.stack(columns, 1))
    return show.grid(np.concatenate([line.reshape(-1, *line.shape[2:]) for line in lines]), lines[0].shape[1])


def distances(
    images: Images, found: Mapping[str, Translated], paired: bool
) -> dict[str, Num[np.ndarray, "*members n"]]:
    """Errors of translations, per image.

    Args:
        images: {domain: [n, h, w, c]} in [-1, 1].
        found: Their translations, from `translate`.
        paired: Whether the two domains' images are pairs, so that the truth is known.

    Returns:
        For pairs "l1/TARGET", the mean absolute error as a share of the range from black to white, and "psnr/TARGET" in
        dB; where images can be translated back, "cycle/SOURCE", the mean absolute error of the cycle.

    >>> black, white = np.full((1, 2, 2, 1), -1.0), np.ones((1, 2, 2, 1))
    >>> distances({"A": black, "B": white}, {"B": Translated("A", black, None)}, paired=True)["l1/B"]
    array([1.])
    """
    errors, each = {}, (-3, -2, -1)
    for to, one in found.items():
        if paired:
            error = np.abs(one.there - images[to]) / 2
            errors[f"l1/{to}"] = error.mean(each)
            with np.errstate(divide="ignore"):  # infinite for an exact translation
                errors[f"psnr/{to}"] = -10 * np.log10(np.square(error).mean(each))
        if one.back is not None:
            errors[f"cycle/{one.source}"] = (np.abs(one.back - images[one.source]) / 2).mean(each)
    return errors


def scores(run: Run, held: HeldOut, n: int) -> dict[str, Score]:
    """The means of `distances` over the first n held-out images, with their standard errors.

    Args:
        run: A single training.
        held: The held-out images.
        n: Number of images.

    Raises:
        UserError: The run is a population, or there are fewer than 2 images.
    """
    images = held.first(n)
    if run.game.axis or min(map(len, images.values())) < 2:
        raise UserError("Translations of a single training are scored, on 2 images or more.")
    named = {}
    for name, values in distances(images, translate(run, images), held.paired).items():
        error = float(values.std(ddof=1) / len(values) ** 0.5) if np.isfinite(values).all() else None
        named[name] = Score(
            name, float(values.mean()), {"images held out": len(values)}, error, f"{len(values)} images"
        )
    return named


def pictures(held: HeldOut, save: Callable[[int, np.ndarray], None]) -> Callback:
    """A callback for `train` with a picture of some held-out images and their translations, for every member.

    Args:
        held: The held-out images.
        save: (step, picture) -> None.
    """
    images = held.some()

    def draw(run, step):
        found = translate(run, images)
        members = [_of(i, found) for i in range(len(run.state.step))] if run.game.axis else [found]
        drawn = show.tiles([page(images, own, held.paired) for own in members])
        return lambda: save(step, drawn)

    return draw


def _of(i, found):
    """The translations of member i."""
    return {
        to: Translated(source, there[i], None if back is None else back[i])
        for to, (source, there, back) in found.items()
    }


def scored(held: HeldOut, n: int, translations: Collection[str]) -> tuple[Callback, list[str]]:
    """A callback for `train(callbacks=[(every, *scored(…))])` that logs the means of `distances` as "score/NAME".

    Args:
        held: The held-out images.
        n: How many of them are used.
        translations: Target domains of the game.

    Returns:
        (callback, names of the metrics that it logs).
    """
    images = held.first(n)
    sources = {to: _other(images, to) for to in translations}
    names = [f"{kind}/{to}" for to in sources for kind in ("l1", "psnr") if held.paired]
    names += [f"cycle/{source}" for source in sources.values() if source in sources]

    def measure(run, step):
        found = distances(images, translate(run, images), held.paired)
        return lambda: {f"score/{name}": values.mean(-1) for name, values in found.items()}

    return measure, [f"score/{name}" for name in names]
