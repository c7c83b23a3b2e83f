"""Scores of runs: at the end, over draws or members, and along a training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import jax
import numpy as np
from tqdm import tqdm

from gan_jax import metrics
from gan_jax.errors import UserError
from gan_jax.metrics import Score
from gan_jax.metrics.protocols import score, scorer
from gan_jax.metrics.references import Reference
from gan_jax.metrics.score import DRAWS
from gan_jax.runs.run import CHUNK, Run, Set, on_mesh_of, samples

Scores = Callable[[Set], Mapping[str, Score]]  # samples {"x": [n, …]}, with "y" where there are labels -> {name: Score}


def score_run(
    run: Run, scores: Scores, *, n: int, draws: int | None = None, seed: int = 0, progress: bool = False
) -> dict[str, Score]:
    """The mean scores of a training over draws of samples, or of a population over its members.

    Args:
        run: A training or a population.
        scores: Samples -> {name: Score}, such as `metrics.protocols.scorer`.
        n: Samples in a draw.
        draws: By default 5 of a training, and 1 of each member of a population.
        seed: Determines the noise of the draws.
        progress: Show a progress bar.

    Returns:
        {name: Score}. The standard error is over draws, or over members: how far another training may be from it.

    Raises:
        UserError: Fewer than 5 draws of a training, or fewer than 2 members.
    """
    if run.game.axis:
        found = score_members(run, scores, n=n, draws=draws or 1, seed=seed, progress=progress)
        return {name: metrics.over_members([one[name] for one in found]) for name in found[0]}
    draws = DRAWS if draws is None else draws
    if draws < DRAWS:
        raise UserError(f"{draws} draws give no uncertainty: take {DRAWS} or more.")
    found = [scores(samples) for (samples,) in _draws(run, n, draws, seed, progress)]
    return {name: metrics.over_draws([one[name] for one in found]) for name in found[0]}


def score_members(
    run: Run, scores: Scores, *, n: int, draws: int = 1, seed: int = 0, progress: bool = False
) -> list[dict[str, Score]]:
    """The scores of each member of a population; the arguments are those of `score_run`.

    Of one draw they have no standard error, of 5 or more that over the draws. UserError for other numbers of draws.
    """
    if draws != 1 and draws < DRAWS:
        raise UserError(f"{draws} draws of each member give no uncertainty: take 1, or {DRAWS} or more.")
    found = [[scores(one) for one in members] for members in _draws(run, n, draws, seed, progress)]
    mean = metrics.over_draws if draws > 1 else lambda scores: scores[0]
    return [{name: mean([one[name] for one in own]) for name in own[0]} for own in zip(*found, strict=True)]


def _draws(run, n, draws, seed, progress):
    """For each draw [samples of each member]."""
    for key in tqdm(jax.random.split(jax.random.key(seed), draws), disable=not progress, unit=" draws"):
        yield run.game.unstack(run.sample(key, n))


def callback(against: Reference, names: Sequence[str], n: int, seed: int = 0) -> tuple[Callable, list[str]]:
    """`along` with scores against real images. UserError at once, before the training, for what cannot be scored."""
    some = against.real.rows(slice(n))
    return along(scorer(against, names), list(score(some, replace(against, real=some), names)), n, seed)


def along(scores: Scores, names: Sequence[str], n: int, seed: int = 0) -> tuple[Callable, list[str]]:
    """A callback that scores samples during a training: `train(callbacks=[(every, *along(…))])`.

    Args:
        scores: Samples -> {name: Score}. It runs while the next rounds do.
        names: Those that it returns.
        n: Samples to score; the noise is the same each time.
        seed: Determines the noise.

    Returns:
        (callback, metrics that it logs: "score/NAME"). In a population each member is scored; the scores of a member
        whose samples are not finite are NaN.
    """

    def start(run, step):
        key = jax.random.key(seed)
        with on_mesh_of(run.state):
            draw = lambda i: samples(run.game, run.state, jax.random.fold_in(key, i), {}, n=CHUNK)
            chunks = [draw(i) for i in range(-(-n // CHUNK))]

        def finish():
            axis = run.game.axis
            joined = jax.tree.map(lambda *x: np.concatenate([np.asarray(one) for one in x], axis), *chunks)
            made = jax.tree.map(lambda x: np.take(x, np.arange(n), axis), joined)
            rests = lambda one: axis and not all(np.isfinite(x).all() for x in jax.tree.leaves(one))
            found = [{} if rests(one) else scores(one) for one in run.game.unstack(made)]
            value = lambda one, name: one[name].value if one else np.nan
            values = {f"score/{name}": np.array([value(one, name) for one in found]) for name in max(found, key=len)}
            return values if axis else {name: value[0] for name, value in values.items()}

        return finish

    return start, [f"score/{name}" for name in names]
