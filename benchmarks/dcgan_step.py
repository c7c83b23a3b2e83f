"""One training step of DCGAN-64: ours against PyTorch's tutorial, and against the same networks with Flax's layers.

    python benchmarks/dcgan_step.py --out experiments/results/dcgan_step_cpu.json

All take the PyTorch tutorial's step (D on real and fake, then G on the same fakes, Adam) on the same shapes. First,
losses and gradients of our convolutions and Flax's are compared on the same weights, in float32 and float64: in float32
one activation that is rounded to the other side of LeakyReLU's kink can change a gradient by 1e-3 of its norm. Then the
steps are timed alternately, in one order and in the other; each ratio is of medians. PyTorch runs with contiguous and
with channels_last memory, and the faster counts; our steps in a scan are compared with its plain step. R1 is computed
in every round.
"""

import time
from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from flax import linen
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from benchmarks.record import record
from gan_jax import engine, losses, penalties, priors
from gan_jax.game import Player
from gan_jax.models import dcgan
from gan_jax.optimizers import adam
from gan_jax.two_player import ORDERS, gan

LATENT, R1, SCAN = 100, 5.0, 3


def stock():
    """A context in which dcgan's networks are built from Flax's own layers."""
    transposed = lambda features, kernel, strides, pad, **kw: linen.ConvTranspose(
        features, kernel, strides, kernel[0] - 1 - pad, **kw
    )
    return mock.patch.multiple(dcgan, Conv=linen.Conv, ConvTranspose=transposed)


def flipped(params):
    """Our weights as Flax's layers take them: the kernels of transposed convolutions are flipped in space."""
    flip = lambda path, w: w[::-1, ::-1] if "ConvTranspose" in jax.tree_util.keystr(path) else w
    return jax.tree_util.tree_map_with_path(flip, params)


def our_game(width, r1=0.0, dtype="float32"):
    penalty = (lambda critic, real, fake, key: r1 * penalties.r1(critic, real)) if r1 else None
    G, D = dcgan.Generator(width=width, dtype=dtype), dcgan.Discriminator(width, dtype)
    G, D = Player(G, adam(2e-4, 0.5)), Player(D, adam(2e-4, 0.5))
    moves = ORDERS["same_fakes"]
    return gan(G, D, losses.non_saturating, priors.normal(LATENT), penalty=penalty, moves=moves)


def agreement(batch, width, dtype="float32"):
    """Losses by our layers and by Flax's, and the largest relative difference of a gradient, ‖a − b‖ / ‖b‖."""
    g, batch = our_game(width, dtype=dtype), batch.astype(dtype)
    state = jax.jit(partial(engine.init, g))(jax.random.key(0), {"x": batch})
    state = state.replace(params=jax.tree.map(lambda w: w.astype(dtype), state.params))

    def gradients(state):
        return engine.gradient(g, state, {"D": "D", "G": "G"}, {"x": batch[0]}, jax.random.key(1))

    ours, (_, mine) = jax.jit(gradients)(state)
    with stock():
        theirs, (_, other) = jax.jit(lambda s: gradients(s))(state.replace(params=flipped(state.params)))
    far = lambda a, b: float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))
    return {
        "losses": {name: [float(mine[name]), float(other[name])] for name in ("loss/D", "loss/G")},
        "gradients": max(jax.tree.leaves(jax.tree.map(far, ours, flipped(theirs)))),
    }


def our_step(batch, width, r1=0.0, scan=0):
    """(function that runs one round, or `scan` rounds, and waits for the result; seconds to compile it)."""
    g = our_game(width, r1)
    state = jax.jit(partial(engine.init, g))(jax.random.key(0), {"x": batch})
    play = partial(engine.step, g)
    if scan:
        play = lambda state, x: jax.lax.scan(lambda s, _: engine.step(g, s, x), state, length=scan)
    play = jax.jit(play, donate_argnums=0)
    began = time.perf_counter()
    play = play.lower(state, {"x": batch}).compile()

    def run():
        nonlocal state
        state, metrics = play(state, {"x": batch})
        jax.block_until_ready((state, metrics))

    return run, time.perf_counter() - began


def torch_step(batch, width, r1=0.0, layout=torch.contiguous_format):
    """The tutorial's step, on logits instead of sigmoids."""
    up = lambda i, o, s, p: nn.ConvTranspose2d(i, o, 4, s, p, bias=False)
    down = lambda i, o, s, p: nn.Conv2d(i, o, 4, s, p, bias=False)
    n, G, D = width, [up(LATENT, 8 * width, 1, 0)], [down(3, width, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
    for i, o in ((8 * n, 4 * n), (4 * n, 2 * n), (2 * n, n)):
        G += [nn.BatchNorm2d(i), nn.ReLU(True), up(i, o, 2, 1)]
        D += [
            down(8 * n // i * n, 8 * n // o * n, 2, 1),
            nn.BatchNorm2d(8 * n // o * n),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    G += [nn.BatchNorm2d(n), nn.ReLU(True), up(n, 3, 2, 1), nn.Tanh()]
    G, D = (nn.Sequential(*net).to(memory_format=layout) for net in (G, [*D, down(8 * n, 1, 1, 0), nn.Flatten(0)]))
    optimizers = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (D, G)]
    real = torch.tensor(np.asarray(batch[0])).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    one, zero = torch.ones(len(real)), torch.zeros(len(real))

    def run():
        D.zero_grad()
        x = real.detach().requires_grad_(r1 > 0)
        logits = D(x)
        loss = bce(logits, one)
        if r1:
            (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
            loss = loss + r1 * 0.5 * slope.square().sum((1, 2, 3)).mean()
        loss.backward()
        fake = G(torch.randn(len(real), LATENT, 1, 1).contiguous(memory_format=layout))
        bce(D(fake.detach()), zero).backward()
        optimizers[0].step()
        G.zero_grad()
        bce(D(fake), one).backward()
        optimizers[1].step()

    return run


def measure(steps, rounds, repeats):
    """{name: seconds per round, one for each repeat}, measured alternately in one order and in the other."""
    for run in steps.values():
        run()
    seconds = {name: [] for name in steps}
    for i in range(repeats):
        for name in list(steps)[:: 1 - 2 * (i % 2)]:
            began = time.perf_counter()
            steps[name]()
            seconds[name].append((time.perf_counter() - began) / rounds.get(name, 1))
    return seconds


def main(
    out: str = "experiments/results/dcgan_step_cpu.json",
    batch: int = 32,
    width: int = 64,
    threads: int = 2,
    repeats: int = 9,
) -> None:
    """Compare, time, and write the seconds and their ratios to --out."""
    torch.set_num_threads(threads)
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, batch, 64, 64, 3)), jnp.float32)
    same = agreement(x, width)
    with jax.enable_x64(True):
        same_in_float64 = agreement(x, width, "float64")
    steps, compiling = {}, {}
    for name, how in {"ours": {}, "ours, scan": {"scan": SCAN}, "ours, R1": {"r1": R1}}.items():
        steps[name], compiling[name] = our_step(x, width, **how)
    with stock():
        steps["Flax"], compiling["Flax"] = our_step(x, width)
    for layout in ("contiguous_format", "channels_last"):
        for mark, r1 in (("", 0.0), (", R1", R1)):
            steps[f"PyTorch {layout}{mark}"] = torch_step(x, width, r1, getattr(torch, layout))
    seconds = measure(steps, {"ours, scan": SCAN}, repeats)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    best = lambda mark: min(median[f"PyTorch {layout}{mark}"] for layout in ("contiguous_format", "channels_last"))
    ratios = {
        "plain against PyTorch": best("") / median["ours"],
        "scan against PyTorch": best("") / median["ours, scan"],
        "R1 against PyTorch": best(", R1") / median["ours, R1"],
        "plain against Flax": median["Flax"] / median["ours"],
    }
    record(
        out,
        what=f"DCGAN-64, width {width}, batch {batch}, {threads} threads; seconds per round, medians of {repeats}",
        ratios=ratios,
        images_per_second={name: batch / value for name, value in median.items()},
        seconds=seconds,
        compile_seconds=compiling,
        agreement_with_flax=same,
        agreement_with_flax_in_float64=same_in_float64,
        protocol=" ".join(__doc__.split("\n\n")[2].split()),
    )
    for name, ratio in ratios.items():
        print(f"{name:<24}{ratio:.2f}")


if __name__ == "__main__":
    tyro.cli(main)
