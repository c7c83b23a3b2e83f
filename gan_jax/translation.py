"""Translations between two domains, A and B: pictures of them on images held out, and how far they are from a truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from gan_jax import viz
from gan_jax.data import to_float
from gan_jax.run import Run

Images = Mapping[str, np.ndarray]  # {"A": [n, h, w, c], "B": [m, h, w, c]}
Callback = Callable[[Run, int], Callable[[], dict[str, Any] | None]]
SHOWN = 4  # images of each domain in a picture


@dataclass(frozen=True)
class HeldOut:
    """Images that no training reads, as bytes."""

    images: Images
    paired: bool  # whether image i of one domain is the truth of image i of the other

    def first(self, n: int) -> Images:
        """The first n of each domain, in [-1, 1]."""
        return {name: np.asarray(to_float(jnp.asarray(x[:n]))) for name, x in self.images.items()}


class Way(NamedTuple):
    """Images of a domain, what they become in the other, and back at home, if the game knows the way."""

    home: str
    there: np.ndarray  # [n, h, w, c], or of a population [members, n, h, w, c]
    back: np.ndarray | None


def ways(run: Run, images: Images) -> dict[str, Way]:
    """Every translation {to: Way} of `images`, [-1, 1]."""
    found = {}
    for to in run.game.translations:
        (home,) = set(images) - {to}
        there = run.translate(images[home], to)
        found[to] = Way(home, there, run.translate(there, home) if home in run.game.translations else None)
    return found


def page(images: Images, found: Mapping[str, Way], paired: bool) -> UInt8[np.ndarray, "height width c"]:
    """A line an image: itself, there, back again if the game knows the way, and the truth if it is known."""
    lines = []
    for to, way in found.items():
        columns = [images[way.home], way.there, *([] if way.back is None else [way.back])]
        columns += [images[to]] if paired else []
        lines.append(np.stack(columns, 1))
    return viz.grid(np.concatenate([line.reshape(-1, *line.shape[2:]) for line in lines]), lines[0].shape[1])


def distances(images: Images, found: Mapping[str, Way], paired: bool) -> dict[str, Any]:
    """Of each translation, as a share of the range from black to white: l1/TO and psnr/TO (dB) to the truth, where it
    is known, and cycle/HOME, of the way there and back, where there is one; [] each, or [members]."""
    scores, each = {}, (-4, -3, -2, -1)
    for to, way in found.items():
        if paired:
            error = np.abs(way.there - images[to]) / 2
            scores[f"l1/{to}"] = error.mean(each)
            with np.errstate(divide="ignore"):  # of an exact one it is infinite
                scores[f"psnr/{to}"] = -10 * np.log10(np.square(error).mean(each[1:])).mean(-1)
        if way.back is not None:
            scores[f"cycle/{way.home}"] = (np.abs(way.back - images[way.home]) / 2).mean(each)
    return scores


def pictures(held: HeldOut, save: Callable[[int, np.ndarray], None]) -> Callback:
    """A callback that draws the first images held out, there and back; of a population those of every member."""
    images = held.first(SHOWN)

    def draw(run, step):
        found = ways(run, images)
        members = [found] if not np.ndim(run.state.step) else [_of(i, found) for i in range(len(run.state.step))]
        drawn = viz.tiles([page(images, own, held.paired) for own in members])
        return lambda: save(step, drawn)

    return draw


def _of(i, found):
    """The ways of member i."""
    return {to: Way(home, there[i], None if back is None else back[i]) for to, (home, there, back) in found.items()}


def scored(held: HeldOut, n: int) -> Callback:
    """A callback that measures `distances` on the first n images held out."""
    images = held.first(n)

    def measure(run, step):
        found = distances(images, ways(run, images), held.paired)
        return lambda: {f"score/{name}": value for name, value in found.items()}

    return measure
