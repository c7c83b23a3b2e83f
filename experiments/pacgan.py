"""PacGAN: a discriminator of packs of samples, which detects missing modes.

Lin, Khetan, Fanti, Oh. PacGAN: the power of two samples in generative adversarial networks. NeurIPS 2018.
arXiv:1712.04086. Table 1, the two mixtures of Gaussians, after the authors' code. Presets::

    ring         8 modes on a circle, no packing: the plain GAN of the table
    ring-pack2   D judges packs of two samples; likewise ring-pack3 and ring-pack4
    grid         25 modes on a square lattice; likewise grid-pack2, grid-pack3 and grid-pack4
    embedded     VEEGAN's ten modes in 1,200 dimensions (Srivastava et al. 2017, Table 1), with the same networks

Usage::

    python experiments/pacgan.py ring-pack2
    python experiments/pacgan.py grid --steps 20_000 --score-every 1000

Differences: the original draws 100,000 packs from its 100,000 points once; here each epoch distributes all points
anew over packs: with packs of m, 400,000 rounds are 400·m epochs. There each trial has its own points; here all trials
share them. For samples, the original averages the standard deviation instead of the variance, and re-estimates its
averages on 5,000 points before scoring. `embedded` has only 10,000 points, to save memory.

VEEGAN's networks for `embedded` are not in its repository; its GAN finds 1.6 modes with 2.0 % of samples of high
quality, VEEGAN 5.5 with 28.3 %. These count samples within 10 σ of a centre, but exact samples are √700 ≈ 26.5 σ away,
so only samples with too little noise are counted. An untrained G is close to the mode at 0 and has 1 mode and 100 %.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from gan_jax import data as sources
from gan_jax import losses, metrics, mixtures, priors
from gan_jax.data import synthetic
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.models import toy
from gan_jax.optimizers import adam

Points = Literal["ring", "grid", "embedded"]


@dataclass(frozen=True)
class Config:
    """The numbers of the authors' code."""

    data: Points = "ring"
    steps: int = 400_000  # 400 epochs of 1,000 rounds
    batch: int = 100  # points in a round: 100 packs
    seed: int = 0
    pack: int = 1  # samples per input of D
    latent: int = 2
    width_G: int = 400
    width_D: int = 200
    lr: float = 1e-4
    beta1: float = 0.8
    samples: int = 2500  # to score


MIXTURES: dict[Points, mixtures.Mixture] = {
    "ring": mixtures.ring(),
    "grid": mixtures.grid(),
    "embedded": mixtures.embedded(),
}
TRAINING: dict[Points, int] = {"ring": 100_000, "grid": 100_000, "embedded": 10_000}  # points
PLANE: tuple[Points, Points] = ("ring", "grid")
PRESETS = {
    **{n if m == 1 else f"{n}-pack{m}": Config(n, batch=100 * m, pack=m) for n in PLANE for m in range(1, 5)},
    "embedded": Config("embedded"),
}
TINY = Config(steps=2, batch=8, pack=2, width_G=8, width_D=4, samples=50)

PROTOCOL = (
    "2,500 samples, of high quality within 3 σ; mean and standard error of 10 trials (PacGAN, Table 1). "
    "embedded: within 10 σ, 5 trials (VEEGAN, Table 1)"
)
_table = {
    "ring": ((6.3, 0.5), (0.982, 0.002), (0.45, 0.09)),
    "ring-pack2": ((7.9, 0.1), (0.956, 0.020), (0.07, 0.03)),
    "ring-pack3": ((7.8, 0.1), (0.977, 0.003), (0.10, 0.02)),
    "ring-pack4": ((7.8, 0.1), (0.959, 0.014), (0.07, 0.02)),
    "grid": ((17.3, 0.8), (0.948, 0.007), (0.70, 0.07)),
    "grid-pack2": ((23.8, 0.7), (0.913, 0.008), (0.13, 0.04)),
    "grid-pack3": ((24.6, 0.4), (0.942, 0.004), (0.06, 0.02)),
    "grid-pack4": ((24.8, 0.2), (0.936, 0.006), (0.04, 0.01)),
}
PUBLISHED = {
    preset: dict(zip(("modes", "high_quality", "reverse_kl"), row, strict=True)) for preset, row in _table.items()
} | {"embedded": {"modes": (1.6, None), "high_quality": (0.020, None)}}


def data(c: Config) -> sources.Set:
    return synthetic.mixture(MIXTURES[c.data], TRAINING[c.data])


def example(c: Config) -> dict[str, jax.ShapeDtypeStruct]:
    return {"x": jax.ShapeDtypeStruct(MIXTURES[c.data].centres.shape[1:], "float32")}


def scores(c: Config) -> Callable:
    return lambda samples: metrics.modes_covered(samples["x"], MIXTURES[c.data])


def perfect(c: Config) -> dict[str, metrics.Score]:
    return metrics.perfect_modes(MIXTURES[c.data], c.samples)


def game(c: Config) -> Game:
    if c.batch % c.pack:
        raise UserError(f"--batch {c.batch} does not divide into packs of {c.pack}: give a multiple of --pack.")
    prior = priors.normal(c.latent)

    def play(nets, batch, key, step):
        real = batch["x"].reshape(c.batch // c.pack, -1)
        # Each position in the packs is a call of G with its own batch statistics; the running ones get their mean.
        made = [nets["G"].mutate(prior(k, len(real))) for k in jax.random.split(key, c.pack)]
        fakes, memories = zip(*made, strict=True)
        memory = jax.tree.map(lambda *each: sum(each) / c.pack, *memories)
        logits = nets["D"](jnp.concatenate([real, jnp.concatenate(fakes, 1)]))
        real_logits, fake_logits = jnp.split(logits, 2)
        loss_D, loss_G = losses.non_saturating(real_logits, fake_logits)
        seen = {"D(x)": jax.nn.sigmoid(real_logits).mean(), "D(G(z))": jax.nn.sigmoid(fake_logits).mean()}
        return {"D": Loss(loss_D, seen), "G": Loss(loss_G, memory={"G": memory})}

    G = Player(toy.NormGenerator(len(MIXTURES[c.data].centres[0]), c.width_G), adam(c.lr, c.beta1))
    D = Player(toy.MaxoutDiscriminator(c.width_D), adam(c.lr, c.beta1))
    sample = lambda nets, key, n: {"x": nets["G"](prior(key, n))}
    return Game({"G": G, "D": D}, play, (move("D", "G"),), sample=sample)


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
