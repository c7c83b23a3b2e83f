"""How samples come nearer to the real set along a run: the kernel distance on raw pixels at each checkpoint.

    python experiments/benchmarks/progress.py runs/clothing --data FOLDER_OR_TAR --out experiments/results/clothing.json

The unbiased squared kernel distance (polynomial of degree 3, pixels in [-1, 1]) of 1,000 samples to 2,000 of the images
that the run learned from. 2,000 others of them against those give the floor.
"""

from pathlib import Path

import jax
import numpy as np
import tyro

from experiments.benchmarks.record import mean_se, record
from gan_jax import papers
from gan_jax.metrics import kernel_distance
from gan_jax.run import describe, load, read_rows

SAMPLES, REAL = 1000, 2000


def main(run: tyro.conf.Positional[Path], /, data: str, out: Path, notes: str = "") -> None:
    """Measure every checkpoint of RUN, whose data lies at --data, and write the distances to --out."""
    about = describe(run)
    module, config = papers.configured(about["paper"], about["config"] | {"data": data})
    game = module.game(config)
    flat = lambda images: images.reshape(len(images), -1).astype(np.float64)
    real = flat(module.data(config)["x"]) / 127.5 - 1
    order = np.random.default_rng(0).permutation(len(real))
    real, others = real[order[:REAL]], real[order[REAL : 2 * REAL]]
    steps = sorted(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    samples = lambda t: flat(load(run, game, t).sample(jax.random.key(0), SAMPLES))
    distance = {t: kernel_distance(real, samples(t)).value for t in steps}
    recipe, fallen = papers.preset(about["paper"])[1], distance[steps[-1]] / distance[steps[0]]
    record(
        out,
        paper=about["paper"],
        ran=f"{steps[-1]:,} rounds of batch {config.batch}; the recipe has {recipe.steps:,} of {recipe.batch}",
        published=None,
        scores={"kernel_distance": mean_se([distance[steps[-1]]])},
        seeds=[config.seed],
        verdict=f"not at paper scale; its distance is {fallen:.2f} of that at round {steps[0]}",
        seconds=mean_se([read_rows(run)[-1]["seconds"]]),
        by_round=distance,
        floor=kernel_distance(real, others).value,
        protocol=" ".join(__doc__.split("\n\n")[2].split()),
        notes=notes,
    )
    print("\n".join(f"round {t:>6}  {value:.4f}" for t, value in distance.items()))


if __name__ == "__main__":
    tyro.cli(main)
