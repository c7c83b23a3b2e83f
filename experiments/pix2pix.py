"""pix2pix: image-to-image translation from pairs, with a discriminator that sees both images.

Isola, Zhu, Zhou, Efros. Image-to-image translation with conditional adversarial networks. CVPR 2017. arXiv:1611.07004

Presets::

    facades    256 pixels, 200 epochs of 400 pairs, labels to photographs
    nuclei     128 pixels, 200 epochs of 564 pairs, labels to photographs
    nuclei-l1  the same without the adversarial loss, i.e. by regression alone
    small      64 pixels and narrow networks, 10 epochs of nuclei on a CPU
    small-l1   the same without the adversarial loss

Usage::

    python experiments/pix2pix.py facades --data FOLDER_OR_TAR
    python -m gan_jax translate runs/pix2pix-facades --to A --input FOLDER --out FOLDER
    python benchmarks/translation.py pix2pix --data FOLDER_OR_TAR

The data are pictures with two halves, A on the left and B on the right, in folders train and val. The last line
compares small with small-l1. A round is a move of D and a move of G on the same fakes. The noise is dropout, which
stays active when the generator is used.

Differences: instance normalisation, which equals the paper's batch normalisation for batches of one. D has the full
learning rate and a halved loss, as in the paper's section 3.3. Halves are resized to 286 pixels and cropped to squares.
"""

from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import augment as jitter
from gan_jax import data as sources
from gan_jax import losses
from gan_jax.data.held_out import HeldOut
from gan_jax.game import Game, Loss, Player, move
from gan_jax.models.translation import PatchGAN, UNet
from gan_jax.optimizers import adam


@dataclass(frozen=True)
class Config:
    """The numbers of section 3 and of appendix 6."""

    data: str = "facades"  # pictures with two halves, A|B, in train and val
    direction: Literal["AtoB", "BtoA"] = "AtoB"
    size: int = 256  # pixels a side, a multiple of 2^depth
    channels: int = 3
    zoom: float = 286 / 256  # pairs are loaded larger by this factor and cropped at random
    flip: bool = True  # mirror half of the pairs
    steps: int = 80_000  # 200 epochs of 400 pairs
    batch: int = 1
    seed: int = 0
    width: int = 64  # channels of the generator's first layer
    depth: int = 8  # number of downsamplings; 7 for 128 pixels
    width_D: int = 64
    layers_D: int = 3  # with stride 2: patches of 70 pixels
    gan: float = 1.0  # weight of the adversarial loss
    l1: float = 100.0  # weight of the L1 distance to the ground truth
    lr: float = 2e-4
    beta1: float = 0.5


NUCLEI = Config(data="nuclei-pairs-128.tar", size=128, depth=7, steps=112_800)
SMALL = replace(NUCLEI, size=64, depth=6, steps=5640, width=16, width_D=16, layers_D=2)
PRESETS = {
    "facades": Config(data="facades", direction="BtoA"),  # there the photographs lie on the left
    "nuclei": NUCLEI,
    "nuclei-l1": replace(NUCLEI, gan=0.0),
    "small": SMALL,
    "small-l1": replace(SMALL, gan=0.0),
}
TINY = replace(SMALL, size=16, depth=3, steps=2, width=4, width_D=4)


def data(c: Config) -> sources.Set:
    return {"x": sources.load(c.data, size=round(c.size * c.zoom), channels=c.channels, pairs=True)["x"]}


def held_out(c: Config) -> HeldOut:
    x = np.asarray(sources.load(c.data, size=c.size, channels=c.channels, split="val", pairs=True)["x"])
    return HeldOut(dict(zip("AB", np.split(x, 2, 2), strict=True)), paired=True)


def example(c: Config) -> dict[str, jax.ShapeDtypeStruct]:
    side = round(c.size * c.zoom)
    return {"x": jax.ShapeDtypeStruct((side, 2 * side, c.channels), "float32")}


def game(c: Config) -> Game:
    loss, of_both = losses.non_saturating, lambda *images: jnp.concatenate(images, -1)

    def play(nets, batch, key, step):
        k_cut, k_flip, k_G = jax.random.split(key, 3)
        pair = jitter.cut(k_cut, of_both(*jnp.split(batch["x"], 2, 2)), c.size)
        pair = jitter.flip(k_flip, pair) if c.flip else pair
        x, y = jnp.split(pair, 2, -1)[:: 1 if c.direction == "AtoB" else -1]
        fake = nets["G"](x, key=k_G)
        real_logits, fake_logits = nets["D"](of_both(x, y)), nets["D"](of_both(x, fake))
        loss_D, loss_G = loss(real_logits, fake_logits)
        distance = jnp.abs(fake - y).mean()
        before = {"D(x)": jax.nn.sigmoid(real_logits).mean(), "D(G(z)) before": jax.nn.sigmoid(fake_logits).mean()}
        after = {"D(G(z)) after": jax.nn.sigmoid(fake_logits).mean(), "l1": distance}
        return {"D": Loss(loss_D / 2, before), "G": Loss(c.gan * loss_G + c.l1 * distance, after)}

    players = {
        "G": Player(UNet(c.channels, c.width, c.depth), adam(c.lr, c.beta1)),
        "D": Player(PatchGAN(c.width_D, c.layers_D, affine=True), adam(c.lr, c.beta1)),
    }
    moves = (move("D"), move("G", again=("batch", "key")))
    return Game(players, play, moves, translations={c.direction[-1]: lambda nets, x, key: nets["G"](x, key=key)})


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
