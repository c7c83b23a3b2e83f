import numpy as np
import pytest

from gan_jax.errors import UserError
from gan_jax.metrics import classification_accuracy_score


def blobs(n, seed, spread=1.0):
    rng, labels = np.random.default_rng(seed), np.arange(n) % 3
    return 4 * np.eye(3)[labels] * [1, 100, 1] + rng.normal(0, spread, (n, 3)) * [1, 100, 1], labels


def test_samples_that_teach_and_samples_that_do_not():
    (x, of_x), (y, of_y) = blobs(300, 0), blobs(200, 1)
    good = classification_accuracy_score(x, of_x, y, of_y)
    assert good.value > 0.95 and str(good).endswith("real 300, fake 200, classifier logistic regression")
    wrong = classification_accuracy_score(x, of_x, y, (of_y + 1) % 3)
    assert wrong.value < 0.05
    missing = classification_accuracy_score(x, of_x, y[of_y < 2], of_y[of_y < 2])
    assert 0.6 < missing.value < 2 / 3 + 0.01


def test_any_classifier_will_do():
    seen = []

    def always_two(x, y):
        seen.append((x.shape, y.shape))
        return lambda x: np.full(len(x), 2)

    (x, of_x), (y, of_y) = blobs(300, 0), blobs(200, 1)
    found = classification_accuracy_score(x, of_x, y, of_y, fit=always_two)
    assert found.value == pytest.approx(1 / 3) and found.protocol["classifier"] == "always two"
    assert seen == [((200, 3), (200,))]


def test_what_cannot_be_scored_is_refused():
    x, labels = blobs(30, 0)
    with pytest.raises(UserError, match="30 samples and 29 labels"):
        classification_accuracy_score(x, labels, x, labels[:29])
    with pytest.raises(UserError, match="all of one class"):
        classification_accuracy_score(x, labels, x, 0 * labels)
