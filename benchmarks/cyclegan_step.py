"""One training step of CycleGAN: ours against the authors' in PyTorch, on the same weights and pictures.

    python benchmarks/cyclegan_step.py --out experiments/results/cyclegan_step_cpu.json

The losses of the first round are recorded. Then the implementations are timed alternately, in one order and in the
other, and the ratio is of medians. PyTorch runs with contiguous and with channels_last memory, and the faster counts.
As in the authors' code, its generators step first while D's weights are frozen, then the discriminators are trained on
the same fakes, detached. It has no image pool; ours has one of 50.
"""

import dataclasses
import itertools
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from torch import nn
from torch.nn.functional import l1_loss, mse_loss

from benchmarks.record import record
from gan_jax import engine
from gan_jax.runs import paper as papers
from gan_jax.training.spec import zeros


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        half = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)]
        self.body = nn.Sequential(*half(), nn.ReLU(True), *half())

    def forward(self, x):
        return x + self.body(x)


def generator(channels, width, blocks):
    after = lambda width: [nn.InstanceNorm2d(width), nn.ReLU(True)]
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), *after(width)]
    for k in (1, 2):
        layers += [nn.Conv2d(k * width, 2 * k * width, 3, 2, 1), *after(2 * k * width)]
    layers += [Residual(4 * width) for _ in range(blocks)]
    for k in (4, 2):
        layers += [nn.ConvTranspose2d(k * width, k * width // 2, 3, 2, 1, 1), *after(k * width // 2)]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh())


def discriminator(channels, width):
    layers, before = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)], width
    for k, stride in ((2, 2), (4, 2), (8, 1)):
        layers += [nn.Conv2d(before, k * width, 4, stride, 1), nn.InstanceNorm2d(k * width), nn.LeakyReLU(0.2, True)]
        before = k * width
    return nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1))


def loaded(net, params):
    """The PyTorch network with our weights, whose layers are numbered in the same order."""
    kinds = {nn.Conv2d: ("Conv", (3, 2, 0, 1)), nn.ConvTranspose2d: ("ConvTranspose", (2, 3, 0, 1))}
    count = dict.fromkeys(kinds, 0)
    for layer in net.modules():
        if type(layer) in kinds:
            kind, axes = kinds[type(layer)]
            p = params[f"{kind}_{count[type(layer)]}"]
            count[type(layer)] += 1
            layer.weight.data = torch.tensor(np.asarray(p["kernel"]).transpose(axes).copy())
            layer.bias.data = torch.tensor(np.asarray(p["bias"])) if "bias" in p else torch.zeros_like(layer.bias)
    return net


class Theirs:
    """The authors' networks and training step."""

    def __init__(self, c, params, layout):
        make = {
            "G": partial(generator, c.channels, c.width, c.blocks),
            "D": partial(discriminator, c.channels, c.width_D),
        }
        self.nets = {name: loaded(make[name[0]](), params[name]).to(memory_format=layout) for name in params}
        of = lambda kind: list(itertools.chain(*(n.parameters() for name, n in self.nets.items() if name[0] == kind)))
        self.weights_D, self.c, self.layout = of("D"), c, layout
        self.opt = {kind: torch.optim.Adam(of(kind), c.lr, (c.beta1, 0.999)) for kind in "GD"}

    def round(self, a, b):
        n, c = self.nets, self.c
        a, b = a.to(memory_format=self.layout), b.to(memory_format=self.layout)
        for w in self.weights_D:
            w.requires_grad_(False)
        fake_b, fake_a = n["G_AB"](a), n["G_BA"](b)
        adversarial = lambda logits, value: mse_loss(logits, torch.full_like(logits, value))
        cycle = c.lambda_A * l1_loss(n["G_BA"](fake_b), a) + c.lambda_B * l1_loss(n["G_AB"](fake_a), b)
        same = c.lambda_A * l1_loss(n["G_BA"](a), a) + c.lambda_B * l1_loss(n["G_AB"](b), b)
        loss_G = adversarial(n["D_B"](fake_b), 1.0) + adversarial(n["D_A"](fake_a), 1.0) + cycle + c.identity * same
        self.opt["G"].zero_grad()
        loss_G.backward()
        self.opt["G"].step()
        for w in self.weights_D:
            w.requires_grad_(True)
        own = lambda D, x, fake: (adversarial(D(x), 1.0) + adversarial(D(fake.detach()), 0.0)) / 2
        loss_A, loss_B = own(n["D_A"], a, fake_a), own(n["D_B"], b, fake_b)
        self.opt["D"].zero_grad()
        (loss_A + loss_B).backward()
        self.opt["D"].step()
        return loss_G.item(), loss_A.item(), loss_B.item()


def main(out: Path, size: int = 64, width: int = 64, blocks: int = 6, repeats: int = 10) -> None:
    """Time rounds on one picture of each domain, `size` x `size` pixels, and write the result to --out."""
    module, config = papers.preset("cyclegan:small")
    c = dataclasses.replace(config, size=size, width=width, blocks=blocks, zoom=1.0, flip=False)
    game = module.game(c)
    state = jax.jit(partial(engine.init, game))(jax.random.key(0), zeros(game, module.spec(c)))
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 1, size, size, 3)).astype(np.float32)
    batch = {name: {"x": jnp.asarray(x)[None]} for name, x in zip("AB", pictures, strict=True)}
    a, b = (torch.tensor(x.transpose(0, 3, 1, 2).copy()) for x in pictures)
    peers = {
        "PyTorch": Theirs(c, state.params, torch.contiguous_format),
        "PyTorch channels_last": Theirs(c, state.params, torch.channels_last),
    }
    step = jax.jit(partial(engine.step, game), donate_argnums=0)
    began = time.perf_counter()
    program = step.lower(state, batch).compile()
    compiling = time.perf_counter() - began

    def ours():
        nonlocal state
        state, metrics = program(state, batch)
        return [float(metrics[f"loss/{name}"]) for name in ("G", "D_A", "D_B")]

    rounds = {"ours": ours} | {name: partial(peer.round, a, b) for name, peer in peers.items()}
    first = {name: play() for name, play in rounds.items()}
    seconds = {name: [] for name in rounds}
    for i in range(repeats):
        for name in list(rounds)[:: 1 if i % 2 else -1]:
            began = time.perf_counter()
            rounds[name]()
            seconds[name].append(time.perf_counter() - began)
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    best = min(value for name, value in median.items() if name != "ours")
    record(
        out,
        shape={"size": size, "width": width, "blocks": blocks, "batch": 1},
        losses_of_the_first_round=first,
        seconds_a_round=median,
        torch_to_ours=best / median["ours"],
        compile_seconds=compiling,
        repeats=repeats,
    )
    print(f"{best / median['ours']:.2f} times the speed of PyTorch; first losses {first}")


if __name__ == "__main__":
    tyro.cli(main)
