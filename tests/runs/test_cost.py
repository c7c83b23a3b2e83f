"""gan_jax/cost.py: what it foretells, and what a training then takes."""

import dataclasses
import time

import pytest

from gan_jax import train
from gan_jax.runs import cost
from gan_jax.runs import paper as papers


@pytest.mark.slow
def test_the_expected_time_is_within_a_factor_two_of_a_run(tmp_path):
    module, config = papers.preset("dcgan:digits")
    game, images = module.game(config), module.data(config)
    found = cost.measure(game, {"x": [[config.batch, *module.example(config)["x"].shape], "float32"]})
    began = time.perf_counter()
    train(game, images, steps=1000, batch=config.batch, run=tmp_path)
    took = time.perf_counter() - began
    expected = found.compile_seconds + 1000 * found.seconds
    assert 0.5 < expected / took < 2, dataclasses.asdict(found) | {"took": took}
