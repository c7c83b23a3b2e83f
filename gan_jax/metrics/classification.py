"""The accuracy of classifiers that are trained on samples."""

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
    """The accuracy on real x of a classifier trained on samples y only. Ravuri & Vinyals 2019 (with a ResNet-50).

    Args:
        x: Features of real images, held out, [n, d].
        labels_x: Their classes [n].
        y: Features of samples [m, d].
        labels_y: Their classes [m].
        fit: (features, labels) -> (features -> labels); logistic regression by default. Its name is in the protocol.

    Raises:
        UserError: The number of labels is not that of the rows, or y has a single class.

    >>> x = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> labels = np.array([0, 0, 1, 1])
    >>> float(classification_accuracy_score(x, labels, x + 0.1, labels))
    1.0
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
    """A classifier of features standardised to mean 0 and variance 1.

    >>> x = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> logistic_regression(x, np.array([0, 0, 1, 1]))(np.array([[0.5], [10.5]]))
    array([0, 1])
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
    return lambda x: np.asarray(model.predict(x))
