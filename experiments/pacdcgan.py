"""PacDCGAN on Stacked MNIST: a discriminator of m packed samples detects missing modes.

Lin, Khetan, Fanti, Oh. PacGAN: the power of two samples in generative adversarial networks. NeurIPS 2018.
arXiv:1712.04086

Presets::

    mnist           no packing: the paper's DCGAN, which finds about 79 of the 1,000 modes
    mnist-pack2     packs of two images, stacked along the channels: all modes
    mnist-pack3     packs of three
    mnist-pack4     packs of four

Usage::

    python experiments/pacdcgan.py mnist-pack2 --data DIR
    python benchmarks/classifier.py mnist --data DIR --out runs/classifiers/mnist.npz

The second line trains the classifier that is needed to count modes. D's batch of 64 packs has 64 · pack images, so
--batch grows with --pack. A round is one move of D and two of G, all on the same noise.

Differences: images are stacks of MNIST's 60,000 training digits, the paper's of all 70,000. Images are packed anew in
each round; the paper packs 128,000 once. Biases before a normalisation, which have no effect, are left out. Running
batch statistics are updated only in moves of their own player.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import data as sources
from gan_jax import losses, priors
from gan_jax.data.synthetic import stack
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.metrics.stacked import stacked_mnist
from gan_jax.models.pacdcgan import Discriminator, Generator
from gan_jax.optimizers import adam
from gan_jax.pixels import to_bytes


@dataclass(frozen=True)
class Config:
    """The paper's numbers without packing."""

    data: str = "tfds:mnist"  # grey digits
    size: int = 28  # pixels a side
    stacks: int = 128_000
    pack: int = 1  # images per input of D
    steps: int = 100_000  # 50 epochs of 128,000 packs
    batch: int = 64  # images in a round, 64 · pack
    seed: int = 0
    from_zero: bool = True  # pixels in [0, 1], as in the paper's code, although G ends in tanh; otherwise in [-1, 1]
    latent: int = 100
    width: int = 64  # channels of D's first layer and of G's last hidden layer
    lr: float = 2e-4
    beta1: float = 0.5
    samples: int = 26_000  # number of samples to score
    classifier: str = "runs/classifiers/mnist.npz"  # of single digits, for counting modes


PRESETS = {"mnist": Config()} | {f"mnist-pack{m}": Config(pack=m, batch=64 * m) for m in (2, 3, 4)}
TINY = Config(data="digits", size=8, stacks=64, pack=2, steps=2, batch=8, latent=4, width=4)

PROTOCOL = "26,000 samples, digits recognised by a classifier, mean and standard error of 10 runs"
PUBLISHED = {  # Table 2
    "mnist": {"modes": (78.9, 6.46), "kl_to_uniform": (4.50, 0.127)},
    "mnist-pack2": {"modes": (1000.0, 0.0), "kl_to_uniform": (0.06, 0.003)},
    "mnist-pack3": {"modes": (1000.0, 0.0), "kl_to_uniform": (0.06, 0.003)},
    "mnist-pack4": {"modes": (1000.0, 0.0), "kl_to_uniform": (0.07, 0.005)},
}


def data(c: Config) -> sources.Set:
    return stack(sources.load(c.data, size=c.size, channels=1), c.stacks)


def example(c: Config) -> dict[str, jax.ShapeDtypeStruct]:
    return {"x": jax.ShapeDtypeStruct((c.size, c.size, 3), "float32")}


def game(c: Config) -> Game:
    if c.batch % c.pack:
        raise UserError(f"--batch {c.batch} does not divide into packs of {c.pack}: give a multiple of --pack.")
    prior, loss = priors.uniform(c.latent), losses.non_saturating

    def play(nets, batch, key, step):
        x, memory_G, fakes = batch["x"], None, []
        real = jnp.split((x + 1) / 2 if c.from_zero else x, c.pack)
        for z in jnp.split(prior(key, len(x)), c.pack):  # separately: each has its own batch statistics
            fake, memory_G = nets["G"].mutate(z, memory=memory_G)
            fakes.append(fake)
        real_logits, memory_D = nets["D"].mutate(jnp.concatenate(real, -1))
        fake_logits, memory_D = nets["D"].mutate(jnp.concatenate(fakes, -1), memory=memory_D)
        loss_D, loss_G = loss(real_logits, fake_logits)
        before = {"D(x)": jax.nn.sigmoid(real_logits).mean(), "D(G(z)) before": jax.nn.sigmoid(fake_logits).mean()}
        after = {"D(G(z)) after": jax.nn.sigmoid(fake_logits).mean()}
        return {"D": Loss(loss_D, before, {"D": memory_D}), "G": Loss(loss_G, after, {"G": memory_G})}

    def sample(nets, key, n):
        x = nets["G"](prior(key, n))
        return {"x": 2 * jnp.clip(x, 0, 1) - 1 if c.from_zero else x}

    players = {
        "G": Player(Generator(c.size, 3, c.width), adam(c.lr, c.beta1)),
        "D": Player(Discriminator(c.width), adam(c.lr, c.beta1)),
    }
    same = ("batch", "key")
    return Game(players, play, (move("D"), move("G", again=same), move("G", again=same)), sample=sample)


def scores(c: Config):
    """Samples -> number of modes, and KL divergence from the uniform distribution."""
    modes = stacked_mnist(c.classifier)
    return lambda samples: modes(np.asarray(to_bytes(samples["x"])))


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
