"""Pictures of a run: a page of samples at intervals, and at its end an animation and loss curves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import show
from gan_jax.data import Data, several, stream, take
from gan_jax.pixels import to_float
from gan_jax.runs import watch
from gan_jax.runs.folder import read_rows
from gan_jax.runs.run import Run, as_key, on_mesh_of, samples
from gan_jax.show import Show


def pictures(data: Data, seed: int, folder: Path, how: Show | None = None) -> Callable[[Run, int], Callable[[], None]]:
    """A callback for `train` that writes samples/STEP.png, or other files of a Show, always from the same noise.

    Args:
        data: The training data, for a page of real examples.
        seed: Seed of the noise.
        folder: The run's folder.
        how: A Show; None: one that suits the shape of the data.
    """
    key, how = as_key(seed), how or show.infer(example_of(data))
    real = None if several(data) else _first(data, seed, how.n)

    def draw(run, step):
        n = how.n_members if run.game.axis else how.n
        with on_mesh_of(run.state):
            made = samples(run.game, run.state, key, {}, n=n)

        def finish():
            if real is not None and not any((folder / "samples").glob("real.*")):
                _write(folder, "real", how.page([real]))
            _write(folder, step, page(how, run, jax.tree.map(np.asarray, made), real))

        return finish

    return draw


def page(how: Show, run: Run, made: Any, real: Any = None) -> dict[str, bytes]:
    """{suffix: content} of a page of samples, for a population of all its members.

    Args:
        how: A Show.
        run: The Run.
        made: Its samples {"x": …}.
        real: Real examples {"x": …}, for comparison.
    """
    return how.page(run.game.unstack(made), real)


def finish(folder: Path) -> None:
    """Write progress.gif of the pages of samples, curves.png of metrics.jsonl, and plots of saved measures, if any."""
    pages = [path for path in (folder / "samples").glob("*.png") if path.stem.isdigit()]
    pages = sorted(pages, key=lambda path: int(path.stem))
    if pages:
        show.gif(pages, folder / "progress.gif")
    if rows := read_rows(folder):
        show.curves(rows, folder / "curves.png")
    watch.draw(folder)


def _write(folder, name, files):
    for suffix, content in files.items():
        show.write(folder / "samples" / f"{name}.{suffix}", content)


def example_of(data: Data) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of one example of the data, or of the first of several data sets.

    >>> example_of({"x": np.zeros((100, 28, 28, 1), np.uint8)})["x"].shape
    (28, 28, 1)
    """
    one: Any = next(iter(data.values())) if several(data) else data
    dtype = lambda x: np.float32 if x.dtype == np.uint8 else x.dtype
    return {name: jax.ShapeDtypeStruct(x.shape[1:], dtype(x)) for name, x in one.items()}


def _first(data, seed, n):
    """The first n examples of the data order."""
    n = min(n, len(data["x"]))
    return {name: to_float(np.asarray(leaf)) for name, leaf in take(data, stream(seed, 0, n, len(data["x"]))).items()}
