"""The kernel distance on raw pixels between samples and real images at each checkpoint of a run.

    python benchmarks/progress.py runs/clothing --data FOLDER_OR_TAR --out experiments/results/clothing.json

The unbiased squared kernel distance (polynomial of degree 3, pixels in [-1, 1]) between 1,000 samples and 2,000
training images, or half of fewer than 4,000. The floor is the distance between those and as many others. If the run
averages its generator, samples are from the averaged weights; those of the unaveraged weights are measured too.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro

from benchmarks.record import mean_se, record
from gan_jax.metrics import kernel_distance
from gan_jax.pixels import to_float
from gan_jax.runs import paper as papers
from gan_jax.runs.folder import describe, read_rows
from gan_jax.runs.load import load

SAMPLES, REAL = 1000, 2000


def main(run: tyro.conf.Positional[Path], /, data: str, out: Path, notes: str = "") -> None:
    """Measure each checkpoint of RUN, which was trained on --data, and write the distances to --out."""
    about = describe(run)
    module, config = papers.configured(about["paper"], about["config"] | {"data": data})
    game = module.game(config)
    flat = lambda images: images.reshape(len(images), -1).astype(np.float64)
    real = flat(to_float(np.asarray(module.data(config)["x"])))
    order = np.random.default_rng(0).permutation(len(real))
    half = min(REAL, len(real) // 2)
    real, others = real[order[:half]], real[order[half : 2 * half]]
    steps = sorted(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    far = lambda run: kernel_distance(real, flat(run.sample(0, SAMPLES)["x"])).value
    at = {t: load(run, game, t) for t in steps}
    distance = {t: far(run) for t, run in at.items()}
    as_trained = {t: far(replace(run, state=run.state.replace(ema={}))) for t, run in at.items() if run.state.ema}
    recipe, fallen = papers.preset(about["paper"])[1], distance[steps[-1]] / distance[steps[0]]
    record(
        out,
        paper=about["paper"],
        ran=f"{steps[-1]:,} rounds of batch {config.batch}; the recipe has {recipe.steps:,} of {recipe.batch}",
        share=steps[-1] * config.batch / (recipe.steps * recipe.batch),
        published=None,
        scores={"kernel_distance": mean_se([distance[steps[-1]]])},
        seeds=[config.seed],
        finding=f"the distance is {fallen:.2f} of that at round {steps[0]}",
        seconds=mean_se([read_rows(run)[-1]["seconds"]]),
        by_round=distance,
        by_round_as_trained=as_trained,
        floor=kernel_distance(real, others).value,
        protocol=" ".join(__doc__.split("\n\n")[2].split()),
        notes=notes,
    )
    print("\n".join(f"round {t:>6}  {value:.4f}  {as_trained.get(t, value):.4f}" for t, value in distance.items()))


if __name__ == "__main__":
    tyro.cli(main)
