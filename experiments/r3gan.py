"""R3GAN on Stacked MNIST: an ablation of the relativistic loss and the penalties R1 and R2 by modes found.

Huang, Gokaslan, Kuleshov, Tompkin. The GAN is dead; long live the GAN! A modern baseline GAN. NeurIPS 2024.
arXiv:2501.05441

Presets::

    rpgan-r1-r2     the paper's loss, table 1: 1,000 modes
    gan-r1-r2       the non-saturating loss (Goodfellow et al. 2014) with both penalties: 693 modes
    rpgan-r1        without R2: the paper reports failure
    gan-r1          the non-saturating loss without R2: the paper reports failure
    full            the paper's full network, table 3: 8 blocks of 768 channels, 41 million weights

Usage::

    python experiments/r3gan.py rpgan-r1-r2 --data DIR
    python benchmarks/classifier.py mnist --data DIR --out runs/classifiers/mnist.npz

The second line trains the classifier that is needed to count modes. A round is a move of D and a move of G, each with
its own batch; the paper counts only one of the two, so 10 million images are 19,532 rounds of 512.

Differences: the paper does not state the width of table 1's "small ResNet"; here it has one block of 96 channels per
resolution. Nor does its code state how 28 pixels become 32, and the number of stacked images; here by a black border,
and as many as in Lin et al. 2018. All presets have the schedules of the full network (table 9). All computation is in
float32; the code computes larger layers in bfloat16.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import data as sources
from gan_jax import losses, priors
from gan_jax.data.synthetic import stack
from gan_jax.game import Game, Loss, Player, move
from gan_jax.metrics.stacked import stacked_mnist
from gan_jax.models.r3gan import Discriminator, Generator
from gan_jax.optimizers import with_rate
from gan_jax.penalties import r1, r2
from gan_jax.pixels import to_bytes


@dataclass(frozen=True)
class Config:
    """The numbers of table 9, in a small network."""

    data: str = "tfds:mnist"  # grey digits
    size: int = 32  # pixels a side, a power of 2
    edge: int = field(default=2, metadata={"least": 0})  # black border around a digit, in pixels
    stacks: int = 128_000
    steps: int = 19_532  # 10 million images
    batch: int = 512
    seed: int = 0
    loss: Literal["relativistic", "non_saturating"] = "relativistic"
    penalty: Literal["r1+r2", "r1"] = "r1+r2"  # on real images and fakes, or only on real images
    latent: int = 64
    width: int = 96  # channels of all blocks
    blocks: int = 1  # per resolution, from 4x4 on
    expansion: int = 2
    group: int = 16  # channels per group of the grouped convolutions
    burn_in: float = 2e6  # images over which the next fields go from their first to their last value (cosine)
    gamma: float = 1.0
    gamma_last: float = 0.1
    beta2: float = 0.9
    beta2_last: float = 0.99
    half_life: float = 0.0  # of the averaged generator's EMA, in images
    half_life_last: float = 5e5
    lr: float = 2e-4
    samples: int = 26_000  # number of samples to score
    classifier: str = "runs/classifiers/mnist.npz"  # of single digits, for counting modes


PRESETS = {
    "rpgan-r1-r2": Config(),
    "gan-r1-r2": Config(loss="non_saturating"),
    "rpgan-r1": Config(penalty="r1"),
    "gan-r1": Config(loss="non_saturating", penalty="r1"),
    "full": Config(width=768, blocks=2),
}
TINY = Config(data="digits", size=8, edge=0, stacks=64, steps=2, batch=8, latent=4, width=4, group=4)

PROTOCOL = "as printed, without an error; ours of 26,000 samples of the averaged generator"
PUBLISHED = {  # tables 1 and 3; the rows without R2 say "fail"
    "rpgan-r1-r2": {"modes": (1000.0, None), "kl_to_uniform": (0.0781, None)},
    "gan-r1-r2": {"modes": (693.0, None), "kl_to_uniform": (0.9270, None)},
    "full": {"modes": (1000.0, None), "kl_to_uniform": (0.029, None)},
}


def data(c: Config) -> sources.Set:
    stacks = stack(sources.load(c.data, size=c.size - 2 * c.edge, channels=1), c.stacks)
    black = ((0, 0), (c.edge, c.edge), (c.edge, c.edge), (0, 0))
    return stacks | {"x": np.pad(stacks["x"], black)}


def example(c: Config) -> dict[str, jax.ShapeDtypeStruct]:
    return {"x": jax.ShapeDtypeStruct((c.size, c.size, 3), "float32")}


def cosine(first: float, last: float, rounds: float) -> Callable[[Any], Any]:
    """Round -> a value that goes from `first` to `last` along half a cosine in so many rounds, and stays there."""
    return lambda t: last + (first - last) * (1 + jnp.cos(jnp.pi * jnp.minimum(t / rounds, 1))) / 2


@with_rate
def adam(rate, beta2: Callable[[Any], Any]) -> optax.GradientTransformation:
    """Adam without momentum and with a schedule for β2."""
    scale = optax.inject_hyperparams(optax.scale_by_adam, static_args=("b1", "eps", "eps_root"))
    return optax.chain(scale(b1=0.0, b2=beta2), optax.scale_by_learning_rate(rate))


def game(c: Config) -> Game:
    prior, loss = priors.normal(c.latent), getattr(losses, c.loss)
    changing = lambda first, last: cosine(first, last, c.burn_in / c.batch)
    gamma, half_life = changing(c.gamma, c.gamma_last), changing(c.half_life, c.half_life_last)
    beta2 = changing(c.beta2, c.beta2_last)

    def play(nets, batch, key, step):
        real, D = batch["x"], nets["D"]
        fake = nets["G"](prior(key, len(real)))
        real_logits, fake_logits = D(real), D(fake)
        loss_D, loss_G = loss(real_logits, fake_logits)
        penalty = r1(D, real) + (r2(D, fake) if c.penalty == "r1+r2" else 0)
        seen = {"D(x) - D(G(z))": (real_logits - fake_logits).mean(), "penalty": penalty, "gamma": gamma(step)}
        return {"D": Loss(loss_D + gamma(step) * penalty, seen), "G": Loss(loss_G)}

    def ema(step):
        return 0.5 ** (c.batch / jnp.maximum(half_life(step), 1e-8))

    sample = lambda nets, key, n: {"x": jnp.clip(nets["G"](prior(key, n)), -1, 1)}
    shape = ((c.width,) * (c.size.bit_length() - 2), c.blocks)
    players = {
        "G": Player(Generator(*shape, expansion=c.expansion, group=c.group), adam(c.lr, beta2=beta2), ema),
        "D": Player(Discriminator(*shape, expansion=c.expansion, group=c.group), adam(c.lr, beta2=beta2)),
    }
    return Game(players, play, (move("D"), move("G")), sample=sample)


def scores(c: Config):
    """Samples -> number of modes, and KL divergence from the uniform distribution; the border is cropped."""
    modes, inside = stacked_mnist(c.classifier), slice(c.edge, c.size - c.edge)
    return lambda samples: modes(np.asarray(to_bytes(samples["x"][:, inside, inside])))


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
