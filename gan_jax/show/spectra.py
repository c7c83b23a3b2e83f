"""Eigenvalues of the game's Jacobian, and singular values of its layers, over the rounds."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Inexact, Num

from gan_jax.errors import UserError
from gan_jax.show.files import figure_png, write


def spectrum(eigenvalues: Mapping[int, Inexact[np.ndarray, "..."]], path: str | Path) -> None:
    """Draw eigenvalues in the complex plane, coloured by round; descent is stable right of the imaginary axis.

    Args:
        eigenvalues: {round: [k]}.
        path: The PNG file to write.

    Raises:
        UserError: There are no eigenvalues, or the file cannot be written.
    """
    figure, panels = _by_step(eigenvalues, ["eigenvalues of ∂v/∂θ"], path)
    panel = panels[0]
    panel.axvline(0, color="black", linewidth=1)
    panel.axhline(0, color="black", linewidth=0.5, alpha=0.3)
    for (_, found), colour in _coloured(eigenvalues):
        panel.scatter(found.real, found.imag, s=16, color=colour, linewidths=0, alpha=0.8)
    panel.set_xlabel("real part")
    panel.set_ylabel("imaginary part")
    write(path, figure_png(figure))


def singular_values(values: Mapping[int, Mapping[str, Num[np.ndarray, "..."]]], path: str | Path) -> None:
    """Draw the singular values of layers by index, a panel for each layer, coloured by round.

    Args:
        values: {round: {layer: [k], largest first}}.
        path: The PNG file to write.

    Raises:
        UserError: There are no singular values, or the file cannot be written.
    """
    layers = list(dict.fromkeys(name for found in values.values() for name in found))
    figure, panels = _by_step(values, layers, path)
    for (_, found), colour in _coloured(values):
        for panel, name in zip(panels, layers, strict=True):
            if name in found:
                panel.plot(range(1, len(found[name]) + 1), found[name], ".-", color=colour, markersize=4, linewidth=1)
    for panel, name in zip(panels, layers, strict=True):
        drawn = [found[name] for found in values.values() if name in found]
        panel.set_xlim(0.5, max(map(len, drawn)) + 0.5)
        panel.set_ylim(0, 1.08 * max(map(np.max, drawn)) or 1)
        panel.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    figure.supxlabel("index", fontsize=10)
    figure.supylabel("singular value", fontsize=10)
    write(path, figure_png(figure))


def _by_step(found, titles, path):
    """A figure with a panel for each title, and a bar of colours for the rounds."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    if not found or not titles:
        raise UserError(f"There is nothing to make {path} of.")
    columns = min(3, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(1 + max(5, 3 * columns), max(4, 2.4 * rows)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, title in itertools.zip_longest(panels, titles):
        panel.set_title(title, loc="left", fontsize=9)
        panel.grid(alpha=0.3)
        panel.set_visible(title is not None)
    if len(found) > 1:
        steps = ScalarMappable(Normalize(min(found), max(found)), "viridis")
        figure.colorbar(steps, ax=panels.tolist(), label="rounds")
    return figure, panels[: len(titles)]


def _coloured(found):
    """[((round, value), its colour), …]."""
    from matplotlib import colormaps

    span = max(found) - min(found) or 1
    return [(item, colormaps["viridis"]((item[0] - min(found)) / span)) for item in sorted(found.items())]
