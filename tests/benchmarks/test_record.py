"""benchmarks/record.py: what a result file holds."""

import json
import re

import numpy as np
import pytest
from scipy import stats

from benchmarks.record import mean_se, record


def test_mean_and_standard_error():
    x = [0.91, 0.95, 0.97]
    assert mean_se(x) == {"mean": pytest.approx(np.mean(x)), "se": pytest.approx(stats.sem(x)), "values": x}
    assert mean_se([2.0])["se"] is None


def test_a_record_says_where_it_comes_from(tmp_path):
    path = tmp_path / "deep" / "digits.json"
    row = record(path, paper="dcgan:digits", scores={"loss": mean_se([1.0, 2.0])})
    assert json.loads(path.read_text()) == row
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", row["commit"])
    assert {"jax", "numpy", "python"} <= set(row["versions"]) and row["hardware"] and row["command"]
    assert row["paper"] == "dcgan:digits" and record(path, commit="abc")["commit"] == "abc"
    assert [p.name for p in path.parent.iterdir()] == ["digits.json"]


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "row.json"
    record(path, x=1)
    with pytest.raises(ValueError, match="JSON"):
        record(path, x=float("nan"))
    assert json.loads(path.read_text())["x"] == 1
