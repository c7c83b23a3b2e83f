"""Metrics over the rounds, from the rows of metrics.jsonl."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.errors import UserError
from gan_jax.show.files import figure_png, write

AXES = {"step", "seconds", "epoch", "images_per_second", "members"}  # entries of a row that are not drawn
TITLES = {"loss": "losses", "D": "D's output", "grad": "gradient norms", "lr": "learning rates"}
LOGARITHMIC = {"grad", "lr", "noise_scale"}


def curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw metrics over the rounds, a panel for each group: losses, D's outputs, gradient norms, learning rates, ….

    For a population the means over members are drawn, with a band of ± one standard error.

    Args:
        rows: Rows of metrics.jsonl.
        path: The PNG file to write.

    Raises:
        UserError: There are no metrics, or the file cannot be written.
    """
    groups = _groups(_metrics(rows))
    figure, panels = _stacked(groups, path)
    for panel, (group, members) in zip(panels, groups.items(), strict=True):
        for name in members:
            _curve(panel, rows, name, name.removeprefix(f"{group}/"))
        panel.set_title(TITLES.get(group, group), loc="left", fontsize=10)
        panel.set_yscale(_scale(group, members, rows))
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    write(path, figure_png(figure))


def compare(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path) -> None:
    """Draw the metrics that several runs have in common, a panel for each metric and a line for each run.

    Args:
        runs: {label: rows of metrics.jsonl}.
        path: The PNG file to write.

    Raises:
        UserError: There are no metrics in common, or the file cannot be written.
    """
    shared = sorted(set.intersection(*(_metrics(rows) for rows in runs.values()))) if runs else []
    figure, panels = _stacked(shared, path)
    for panel, name in zip(panels, shared, strict=True):
        for label, rows in runs.items():
            _curve(panel, rows, name, label)
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_yscale(_scale(name.split("/")[0], [name], itertools.chain(*runs.values())))
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    write(path, figure_png(figure))


def _metrics(rows):
    """The names of the metrics that can be drawn."""
    return {name for row in rows if "member" not in row for name in row if not name.endswith(" se")} - AXES


def _stacked(titles, path):
    """A figure with a panel for each title, one below the other, and the rounds as common axis."""
    from matplotlib.figure import Figure

    if not titles:
        raise UserError(f"There are no metrics to make {path} of.")
    figure = Figure(figsize=(8, 2.6 * len(titles)), layout="constrained")
    panels = figure.subplots(len(titles), sharex=True, squeeze=False)[:, 0]
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("rounds")
    return figure, panels


def _curve(panel, rows, name, label):
    rows = [row for row in rows if name in row and "member" not in row]
    steps, values = [row["step"] for row in rows], np.array([row[name] for row in rows])
    (line,) = panel.plot(steps, values, ".-", markersize=3, linewidth=1, label=label)
    error = np.array([row.get(f"{name} se", 0.0) for row in rows])
    if error.any():
        panel.fill_between(steps, values - error, values + error, color=line.get_color(), alpha=0.25, linewidth=0)


def _scale(group, names, rows):
    positive = any(row.get(name, 0) > 0 for row in rows for name in names)
    return "log" if group in LOGARITHMIC and positive else "linear"


def _groups(names):
    """{"loss": ["loss/D", "loss/G"], "D": ["D(x)", …], …}, groups with a title first."""
    group = lambda name: re.split(r"[/(]", name)[0]
    order = lambda name: ([*TITLES, group(name)].index(group(name)), group(name), name)
    return {g: list(members) for g, members in itertools.groupby(sorted(names, key=order), group)}
