"""benchmarks/kill_and_resume.py in small: the toy game, killed twice; killed once it is in test_faults.py."""

import sys

import numpy as np
import pytest
from toy import GAME

from benchmarks.kill_and_resume import different, kill_and_resume

RUN = """
import sys, toy, gan_jax
folder, dispatch = sys.argv[1], int(sys.argv[2])
where = dict(run=folder, log_every=10, checkpoint_every=40, dispatch=dispatch)
gan_jax.train(toy.GAME, toy.POINTS, steps=600, batch=8, **where)
"""


@pytest.mark.slow
@pytest.mark.parametrize("dispatch", [1, 10])
def test_a_run_killed_twice_equals_one_left_alone(tmp_path, environment, dispatch):
    command = lambda folder: [sys.executable, "-c", RUN, str(folder), str(dispatch)]
    found = kill_and_resume(command, [150, 330], tmp_path, GAME, environment)
    assert found["leaves that differ"] == found["metrics that differ"] == []
    assert found["leaves"] > 20 and found["metrics"] == 60 * 11
    first, second = found["kills"]
    assert 150 <= first["last row"] < second["last row"] < 600 and first["checkpoint"] > 0


def test_what_differs_is_found():
    x = {"w": np.float32([0.0, 1.0]), "b": np.float32([2.0])}
    assert different(x, x) == []
    assert different(x, x | {"w": np.float32([-0.0, 1.0])}) == ["w"]
    assert different(x, x | {"b": np.float64([2.0])}) == ["b"]
    assert different(x, {"w": x["w"]}) == ["b"] and different({}, x) == ["w", "b"]
