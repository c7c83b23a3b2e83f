"""DCGAN: convolutional generators and discriminators, in the two most widely used recipes.

Radford, Metz, Chintala. Unsupervised representation learning with deep convolutional generative adversarial
networks. ICLR 2016. arXiv:1511.06434

Presets::

    digits       scikit-learn's 8x8 digits, with narrower networks than mnist: about a minute on a CPU
    mnist        the TensorFlow tutorial: 28x28, dropout in D, simultaneous updates
    mnist-small  the same for CPUs: narrower, a higher learning rate, alternating updates, an averaged generator
    faces        the PyTorch tutorial: 64x64, any folder of pictures, G updated on the fakes of D's update

Usage::

    python experiments/dcgan.py digits
    python experiments/dcgan.py mnist --data DIR --steps 2000 --seed 3 --run runs/mnist
    python experiments/dcgan.py faces --data FOLDER_OR_TAR --flip

Differences: both tutorials end each epoch with a smaller batch (mnist: 234 full ones and one of 96); here batches run
on across epochs. Samples use running batch statistics; the faces tutorial uses those of the batch. D's running
statistics, which are not used, are updated only in D's moves. Goodfellow et al. 2014 average D's two errors
(--weight-D 0.5) and skip G's updates while it wins (--order waiting).
"""

from dataclasses import dataclass, replace
from typing import Literal

import jax

from gan_jax import data as sources
from gan_jax import losses, priors
from gan_jax.game import Game, Player
from gan_jax.models import dcgan
from gan_jax.optimizers import adam, ema, keras_adam
from gan_jax.two_player import ORDERS, gan


@dataclass(frozen=True)
class Config:
    """The TensorFlow tutorial's numbers."""

    data: str = "tfds:mnist"
    size: int = 28  # pixels a side
    channels: int = 1  # 1: grey, 3: colour
    flip: bool = False  # add the mirror image of every picture
    steps: int = 11_719  # 50 epochs
    batch: int = 256
    seed: int = 0
    networks: Literal["tensorflow", "pytorch"] = "tensorflow"  # of which tutorial
    latent: int = 100
    width_G: int = 256  # channels of G's first layer (tensorflow), of its last hidden layer (pytorch: ngf)
    width_D: int = 64  # channels of D's first layer
    loss: Literal["non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic"] = (
        "non_saturating"
    )
    order: Literal["simultaneous", "alternating", "same_fakes", "waiting"] = "simultaneous"
    weight_D: float = 1.0  # 1: D's loss is the sum of its two errors, 0.5: their mean
    lr: float = 1e-4
    beta1: float = 0.9
    ema: float = 0.0  # decay of the averaged generator, which is then used for samples; 0: no average
    parts: int = 1  # micro-batches over which gradients are accumulated
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the computation; weights are float32


SMALL = Config(steps=12_000, batch=32, lr=5e-4, beta1=0.5, ema=0.998, order="alternating", width_G=64)
PRESETS = {
    "digits": replace(SMALL, data="digits", size=8, steps=6000, latent=32),
    "mnist": Config(),
    "mnist-small": SMALL,
    "faces": Config(
        data="faces",
        size=64,
        channels=3,
        steps=7_915,  # 5 epochs of CelebA
        batch=128,
        networks="pytorch",
        width_G=64,
        order="same_fakes",
        lr=2e-4,
        beta1=0.5,
    ),
}
TINY = Config(data="digits", size=8, steps=2, batch=4, width_G=8, width_D=4, latent=4)


def data(c: Config) -> sources.Set:
    pictures = sources.load(c.data, size=c.size, channels=c.channels)
    return sources.mirror(pictures) if c.flip else pictures


def example(c: Config) -> dict[str, jax.ShapeDtypeStruct]:
    return {"x": jax.ShapeDtypeStruct((c.size, c.size, c.channels), "float32")}


def game(c: Config) -> Game:
    make_G, make_D = dcgan.PAIRS[c.networks]
    G, D = make_G(c.size, c.channels, c.width_G, c.dtype), make_D(c.width_D, c.dtype)
    optimizer = adam if c.networks == "pytorch" else keras_adam
    return gan(
        Player(G, optimizer(c.lr, c.beta1), ema(c.ema)),
        Player(D, optimizer(c.lr, c.beta1)),
        getattr(losses, c.loss),
        priors.normal(c.latent),
        moves=ORDERS[c.order],
        weight_D=c.weight_D,
        parts=c.parts,
    )


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
