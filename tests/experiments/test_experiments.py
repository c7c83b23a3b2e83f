"""Every paper in experiments/: two rounds of TINY, and what its presets promise."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import data as sources
from gan_jax.data import gather
from gan_jax.engine import init, step
from gan_jax.errors import UserError
from gan_jax.game import move
from gan_jax.optimizers import sgd
from gan_jax.pixels import to_float
from gan_jax.runs import cost
from gan_jax.runs import paper as papers
from gan_jax.training.spec import abstract_state, as_schedule

PRESETS = [f"{name}:{preset}" for name in papers.names() for preset in papers.paper(name).presets]


# Compiles in half the time of the default, for sizes at which it is all the time there is.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def read(paper, config):
    """The paper's data, or noise shaped like `example` where the data is not at hand."""
    try:
        return jax.tree.map(np.asarray, paper.data(config))
    except UserError:
        rng, n = np.random.default_rng(0), 4 * config.batch
        noise = lambda x: rng.uniform(-1, 1, (n, *x.shape)).astype(x.dtype)
        return jax.tree.map(noise, paper.example(config))


def test_there_are_papers():
    assert "dcgan" in papers.names()


@pytest.mark.parametrize("name", papers.names())
def test_the_file_of_a_paper(name):
    paper = papers.paper(name)
    assert re.search(r"arXiv:\d{4}\.\d{4,5}", paper.doc) and f"python experiments/{name}.py" in paper.doc
    assert all(type(c) is type(paper.tiny) for c in paper.presets.values()) and paper.shipped
    assert paper.published.keys() <= paper.presets.keys() and bool(paper.published) == bool(paper.protocol)


@pytest.mark.parametrize("name", papers.names())
def test_two_rounds_of_tiny(name):
    paper = papers.paper(name)
    config = paper.tiny
    game, data = as_schedule(paper.game(config))(0), read(paper, config)
    places = [t * game.slices * config.batch for t in range(2)]
    batches = [sources.read(data, config.seed, place, game.slices, config.batch) for place in places]
    batches = [jax.tree.map(lambda x: to_float(jnp.asarray(x)), batch) for batch in batches]
    state = first = quick(partial(init, game))(jax.random.key(config.seed), batches[0])
    play = quick(partial(step, game))
    for batch in batches:
        state, metrics = play(state, batch)
    numbers = jax.tree.leaves((state.params, state.opt, state.ema, state.memory, metrics))
    assert all(np.isfinite(x).all() for x in numbers) and int(state.step) == 2
    again = lambda params: play(state.replace(params=params), batches[-1])[1]
    for player in game.players:
        still = jax.tree.map(np.array_equal, first.params[player], state.params[player])
        if any(jax.tree.leaves(still)):  # then its loss does not feel it, as a Wasserstein critic's last bias
            shifted = jax.tree.map(lambda w, s: w + s, state.params[player], still)
            a, b = again(state.params), again(state.params | {player: shifted})
            for loss in {f"loss/{m.losses[player]}" for m in game.moves if player in m.losses}:
                np.testing.assert_allclose(a[loss], b[loss], atol=1e-5, err_msg=f"{player} {still}")
    assert {f"loss/{loss}" for m in game.moves for loss in m.losses.values()} <= metrics.keys()


@pytest.mark.parametrize("title", PRESETS)
def test_a_preset_makes_a_game(title):
    paper, config = papers.preset(title)
    game = as_schedule(paper.game(config))(0)
    state = abstract_state(game, paper.spec(config))
    assert state.params.keys() == game.players.keys() and config.steps > 0


def test_the_tutorials_parameters():
    count = lambda paper, config: cost.parameters(paper.game(config), paper.spec(config))
    assert count(*papers.preset("dcgan:mnist")) == {"G": 2_305_472, "D": 212_865}
    assert count(*papers.preset("dcgan:faces")) == {"G": 3_576_704, "D": 2_765_568}


def test_the_signs_of_the_losses():
    """D's step raises D(x) and lowers D(G(z)), G's step raises D(G(z)), each alone on the same x, z and dropout."""
    paper = papers.paper("dcgan")
    config = dataclasses.replace(paper.tiny, batch=16)
    game = paper.game(config)
    players = {name: dataclasses.replace(p, optimizer=sgd(1e-3), ema=None) for name, p in game.players.items()}
    game = dataclasses.replace(game, players=players, moves=(move("D", "G"),))
    batch = gather(jax.tree.map(jnp.asarray, read(paper, config)), jnp.arange(16)[None])
    state = jax.jit(partial(init, game))(jax.random.key(0), batch)
    play = jax.jit(partial(step, game))
    both, before = play(state, batch)
    after = {n: play(state.replace(params=state.params | {n: both.params[n]}), batch)[1] for n in ("D", "G")}
    assert after["D"]["D(x)"] > before["D(x)"] and after["D"]["D(G(z)) before"] < before["D(G(z)) before"]
    assert after["G"]["D(G(z)) after"] > before["D(G(z)) after"] and after["G"]["D(x)"] == before["D(x)"]
    assert after["D"]["loss/D"] < before["loss/D"] and after["G"]["loss/G"] < before["loss/G"]


@pytest.mark.parametrize("networks, size", [("tensorflow", 8), pytest.param("pytorch", 64, marks=pytest.mark.slow)])
def test_computing_in_bfloat16(networks, size):
    """The weights, and what the optimisers keep, stay float32; the losses are float32's to bfloat16's 8 bits."""
    paper = papers.paper("dcgan")
    config = dataclasses.replace(paper.tiny, networks=networks, size=size, batch=8)
    batch = {"x": jax.random.uniform(jax.random.key(1), (1, 8, size, size, 1), minval=-1.0)}
    found = {}
    for dtype in ("float32", "bfloat16"):
        game = paper.game(dataclasses.replace(config, dtype=dtype))
        state = quick(partial(init, game))(jax.random.key(0), batch)
        program = quick(partial(step, game)).lower(state, batch)
        assert ("bf16" in program.as_text()) == (dtype == "bfloat16")
        state, found[dtype] = program.compile()(state, batch)
        kept = jax.tree.leaves((state.params, state.opt, state.ema, state.memory))
        assert {str(x.dtype) for x in kept} <= {"float32", "int32"}
    for name in ("loss/D", "loss/G", "D(x)"):
        exact, rounded = found["float32"][name], found["bfloat16"][name]
        assert rounded.dtype == jnp.float32 and rounded != exact
        np.testing.assert_allclose(rounded, exact, rtol=0.03)
