"""Checks of features [n, d] before they are scored: x of real images, y of samples."""

import jax
import numpy as np
from jaxtyping import Num

from gan_jax.errors import UserError

Features = Num[np.ndarray | jax.Array, "_ _"]
Labels = Num[np.ndarray | jax.Array, " _"]


def pair(x: Features, y: Features, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as NumPy arrays: float32 stays, anything else becomes float64.

    UserError for different numbers of columns, or fewer than `least` rows.

    >>> x, y = pair(np.zeros((3, 2), np.float32), np.zeros((4, 2), int))
    >>> x.dtype, y.dtype
    (dtype('float32'), dtype('float64'))
    """
    x, y = host(x), host(y)
    if x.shape[1] != y.shape[1]:
        raise UserError(f"Features to compare must be of one length, not {x.shape[1]} and {y.shape[1]}.")
    if min(len(x), len(y)) < least:
        raise UserError(f"This score needs {least} samples or more in each set; there are {len(x)} and {len(y)}.")
    return x, y


def host(x: Features) -> np.ndarray:
    """A set as a NumPy array: float32 stays, anything else becomes float64. UserError if some are not finite.

    >>> host(np.array([[1, 2]]))
    array([[1., 2.]])
    """
    x = np.asarray(x)
    x = x if x.dtype == np.float32 else x.astype(np.float64, copy=False)
    if not np.isfinite(x).all():
        raise UserError("Some of the features to score are not finite: leave those samples out, or say how many.")
    return x


def labels(x: Features, y: Labels) -> np.ndarray:
    """The labels y [n] of x [n, d]. UserError if there are more or fewer labels than rows.

    >>> labels(np.zeros((2, 3)), np.array([0, 1]))
    array([0, 1])
    """
    if len(x) != len(y):
        raise UserError(f"There are {len(x)} samples and {len(y)} labels: give each sample one.")
    return np.asarray(y)
