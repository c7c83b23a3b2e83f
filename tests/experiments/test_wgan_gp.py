"""WGAN-GP's toys: data, order of moves and scores, as its code has them."""

import dataclasses

import numpy as np
import pytest

from gan_jax.data import synthetic
from gan_jax.runs import paper as papers

module = papers.paper("wgan_gp").module


def test_the_data_are_scaled_as_in_the_authors_code():
    ring, grid, roll = (module.data(c)["x"] for c in module.PRESETS.values())
    assert ring.shape == grid.shape == roll.shape == (100_000, 2) and ring.dtype == roll.dtype == np.float32
    radius = np.sqrt(np.square(ring).sum(1))
    assert radius.mean() == pytest.approx(2 / 1.414, rel=1e-3) and radius.std() == pytest.approx(0.02 / 1.414, rel=0.02)
    step = 2 / 2.828
    nearest = step * np.rint(grid / step)
    assert set(np.rint(grid / step).ravel()) == {-2, -1, 0, 1, 2}
    assert (grid - nearest).std() == pytest.approx(0.05 / 2.828, rel=0.02)
    np.testing.assert_allclose(roll, synthetic.swiss_roll()["x"] / 7.5, rtol=1e-6)


def test_the_critic_moves_five_times_on_new_data_then_g_on_new_noise():
    game = module.game(module.Config())
    assert [list(m.losses) for m in game.moves] == [["D"]] * 5 + [["G"]] and game.slices == 5
    assert [m.again for m in game.moves] == [()] * 5 + [("batch",)]


@pytest.mark.parametrize("preset", module.PRESETS)
def test_exact_samples_score_as_perfect_ones(preset):
    c = dataclasses.replace(module.PRESETS[preset], samples=400)
    scores, perfect = module.scores(c)(module.data(c, 400, seed=9)), module.perfect(c)
    assert scores.keys() == perfect.keys()
    floor = perfect["wasserstein1"]
    assert floor.uncertainty > 0 and abs(scores["wasserstein1"] - floor) < 5 * np.sqrt(5) * floor.uncertainty
    assert module.scores(c)({"x": module.data(c, 400, seed=9)["x"] + 5})["wasserstein1"].value > 5
    if preset != "swissroll":
        assert scores["modes"].value == len(module.MIXTURES[preset].centres)
        assert abs(scores["high_quality"] - perfect["high_quality"]) < 4 * perfect["high_quality"].uncertainty
