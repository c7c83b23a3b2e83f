"""Samples judged by what a classifier learns from them."""

from collections.abc import Callable

import numpy as np

from gan_jax.errors import UserError
from gan_jax.metrics.features import Features, Labels, labels, pair
from gan_jax.metrics.score import Score

Predict = Callable[[np.ndarray], Labels]


def classification_accuracy_score(
    x: Features,
    labels_x: Labels,
    y: Features,
    labels_y: Labels,
    fit: Callable[[np.ndarray, np.ndarray], Predict] | None = None,
) -> Score:
    """The accuracy on real x, held out, of a classifier that saw only samples y. Ravuri & Vinyals 2019.

    `fit` is (features, labels) -> predict, logistic regression unless given; the protocol has its name. The field's
    figures are ResNet-50's on ImageNet. UserError if labels and rows do not pair up, or y has one class.
    """
    x, y = pair(x, y)
    labels_x, labels_y = labels(x, labels_x), labels(y, labels_y)
    if len(np.unique(labels_y)) < 2:
        raise UserError("The samples to learn from are all of one class: a classifier needs two or more.")
    fit = fit or logistic_regression
    value = float((np.asarray(fit(y, labels_y)(x)) == labels_x).mean())
    protocol = {"real": len(x), "fake": len(y), "classifier": fit.__name__.replace("_", " ")}
    return Score("classification accuracy score", value, protocol)


def logistic_regression(x: np.ndarray, y: np.ndarray) -> Predict:
    """On features brought to mean 0 and variance 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
    return lambda x: np.asarray(model.predict(x))
