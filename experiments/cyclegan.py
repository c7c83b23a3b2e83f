"""CycleGAN: image-to-image translation between two sets of unpaired pictures.

Zhu, Park, Isola, Efros. Unpaired image-to-image translation using cycle-consistent adversarial networks. ICCV 2017.
arXiv:1703.10593

Presets::

    horse2zebra       256 pixels, 200 epochs of 1,334 zebras
    small             128 pixels and 6 blocks, for any folder or tar with trainA, trainB, testA and testB
    mnist-inverted    digits and their negatives: the map is known, so translations have a ground truth
    mnist-rotated     digits, and digits rotated by 90 degrees
    mnist-coloured    grey digits and coloured ones

Usage::

    python experiments/cyclegan.py horse2zebra --data FOLDER_OR_TAR
    python -m gan_jax translate runs/cyclegan-horse2zebra --to B --input FOLDER --out FOLDER
    python benchmarks/translation.py cyclegan --data DIR

The last line repeats the paper's ablation (section 5.1.3 and figure 7) on the MNIST presets. A round is one
simultaneous update of all four networks from one forward pass: the discriminators are trained on the fakes from before
the generators' update, as in the authors' code.

Differences: pictures are resized to 286 pixels and cropped to squares; the code stretches them. Each set has its own
epochs without repetition; the code draws the pictures of B with replacement. The learning rate decays with each round,
in the code with each epoch. Biases before a normalisation have no effect and stay 0. The MNIST presets have smaller
networks, patches of 34 pixels, and no augmentation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import augment as jitter
from gan_jax import data as sources
from gan_jax import losses, pool
from gan_jax.data.held_out import HeldOut
from gan_jax.game import Game, Loss, Move, Player
from gan_jax.models.translation import PatchGAN, ResNet
from gan_jax.optimizers import adam


@dataclass(frozen=True)
class Config:
    """The numbers of section 7.1 and of the authors' code."""

    data: str = "horse2zebra"  # pictures in trainA, trainB, testA and testB; a single set if B is a map of it
    map: Literal["none", "inverted", "rotated", "coloured"] = "none"  # B are other pictures of A's set, mapped so
    size: int = 256  # pixels a side, a multiple of 4
    edge: int = field(
        default=0, metadata={"least": 0}
    )  # black border around the pictures of a mapped set, included in `size`
    channels: int = 3
    zoom: float = 286 / 256  # pictures are loaded larger by this factor and cropped at random
    flip: bool = True  # mirror half of them
    steps: int = 266_800  # 200 epochs of 1,334 pictures
    batch: int = 1
    seed: int = 0
    width: int = 64  # channels of the generators' first layer
    blocks: int = 9  # residual blocks; 6 for 128 pixels
    width_D: int = 64
    layers_D: int = 3  # with stride 2: patches of 70 pixels
    gan: float = 1.0  # weight of the adversarial loss
    lambda_A: float = 10.0  # weight of the cycle A → B → A
    lambda_B: float = 10.0  # weight of the cycle B → A → B
    identity: float = 0.5  # weight, times lambda, of the identity loss: pictures of B translated to B
    pool: int = field(
        default=50, metadata={"least": 0}
    )  # size of the pool of past fakes for a discriminator; 0: only new ones
    lr: float = 2e-4
    beta1: float = 0.5
    schedule_steps: int = 266_800  # rounds over whose second half the learning rate decays to 0


MNIST = Config(
    data="tfds:mnist",
    size=32,
    edge=2,
    channels=1,
    zoom=1.0,
    flip=False,
    steps=600,
    batch=4,
    width=12,
    blocks=2,
    width_D=24,
    layers_D=2,
    lr=1e-3,
    schedule_steps=600,
)
PRESETS = {
    "horse2zebra": Config(),
    "small": Config(data="", size=128, blocks=6, steps=60_000, schedule_steps=60_000),  # 200 epochs of 300 pictures
    "mnist-inverted": replace(MNIST, map="inverted"),
    "mnist-rotated": replace(MNIST, map="rotated"),
    "mnist-coloured": replace(MNIST, map="coloured", channels=3),
}
TINY = replace(MNIST, data="digits", map="inverted", edge=0, size=16, steps=2, width=4, blocks=1, width_D=4, pool=6)


def coloured(x: np.ndarray) -> np.ndarray:
    """Grey levels mapped to colours from blue (black) to orange (white)."""
    return np.concatenate([x[..., :1], x[..., :1] // 2, 255 - x[..., :1]], -1)


MAPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverted": lambda x: 255 - x,
    "rotated": lambda x: np.rot90(x, axes=(1, 2)).copy(),
    "coloured": coloured,
}


def data(c: Config) -> sources.Data:
    if c.map in MAPS:
        x = mapped(c, "train")
        return {"A": {"x": x[::2]}, "B": {"x": MAPS[c.map](x[1::2])}}  # disjoint pictures
    loaded = lambda split: sources.load(c.data, size=round(c.size * c.zoom), channels=c.channels, split=split)["x"]
    return {"A": {"x": loaded("trainA")}, "B": {"x": loaded("trainB")}}


def mapped(c: Config, split: str) -> np.ndarray:
    """The pictures before the map, uint8 [n, size, size, channels]."""
    x = np.asarray(sources.load(c.data, size=c.size - 2 * c.edge, channels=c.channels, split=split)["x"])
    return np.pad(x, ((0, 0), (c.edge, c.edge), (c.edge, c.edge), (0, 0)))


def held_out(c: Config) -> HeldOut:
    if c.map in MAPS:
        x = mapped(c, "train" if c.data in sources.BUILT_IN else "test")
        return HeldOut({"A": x, "B": MAPS[c.map](x)}, paired=True)
    loaded = lambda split: np.asarray(sources.load(c.data, size=c.size, channels=c.channels, split=split)["x"])
    return HeldOut({"A": loaded("testA"), "B": loaded("testB")}, paired=False)


def example(c: Config) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    side = round(c.size * c.zoom)
    return {name: {"x": jax.ShapeDtypeStruct((side, side, c.channels), "float32")} for name in "AB"}


def game(c: Config) -> Game:
    l1 = lambda x, y: jnp.abs(x - y).mean()

    def jittered(key, x):
        k_cut, k_flip = jax.random.split(key)
        x = jitter.cut(k_cut, x, c.size)
        return jitter.flip(k_flip, x) if c.flip else x

    def play(nets, batch, key, step):
        k_a, k_b, k_pool_A, k_pool_B = jax.random.split(key, 4)
        a, b = jittered(k_a, batch["A"]["x"]), jittered(k_b, batch["B"]["x"])
        to_B, to_A, D_A, D_B = (nets[name] for name in ("G_AB", "G_BA", "D_A", "D_B"))
        fake_b, fake_a = to_B(a), to_A(b)
        cycle_A, cycle_B = l1(to_A(fake_b), a), l1(to_B(fake_a), b)
        identity_A, identity_B = l1(to_A(a), a), l1(to_B(b), b)

        shown_a, pool_A = pool.exchange(nets.memory["A"], fake_a, k_pool_A)
        shown_b, pool_B = pool.exchange(nets.memory["B"], fake_b, k_pool_B)
        loss_A, _ = losses.least_squares(D_A(a), D_A(shown_a))
        loss_B, _ = losses.least_squares(D_B(b), D_B(shown_b))
        seen_a, seen_b = D_A(fake_a), D_B(fake_b)
        fooled = jnp.square(seen_a - 1).mean() + jnp.square(seen_b - 1).mean()
        cycle = c.lambda_A * cycle_A + c.lambda_B * cycle_B
        identity = c.identity * (c.lambda_A * identity_A + c.lambda_B * identity_B)

        reported = {"cycle/A": cycle_A, "cycle/B": cycle_B, "identity/A": identity_A, "identity/B": identity_B}
        reported |= {"D_A(G(b))": seen_a.mean(), "D_B(G(a))": seen_b.mean()}
        remembered = {"game": {"A": pool_A, "B": pool_B}}
        return {
            "G": Loss(c.gan * fooled + cycle + identity, reported),
            "D_A": Loss(loss_A, {}, remembered),
            "D_B": Loss(loss_B, {}, remembered),
        }

    falling = lambda count: c.lr * jnp.clip(2 - 2 * count / c.schedule_steps, 0, 1)
    G, D = ResNet(c.channels, c.width, c.blocks), PatchGAN(c.width_D, c.layers_D)
    players = {name: Player(net, adam(falling, c.beta1)) for name, net in zip(PLAYERS, (G, G, D, D), strict=True)}
    return Game(
        players,
        play,
        (Move({"G_AB": "G", "G_BA": "G", "D_A": "D_A", "D_B": "D_B"}),),
        memory={name: pool.empty(c.pool, (c.size, c.size, c.channels)) for name in "AB"},
        translations={"B": lambda nets, x, key: nets["G_AB"](x), "A": lambda nets, x, key: nets["G_BA"](x)},
    )


PLAYERS = ("G_AB", "G_BA", "D_A", "D_B")


if __name__ == "__main__":
    from gan_jax import cli

    cli.experiment(__file__)
