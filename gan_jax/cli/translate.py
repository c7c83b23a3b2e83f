"""`translate`: pictures of one domain as they would be in another."""

from pathlib import Path

import jax
import numpy as np
from tqdm.auto import tqdm

from gan_jax import limits
from gan_jax.data import one_by_one
from gan_jax.errors import UserError
from gan_jax.pixels import to_bytes, to_float
from gan_jax.runs.folder import describe
from gan_jax.runs.load import load
from gan_jax.runs.run import networks
from gan_jax.show import save_png
from gan_jax.training.spec import zeros


def translate(
    run: str,  # the run's folder
    /,
    to: str,  # the domain, such as A or B
    input: str,  # a folder, a tar or a picture
    out: str,  # a folder for the translations, NAME.png each; nothing in it is overwritten
    missing: bool = False,  # translate only what is not in --out yet, as after an interruption
    seed: int = 0,  # of the noise, where the translation has some
    step: int | None = None,  # a round that a checkpoint was kept of; by default the newest
    member: int | None = None,  # of a population
    paper: str = "",  # the paper's file, where the run is of a paper of your own
) -> None:
    """Translate pictures, each at its own size; all are checked before the first is written."""
    folder = limits.path(run)
    loaded = load(folder, step=step, paper=paper or None)
    loaded = loaded if member is None else loaded.member(member)
    if loaded.game.axis:
        raise UserError(f"{run} has members: say by --member which of them is to translate.")
    if to not in loaded.game.translations:
        loaded.translate((), to)  # says which there are
    batch = jax.eval_shape(lambda: zeros(loaded.game, describe(folder)["batch"]))
    pictures = one_by_one(input, jax.tree.leaves(batch)[0].shape[-1])
    for picture in {picture.shape: picture for picture in pictures}.values():
        _check(loaded, picture, to, input)
    places = [(limits.path(out) / picture.name).with_suffix(".png") for picture in pictures]
    there = [place for place in places if place.exists() or place.is_symlink()]
    if there and not missing:
        more = f" and {len(there) - 1} more are" if len(there) > 1 else " is"
        raise UserError(f"{there[0]}{more} there already: give an --out that is new or empty, or add --missing.")
    todo = [(place, picture) for place, picture in zip(places, pictures, strict=True) if place not in there]
    for place, picture in tqdm(todo, unit=" pictures", leave=False, delay=2):
        save_png(place, np.asarray(to_bytes(loaded.translate(to_float(picture.read()[None]), to, seed)))[0])
    kept = f"; {len(there)} were there already" if there else ""
    print(f"{len(todo)} pictures of {input}, translated to {to}, are in {Path(out)}{kept}.")


def _check(run, picture, to, source):
    """UserError where the network does not take the picture's shape."""
    one = jax.ShapeDtypeStruct((1, *picture.shape), "float32")
    f = lambda state, x: run.game.translations[to](networks(run.game, state), x, jax.random.key(0))
    try:
        jax.eval_shape(f, run.state, one)
    except UserError as error:
        raise UserError(f"'{picture.name}' in '{source}': {error}") from error
