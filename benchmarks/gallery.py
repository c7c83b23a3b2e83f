"""Losses and update rules on a ring of 8 Gaussians: the samples of G during training, as a picture, a film and numbers.

    python benchmarks/gallery.py --out experiments/results

Rows are losses, columns are rules. Each cell trains two small MLPs from three seeds on fresh samples of the mixture;
the seed determines the same initial weights and batches in every row. A round is one step of each player, whatever it
costs: extragradient takes two gradients for it, unrolling six. All cells share one learning rate, and nothing was tuned
for a single cell; the weight of consensus and of symplectic adjustment was lowered from 1 to 0.1 after a first trial.
The picture shows the first seed's samples after the last round, the number of the 8 modes that they cover, and the
share of samples within 3 σ of a mode, which is 98.9 % for exact samples. The JSON file has the numbers of all seeds.

Each column is one program: a loss is encoded as numbers, and the rows are trained together under `vmap`.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import linen as nn
from jax import lax
from matplotlib.figure import Figure

from benchmarks.record import mean_se, record
from gan_jax import losses, mixtures, penalties, priors, show
from gan_jax.engine import in_order, init, net, step
from gan_jax.game import Game, Player
from gan_jax.metrics import modes_covered
from gan_jax.optimizers import adam, optimistic_adam
from gan_jax.rules import consensus, extragradient, lookahead, symplectic, unrolled
from gan_jax.two_player import ORDERS, gan

RING = mixtures.ring(8, radius=2.0, sigma=0.1)
WIDTH, LATENT, BATCH, RATE, BETA1 = 64, 4, 64, 1e-3, 0.5
SEEDS, FRAMES, SAMPLES = (0, 1, 2), 25, 2500
EDGE, BINS = 3.0, 72  # panels show [−EDGE, EDGE]²

PRIOR = priors.normal(LATENT)
KINDS = (losses.non_saturating, losses.hinge, losses.least_squares, losses.wasserstein, losses.relativistic)


class Row(NamedTuple):
    """A loss, and the weights of its penalties."""

    kind: Any  # index into KINDS
    gp: Any = 0.0
    r1: Any = 0.0
    r2: Any = 0.0


ROWS = {
    "non-saturating": Row(0),
    "hinge": Row(1),
    "least squares": Row(2),
    "Wasserstein, GP": Row(3, gp=0.1),
    "non-saturating, R1": Row(0, r1=0.1),
    "relativistic, R1 + R2": Row(4, r1=0.1, r2=0.1),
}
TOGETHER, IN_TURN = ORDERS["simultaneous"], ORDERS["alternating"]
COLUMNS = {
    "simultaneous": (adam, TOGETHER, in_order),
    "alternating": (adam, IN_TURN, in_order),
    "extragradient": (adam, 2 * TOGETHER, extragradient),
    "optimistic Adam": (optimistic_adam, TOGETHER, in_order),
    "consensus": (adam, TOGETHER, consensus(0.1)),
    "symplectic": (adam, TOGETHER, symplectic(0.1)),
    "unrolled 5": (adam, IN_TURN, unrolled(5)),
    "lookahead 10": (adam, IN_TURN, lookahead(in_order, 10)),
}


class MLP(nn.Module):
    """[b, d] -> [b, out]."""

    out: int

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.leaky_relu(nn.Dense(WIDTH)(x), 0.2)
        return nn.Dense(self.out)(x)


class Critic(nn.Module):
    """x -> logits [b]."""

    @nn.compact
    def __call__(self, x):
        return MLP(1)(x)[:, 0]


def game(column: str, row: Row) -> Game:
    optimizer, moves, rule = COLUMNS[column]

    def loss(real, fake):
        each = zip(*(kind(real, fake) for kind in KINDS), strict=True)
        return tuple(jnp.stack(values)[row.kind] for values in each)

    def penalty(D, real, fake, key):
        gp = penalties.wgan_gp(D, real, fake, key)
        return row.gp * gp + row.r1 * penalties.r1(D, real) + row.r2 * penalties.r2(D, fake)

    G, D = (Player(network, optimizer(RATE, BETA1)) for network in (MLP(2), Critic()))
    return gan(G, D, loss, PRIOR, penalty=penalty, moves=moves, rule=rule)


@partial(jax.jit, static_argnums=(0, 1))
def train(column: str, stretch: int, rows, seeds):
    """Samples of G for fixed noise, [members, FRAMES + 1, SAMPLES, 2], at the start and every `stretch` rounds."""

    def member(row, seed):
        own = game(column, row)
        keys = jax.random.split(jax.random.key(seed))

        def batch(t):
            x = mixtures.draw(jax.random.fold_in(keys[0], t), RING, own.slices * BATCH)
            return {"x": x.reshape(own.slices, BATCH, 2)}

        def play(state, _):
            state, _ = lax.scan(lambda state, _: (step(own, state, batch(state.step))[0], None), state, length=stretch)
            return state, samples(state)

        samples = lambda state: net(own, state, "G")(PRIOR(jax.random.key(0), SAMPLES))
        first = init(own, keys[1], batch(0))
        return jnp.concatenate([samples(first)[None], lax.scan(play, first, length=FRAMES)[1]])

    return jax.vmap(member)(rows, seeds)


def score(samples: np.ndarray) -> tuple[float, float]:
    """(modes covered, share of samples within 3 σ of a mode); (0, 0) if the training has diverged."""
    if not np.isfinite(samples).all():
        return 0.0, 0.0
    found = modes_covered(samples, RING)
    return found["modes"].value, found["high_quality"].value


def density(samples: np.ndarray) -> np.ndarray:
    """√ of a histogram of samples [n, 2], scaled to [0, 1]: [BINS, BINS], the second coordinate pointing up."""
    edges = np.linspace(-EDGE, EDGE, BINS + 1)
    counts = np.histogram2d(samples[:, 1], samples[:, 0], (edges, edges))[0][::-1]
    return np.sqrt(np.minimum(counts / (0.01 * len(samples)), 1))  # 1 where a bin has 1 % of the samples or more


def draw(cells: dict[tuple[str, str], np.ndarray], title: str, path: Path, dpi: int) -> None:
    """{(row, column): samples [n, 2]} as one picture."""
    figure = Figure(figsize=(1.4 * len(COLUMNS) + 0.6, 1.5 * len(ROWS) + 0.7), layout="constrained")
    panels = figure.subplots(len(ROWS), len(COLUMNS))
    for i, row in enumerate(ROWS):
        for j, column in enumerate(COLUMNS):
            panel, samples = panels[i, j], cells[row, column]
            panel.imshow(density(samples), cmap="magma", vmin=0, vmax=1, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            modes, share = score(samples)
            panel.set_xlabel(f"{modes:.0f} of 8, {share:.0%}", fontsize=7, labelpad=2)
        panels[i, 0].set_ylabel(row, fontsize=8)
    for j, column in enumerate(COLUMNS):
        panels[0, j].set_title(column, fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=dpi)


def main(out: Path, steps: int = 2000, notes: str = "") -> None:
    """Train each cell for --steps rounds, and write gallery.png, gallery.gif and gallery.json to the folder --out."""
    names, stretch = list(ROWS), steps // FRAMES
    rows = Row(*(np.repeat(np.array(values), len(SEEDS)) for values in zip(*ROWS.values(), strict=True)))
    samples, seconds = {}, {}
    for column in COLUMNS:
        began = time.process_time()
        found = np.asarray(train(column, stretch, rows, np.tile(SEEDS, len(ROWS))))
        seconds[column] = round(time.process_time() - began, 1)
        for name, cell in zip(names, found.reshape(len(ROWS), len(SEEDS), *found.shape[1:]), strict=True):
            samples[name, column] = cell
        print(f"{column:<16} {seconds[column]:6.1f} s", flush=True)
    frame = lambda i: {cell: each[0, i] for cell, each in samples.items()}
    title = lambda i: f"round {i * stretch:,}"
    draw(frame(FRAMES), title(FRAMES), out / "gallery.png", dpi=150)
    with tempfile.TemporaryDirectory() as folder:
        pictures = {i: Path(folder) / f"{i}.png" for i in (0, *range(1, FRAMES + 1, 2))}
        for i, picture in pictures.items():
            draw(frame(i), title(i), picture, dpi=40)
        show.gif(list(pictures.values()), out / "gallery.gif", ms=400)
    cells = {name: {column: [score(x) for x in samples[name, column][:, -1]] for column in COLUMNS} for name in names}
    record(
        out / "gallery.json",
        what=f"8 Gaussians on radius 2, σ {RING.sigma}; {stretch * FRAMES} rounds of {BATCH}; lr {RATE}, β₁ {BETA1}",
        seeds=SEEDS,
        modes={name: {c: mean_se([m for m, _ in cell]) for c, cell in row.items()} for name, row in cells.items()},
        high_quality={
            name: {c: mean_se([q for _, q in cell]) for c, cell in row.items()} for name, row in cells.items()
        },
        penalties={
            name: {w: getattr(row, w) for w in ("gp", "r1", "r2") if getattr(row, w)} for name, row in ROWS.items()
        },
        cpu_seconds_of_a_column=seconds,
        protocol=" ".join(__doc__.split("\n\n")[2].split()),
        notes=notes,
    )


if __name__ == "__main__":
    tyro.cli(main)
