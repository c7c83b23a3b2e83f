"""The cost of a member of a population: many trainings as one program, against a program for each.

    python benchmarks/population.py --out experiments/results/population_cpu.json

Milliseconds per member and round in the steady state, without compilation, measured alternately:

    loop   a program for each member, called one after another
    map    one program, members one after another (lax.map), the choice of `population` on CPUs
    vmap   one program, members in parallel, its choice on accelerators

and seconds for --rounds rounds with compilation, where the loop compiles a program for each member, as separate
trainings with different numbers do.
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro
from flax import linen as nn
from jax import lax

from benchmarks.record import record
from gan_jax import losses, mixtures, population, priors
from gan_jax.data import gather, stream, synthetic
from gan_jax.engine import step
from gan_jax.game import Player
from gan_jax.optimizers import adam
from gan_jax.runs import paper as papers
from gan_jax.training.spec import batch_spec, initial_state
from gan_jax.two_player import ORDERS, gan

TOGETHER = 10  # rounds per call
COMPILED = 4  # programs compiled for the loop; with more members their mean compile time is used


@dataclass(frozen=True)
class Config:
    """Small fully connected networks on a ring of Gaussians."""

    batch: int = 128
    width: int = 128
    lr: float = 1e-3


class MLP(nn.Module):
    """[b, d] -> [b, features], or [b] for one feature: two hidden layers of ReLU."""

    features: int
    width: int

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.Dense(self.width)(x))
        y = nn.Dense(self.features)(x)
        return y if self.features > 1 else y[:, 0]


def game(c):
    G, D = (Player(MLP(n, c.width), adam(c.lr, 0.5)) for n in (2, 1))
    return gan(G, D, losses.non_saturating, priors.normal(2), moves=ORDERS["simultaneous"])


def play(games, state, data, indices):
    """Play the rounds whose batches are data[indices], indices [k, slices, B] or [members, k, slices, B]."""

    def rounds(game, state, indices, data):
        return lax.scan(lambda s, i: step(game, s, gather(data, i)), state, indices)[0]

    return games.each(rounds, state, indices, shared=(data,))


def compiled(games, data, batch, one_after_another):
    """(seconds to initialise, compile and play once; a function that plays TOGETHER rounds)."""
    population.one_after_another = lambda: one_after_another
    began, n = time.perf_counter(), len(data["x"])
    state = jax.jit(lambda: initial_state(games, 0, batch_spec(data, batch)))()
    rows = [stream(seed, 0, TOGETHER * games.slices * batch, n) for seed in games.data_seeds(0)]
    indices = jax.device_put(games.stack([row.reshape(TOGETHER, games.slices, batch) for row in rows]))
    # The numbers of a population are arguments, so that XLA cannot fold them into the program.
    rounds = jax.jit(lambda numbers, *args: play(games.with_numbers(numbers), *args))
    program = rounds.lower(games.numbers, state, data, indices).compile()
    run = lambda: jax.block_until_ready(program(games.numbers, state, data, indices))
    run()
    return time.perf_counter() - began, run


def timed(call, repeats):
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def measure(make, config, data, n, repeats, rounds):
    """The three ways with n members, timed alternately; medians."""
    many = population.of(make, config, sweep={"lr": np.geomspace(1e-4, 1e-3, n).tolist()})(0)
    data, batch = jax.device_put(data), config.batch
    ways = {way: compiled(many, data, batch, way == "map") for way in ("map", "vmap")}
    members = [compiled(many.member(i), data, batch, True) for i in range(min(n, COMPILED))]
    calls = [members[i % len(members)][1] for i in range(n)]
    ways["loop"] = sum(seconds for seconds, _ in members) * n / len(members), lambda: [call() for call in calls]
    found = {way: [] for way in ways}
    for _ in range(repeats):
        for way, (_, call) in ways.items():
            found[way].append(timed(call, max(1, 32 // n)) / (n * TOGETHER) * 1e3)
    steady = {way: float(np.median(times)) for way, times in found.items()}
    compiling = {way: seconds for way, (seconds, _) in ways.items()}
    whole = {way: compiling[way] + steady[way] * n * rounds / 1e3 for way in ways}
    return {
        "members": n,
        "ms_per_member_and_round": steady,
        "all_ms": found,
        "compile_seconds": compiling,
        f"seconds_for_{rounds}_rounds": whole,
        "steady_loop_over_map": steady["loop"] / steady["map"],
        "whole_loop_over_map": whole["loop"] / whole["map"],
    }


def main(out: Path, repeats: int = 5, rounds: int = 2000) -> None:
    """Measure small MLPs with 1, 4, 16 and 64 members, and DCGAN on digits with 4."""
    ring = synthetic.mixture(mixtures.ring(), 10_000)
    mlp = [measure(game, Config(), ring, n, repeats, rounds) for n in (1, 4, 16, 64)]
    module, config = papers.preset("dcgan:digits")
    images = module.data(config)
    images = {"x": images["x"]}
    conv = measure(module.game, config, images, 4, repeats, config.steps)
    record(out, toy=dataclasses.asdict(Config()), mlp=mlp, dcgan_digits=conv, rounds_per_call=TOGETHER)
    for row in (*mlp, conv):
        print(row["members"], row["ms_per_member_and_round"], row["steady_loop_over_map"], row["whole_loop_over_map"])


if __name__ == "__main__":
    tyro.cli(main)
