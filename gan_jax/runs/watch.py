"""Measures of `gan_jax.analysis` during a training: a callback that logs and saves them, and how to read them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import analysis, limits, show
from gan_jax.errors import UserError, writing
from gan_jax.game import Game

Tree = Any  # a pytree of arrays
FOLDER = "analysis"


def callback(
    every: int, batch: Tree, measures: Mapping[str, analysis.Measure] = analysis.MEASURES
) -> tuple[int, Callable[[Any, int], Callable[[], dict[str, float]]]]:
    """A callback for `train(callbacks=[…])` that evaluates measures on a fixed batch, with the noise of the next round.

    All finite numbers are logged: scalars as "flow/rotation", the largest singular value as "… max", the extreme
    eigenvalues (of those computed) as "spectrum/real min", "… real max" and "… imag max". Arrays are saved in the run's
    folder, for `read`.

    Args:
        every: Rounds between measurements.
        batch: A round's batch [slices, B, …].
        measures: {name: (game, state, batch, key) -> array or {name: array}}.

    Raises:
        UserError: At the first measurement, for a population.

    >>> every, f = callback(1000, batch={"x": np.zeros((2, 64, 2), np.float32)})
    >>> every
    1000
    """

    def start(run, step):
        if not isinstance(run.game, Game):
            raise UserError(
                "Measures are of a single training: leave out the callback, and measure run.member(i) afterwards."
            )
        own, key = analysis.inputs(run.game, run.state, batch)
        found = {name: measure(run.game, run.state, own, key) for name, measure in measures.items()}

        def finish():
            arrays = _by_path(found)
            if run.folder:
                _save(run.folder / FOLDER / f"{step}.npz", arrays)
            return {name: value for name, value in _numbers(arrays).items() if np.isfinite(value)}

        return finish

    return every, start


def read(folder: str | Path) -> dict[int, dict[str, np.ndarray]]:
    """Saved measures {step: {"spectrum": eigenvalues, "singular/D/Dense_0/kernel": …}} of a run's folder.

    >>> read("no/such/run")
    {}
    """
    paths = sorted((Path(folder) / FOLDER).glob("*.npz"), key=lambda path: int(path.stem))
    return {int(path.stem): limits.npz(path) for path in paths}


def draw(folder: Path) -> None:
    """Write spectrum.png and singular_values.png from the measures saved in a run's folder, if there are any."""
    saved = read(folder)
    spectra = {step: arrays["spectrum"] for step, arrays in saved.items() if "spectrum" in arrays}
    layers = {step: {k: v for k, v in arrays.items() if k.startswith("singular/")} for step, arrays in saved.items()}
    if spectra:
        show.spectrum(spectra, folder / "spectrum.png")
    if any(layers.values()):
        show.singular_values(layers, folder / "singular_values.png")


def _by_path(found):
    """{"flow/rotation": NumPy array, …}."""
    leaves = jax.tree.leaves_with_path(found)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x) for path, x in leaves}


def _numbers(arrays):
    numbers = {}
    for name, x in arrays.items():
        if x.ndim == 0:
            numbers[name] = float(x)
        elif np.iscomplexobj(x):
            ends = {"real min": x.real.min(), "real max": x.real.max(), "imag max": x.imag.max()}
            numbers |= {f"{name}/{end}": float(value) for end, value in ends.items()}
        else:
            numbers[f"{name} max"] = float(x.max())
    return numbers


def _save(path, arrays):
    draft = path.with_name(path.name + ".tmp")
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        with draft.open("wb") as file:
            np.savez(file, **arrays)
        draft.replace(path)
