"""Translations between two domains, A and B: pictures of them on images held out, and how far they are from a truth."""

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


class Way(NamedTuple):
    """Images of a domain, what they become in the other, and back at home, if the game knows the way."""

    home: str
    there: np.ndarray  # [n, h, w, c], or of a population [members, n, h, w, c]
    back: np.ndarray | None


def ways(run: Run, images: Images) -> dict[str, Way]:
    """Every translation {to: Way} of `images`, [-1, 1]."""
    found = {}
    for to in run.game.translations:
        home = _other(images, to)
        there = run.translate(images[home], to)
        found[to] = Way(home, there, run.translate(there, home) if home in run.game.translations else None)
    return found


def _other(images, domain):
    (other,) = set(images) - {domain}
    return other


def page(images: Images, found: Mapping[str, Way], paired: bool) -> UInt8[np.ndarray, "height width c"]:
    """A line an image: itself, there, back again if the game knows the way, and the truth if it is known."""
    lines = []
    for to, way in found.items():
        columns = [images[way.home], way.there, *([] if way.back is None else [way.back])]
        columns += [images[to]] if paired else []
        lines.append(np.stack(columns, 1))
    return show.grid(np.concatenate([line.reshape(-1, *line.shape[2:]) for line in lines]), lines[0].shape[1])


def distances(images: Images, found: Mapping[str, Way], paired: bool) -> dict[str, Num[np.ndarray, "*members n"]]:
    """Of each image: l1/TO, a share of the range from black to white, and psnr/TO, in dB, to the truth, where it is
    known, and cycle/HOME, such a share, between it and itself there and back, where there is a way."""
    apart, each = {}, (-3, -2, -1)
    for to, way in found.items():
        if paired:
            error = np.abs(way.there - images[to]) / 2
            apart[f"l1/{to}"] = error.mean(each)
            with np.errstate(divide="ignore"):  # of an exact one it is infinite
                apart[f"psnr/{to}"] = -10 * np.log10(np.square(error).mean(each))
        if way.back is not None:
            apart[f"cycle/{way.home}"] = (np.abs(way.back - images[way.home]) / 2).mean(each)
    return apart


def scores(run: Run, held: HeldOut, n: int) -> dict[str, Score]:
    """The means of `distances` over the first n images held out, with their standard errors. UserError for a
    population, or fewer than 2 images."""
    images = held.first(n)
    if run.game.axis or min(map(len, images.values())) < 2:
        raise UserError("Translations are scored of one training, on 2 images or more.")
    named = {}
    for name, values in distances(images, ways(run, images), held.paired).items():
        error = float(values.std(ddof=1) / len(values) ** 0.5) if np.isfinite(values).all() else None
        named[name] = Score(
            name, float(values.mean()), {"images held out": len(values)}, error, f"{len(values)} images"
        )
    return named


def pictures(held: HeldOut, save: Callable[[int, np.ndarray], None]) -> Callback:
    """A callback that draws some images held out, there and back; of a population those of every member."""
    images = held.some()

    def draw(run, step):
        found = ways(run, images)
        members = [_of(i, found) for i in range(len(run.state.step))] if run.game.axis else [found]
        drawn = show.tiles([page(images, own, held.paired) for own in members])
        return lambda: save(step, drawn)

    return draw


def _of(i, found):
    """The ways of member i."""
    return {to: Way(home, there[i], None if back is None else back[i]) for to, (home, there, back) in found.items()}


def scored(held: HeldOut, n: int, translations: Collection[str]) -> tuple[Callback, list[str]]:
    """(fn, what it logs) for `train(callbacks=[(every, *scored(…))])`: "score/NAME" of `distances` on the first n."""
    images = held.first(n)
    homes = {to: _other(images, to) for to in translations}
    names = [f"{kind}/{to}" for to in homes for kind in ("l1", "psnr") if held.paired]
    names += [f"cycle/{home}" for home in homes.values() if home in homes]

    def measure(run, step):
        found = distances(images, ways(run, images), held.paired)
        return lambda: {f"score/{name}": values.mean(-1) for name, values in found.items()}

    return measure, [f"score/{name}" for name in names]
