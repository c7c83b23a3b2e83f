"""`sample`: samples of a run, as files."""

import io
from pathlib import Path

import numpy as np

from gan_jax import limits
from gan_jax.errors import UserError
from gan_jax.runs.folder import describe
from gan_jax.runs.load import configured, load
from gan_jax.show import write


def sample(
    run: str,  # the run's folder
    /,
    n: int | None = None,  # samples, of a population of each member; by default as many as a page shows
    out: str = "",  # a file: .npz for the arrays, or a suffix that the run's samples are shown as, such as .png or .wav
    seed: int = 0,  # of the noise
    class_: int | None = None,  # the label of all samples, where the game has labels
    truncation: float | None = None,  # the bound of |z|; 2 is mild
    step: int | None = None,  # a round that a checkpoint was kept of; by default the newest
    member: int | None = None,  # of a population
    paper: str = "",  # the paper's file, where the run is of a paper of your own
) -> None:
    """Samples of a run, to look at or as arrays; its data is not needed.

    An .npz holds `samples` [n, …], images in [-1, 1], and their labels `y` where the game makes labels.
    """
    if n == 0:
        raise UserError("--n is 0: it must be 1 or more.")
    folder = limits.path(run)
    how, config = configured(folder, describe(folder), paper or None)
    loaded = load(folder, step=step, paper=paper or None)
    loaded = loaded if member is None else loaded.member(member)
    given = {name: value for name, value in {"y": class_, "truncation": truncation}.items() if value is not None}
    shown = how.shown(config)
    n = n or (shown.n_members if loaded.game.axis else shown.n)
    made = loaded.sample(seed, n, **given)
    path = limits.path(out) if out else None
    if path and path.suffix == ".npz":
        written = [_write_arrays(path, made)]
    else:
        written = _write_page(path, shown.page(loaded.game.unstack(made)))
    print(f"{n} samples of {run} are in {', '.join(map(str, written))}.")


def _write_arrays(path, made):
    file = io.BytesIO()
    np.savez_compressed(file, samples=made["x"], **{name: x for name, x in made.items() if name != "x"})
    write(path, file.getvalue())
    return path


def _write_page(path, files):
    """Write the files {suffix: content} whose suffix is the path's, by default all as samples.SUFFIX."""
    if path is None:
        path, chosen = Path("samples"), files
    else:
        chosen = {name: content for name, content in files.items() if f".{name}".endswith(path.suffix or "/")}
    if not chosen:
        kinds = sorted({name.rpartition(".")[2] for name in files} | {"npz"})
        raise UserError(f"--out {path} must end in {' or '.join(f'.{kind}' for kind in kinds)}.")
    places = {path.with_suffix(f".{name}"): content for name, content in chosen.items()}
    for place, content in places.items():
        write(place, content)
    return list(places)
