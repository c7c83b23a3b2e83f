"""Modes found by a paper's preset: several seeds trained as one program and scored by the paper's protocol.

    python benchmarks/modes.py pacgan:ring --seeds 10 --steps 20000 --out OUT.json
    python benchmarks/modes.py pacdcgan:mnist --set data=DIR --seeds 1 --steps 1000 --out OUT.json

Starting it again continues its run. The share of the schedule is that of the images read. All seeds count, those that
collapsed too. The verdict on the result is that of gan_jax/runs/results.py.
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from benchmarks.record import mean_se, record
from gan_jax import population, train
from gan_jax.cli import flags
from gan_jax.runs import paper as papers
from gan_jax.runs import score as scoring
from gan_jax.runs.folder import read_rows


def finite(values):
    """Mean and standard error over the members with a finite score, and the number of the others."""
    have = np.isfinite(values)
    return (mean_se(values[have]) if have.any() else {"mean": None, "se": None, "values": []}) | {
        "infinite": int((~have).sum())
    }


def _finite_only(row):
    """The row without what JSON cannot hold."""
    return {name: value for name, value in row.items() if np.isfinite(value)}


def main(
    title: tyro.conf.Positional[str],
    /,
    out: Path,
    seeds: int = 10,
    steps: int = 0,
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    run: str = "",
    score_every: int = 1000,
    notes: str = "",
) -> None:
    """Train and score PAPER:PRESET, with the fields that are --set; steps 0 is the whole schedule."""
    module, recipe = papers.preset(title)
    config = recipe
    for word in set:
        field, (value,) = flags.values(config, word)
        config = dataclasses.replace(config, **{field: value})
    steps, folder = steps or config.steps, Path(run or f"runs/{title.replace(':', '-')}-{seeds}seeds")
    many, judge = population.of(module.game, config, range(seeds)), module.scores(config)
    changed = "".join(f", {word}" for word in set if not word.startswith(("data=", "classifier=")))
    share, began = steps * config.batch / (recipe.steps * recipe.batch), time.perf_counter()
    trained = train(
        many,
        module.data(config),
        steps=steps,
        batch=config.batch,
        run=folder,
        log_every=score_every,
        dispatch=50,
        checkpoint_every=5 * score_every,
        callbacks=[(score_every, *scoring.along(judge, [], config.samples, seed=1))],
        paper=title,
        config=dataclasses.asdict(config),
    )
    final = [judge(samples) for samples in trained.game.unstack(trained.sample(2, config.samples))]
    scores = {name: finite(np.array([float(one[name]) for one in final])) for name in final[0]}
    published = {name: value for name, value in module.published.get(title.split(":")[1], {}).items() if name in scores}
    value = "; ".join(f"{n} {m:g}" + (f" ± {e:g}" if e is not None else "") for n, (m, e) in published.items())
    rows = read_rows(folder)
    record(
        out,
        paper=title,
        ran=f"{steps:,} of the recipe's {recipe.steps:,} rounds{changed} ({100 * share:.3g}%)",
        share=share,
        published={"value": value, "protocol": module.protocol} if published else None,
        scores=scores,
        seeds=list(range(seeds)),
        seconds=rows[-1]["seconds"] if rows else time.perf_counter() - began,
        along=[_finite_only(row) for row in rows if "member" not in row and any("score/" in name for name in row)],
        notes=notes,
    )


if __name__ == "__main__":
    tyro.cli(main)
