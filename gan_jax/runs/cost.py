"""What a training costs, before it is run: parameters, FLOPs, memory and time of a round on this machine."""

import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from gan_jax.engine import step
from gan_jax.population import Games
from gan_jax.runs import flops as counting
from gan_jax.training.spec import Spec, abstract_state, initial_state, zeros


@dataclass(frozen=True)
class Cost:
    """Of one round. Bytes include State and batch; FLOPs are counted as in gan_jax.runs.flops."""

    parameters: dict[str, int]  # by player
    flops: float
    bytes: int
    seconds: float  # the median of some rounds on made-up data
    compile_seconds: float  # of a round and of its beginning


def parameters(game: Games, spec: Spec) -> dict[str, int]:
    """{player: number of weights}."""
    params = abstract_state(game, spec).params
    return {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in params.items()}


def flops(game: Games, spec: Spec, platform: str = "cpu") -> float:
    """FLOPs of one round; nothing is compiled."""
    return counting.count(*_round(game, spec), platform=platform)


def measure(game: Games, spec: Spec, seconds: float = 2.0) -> Cost:
    """Compile one round, and play it on noise for some seconds, three times at least."""
    noise = lambda x: np.random.default_rng(0).uniform(-1, 1, x.shape).astype(x.dtype)
    batch = jax.device_put(jax.tree.map(noise, zeros(game, spec)))
    began = time.perf_counter()
    play, *shapes = _round(game, spec)
    program = jax.jit(play, donate_argnums=0).lower(*shapes).compile()
    state, times = jax.jit(lambda: initial_state(game, 0, spec))(), []
    state, _ = jax.block_until_ready(program(state, batch))
    compiling = time.perf_counter() - began
    memory: Any = program.memory_analysis()
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        state, _ = jax.block_until_ready(program(state, batch))
        times.append(time.perf_counter() - start)
    size = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    size -= memory.alias_size_in_bytes
    work = flops(game, spec, jax.default_backend())
    return Cost(parameters(game, spec), work, size, float(np.median(times)), compiling)


def _round(game, spec):
    """A round, and the shapes of its arguments."""
    batch = jax.eval_shape(lambda: zeros(game, spec))
    return lambda state, batch: game.each(step, state, shared=(batch,)), abstract_state(game, spec), batch
