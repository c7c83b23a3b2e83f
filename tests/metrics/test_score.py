import numpy as np
import pytest

from gan_jax.errors import UserError
from gan_jax.metrics.score import Score, over_draws, over_halves

PLAIN = Score("precision", 0.5, {"real": 1000, "fake": 2000, "k": 5})


def test_a_score_prints_as_one_line_with_its_protocol():
    assert str(PLAIN) == "precision 0.5; real 1,000, fake 2,000, k 5"
    drawn = over_draws([Score("precision", value, PLAIN.protocol) for value in (0.1, 0.2, 0.3, 0.4, 0.5)])
    assert str(drawn) == "precision 0.3 ± 0.071 (5 draws of samples); real 1,000, fake 2,000, k 5"


def test_scores_of_one_protocol_compare():
    better = Score("precision", 0.75, PLAIN.protocol)
    assert better - PLAIN == 0.25 and float(better) == 0.75
    assert max(PLAIN, better) is better and sorted([better, PLAIN]) == [PLAIN, better]


@pytest.mark.parametrize(
    "other, words",
    [
        (Score("recall", 0.5, PLAIN.protocol), "A precision cannot be compared with a recall"),
        (Score("precision", 0.5, PLAIN.protocol | {"k": 3}), r"\(k 5 and 3\)"),
        (Score("precision", 0.5, {"real": 1000, "fake": 2000}), r"\(k 5 and None\)"),
    ],
)
def test_scores_of_different_protocols_refuse(other, words):
    for compare in (lambda: PLAIN - other, lambda: max(PLAIN, other)):
        with pytest.raises(UserError, match=words):
            compare()


def test_an_infinite_score_has_no_standard_error():
    drawn = over_draws([Score("KL", value, {}) for value in (1.0, np.inf, 2.0, 3.0, np.inf)])
    assert drawn.value == np.inf and drawn.uncertainty is None


def test_draws_give_a_standard_error():
    rng = np.random.default_rng(0)
    drawn = over_draws([Score("mean", float(v), {}) for v in rng.normal(size=400)])
    assert abs(drawn.uncertainty - 1 / 20) < 0.005
    with pytest.raises(UserError, match="5 independent draws"):
        over_draws([PLAIN] * 4)


def test_halves_estimate_the_standard_error_of_a_mean_and_of_a_variance():
    x = np.random.default_rng(0).normal(size=2000)
    of = lambda rows: {"mean": Score("mean", float(x[rows].mean()), {}), "var": Score("var", float(x[rows].var()), {})}
    found = over_halves(of, len(x), times=400)
    assert found["mean"].value == pytest.approx(x.mean()) and found["var"].source == "400 pairs of half the samples"
    assert found["mean"].uncertainty == pytest.approx(x.std(ddof=1) / np.sqrt(len(x)), rel=0.1)
    assert found["var"].uncertainty == pytest.approx(np.sqrt(2 / len(x)), rel=0.15)
    with pytest.raises(UserError, match="4 samples or more, not 3"):
        over_halves(of, 3)
