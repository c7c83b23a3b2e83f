"""What a round of DCGAN costs: its FLOPs, and convolutions that XLA compiles well, alone and inside a scan."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from gan_jax.engine import step
from gan_jax.runs import paper as papers
from gan_jax.training.spec import abstract_state, zeros

dcgan = papers.paper("dcgan").module
FACES = replace(dcgan.PRESETS["faces"], batch=8)


def lowered_step(config, rounds=None):
    """A round, or several in a scan."""
    game = dcgan.game(config)
    spec = {"x": [[config.batch, config.size, config.size, config.channels], "float32"]}
    batch = jax.eval_shape(lambda: zeros(game, spec))
    play = partial(step, game)
    if rounds:
        play, one = lambda state, batches: lax.scan(partial(step, game), state, batches), batch
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((rounds, *x.shape), x.dtype), one)
    return jax.jit(play, donate_argnums=0).lower(abstract_state(game, spec), batch)


def lowered_forward(net, *shape):
    """A network in training, with its new memory."""
    keys, x = {"params": jax.random.key(0), "dropout": jax.random.key(1)}, jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(net.init, keys, x)
    memory = [name for name in variables if name != "params"]
    return jax.jit(lambda v, x: net.apply(v, x, mutable=memory, rngs={"dropout": keys["dropout"]})).lower(variables, x)


def flops(program):
    return program.cost_analysis()["flops"]


def forwards(config):
    """F_G and F_D, not yet compiled."""
    players, side = dcgan.game(config).players, config.size
    G = lowered_forward(players["G"].net, config.batch, config.latent)
    return G, lowered_forward(players["D"].net, config.batch, side, side, config.channels)


@pytest.fixture(scope="module")
def compiled_forwards():
    return [flops(program.compile()) for program in forwards(FACES)]


@pytest.mark.parametrize(
    "order, times_G, times_D",
    [("simultaneous", 3, 7), pytest.param("alternating", 4, 8, marks=pytest.mark.slow)],
)
def test_the_flops_of_a_round(compiled_forwards, order, times_G, times_D):
    F_G, F_D = compiled_forwards
    round_ = lowered_step(replace(FACES, order=order))
    assert flops(round_.compile()) == pytest.approx(times_G * F_G + times_D * F_D, rel=0.05)
    for batch in (8, 32):  # before XLA optimises, where another batch costs no compilation
        F_G, F_D = map(flops, forwards(replace(FACES, batch=batch)))
        round_ = lowered_step(replace(FACES, order=order, batch=batch))
        assert flops(round_) == pytest.approx(times_G * F_G + times_D * F_D, rel=0.05)


def test_the_fakes_that_two_moves_share_are_made_once(compiled_forwards):
    """XLA sees that both moves run one forward pass of G."""
    F_G, F_D = compiled_forwards
    assert FACES.order == "same_fakes"
    assert flops(lowered_step(FACES).compile()) == pytest.approx(3 * F_G + 8 * F_D, rel=0.05)


# The scan has all that a single round has.
SLOW = {(preset, rounds) for preset in dcgan.PRESETS for rounds in (None, 2)} - {("mnist", 2)}


@pytest.mark.parametrize(
    "preset, rounds",
    [
        pytest.param(preset, rounds, marks=pytest.mark.slow if (preset, rounds) in SLOW else ())
        for preset in dcgan.PRESETS
        for rounds in (None, 2)
    ],
)
def test_no_convolution_is_one_that_xla_compiles_badly(preset, rounds):
    hlo = pytest.importorskip("hlo", reason="tests/hlo.py, which reads optimised HLO, is not there")
    program = lowered_step(replace(dcgan.PRESETS[preset], batch=8), rounds).compile()
    assert hlo.pathological_convolutions(program.as_text()) == []
