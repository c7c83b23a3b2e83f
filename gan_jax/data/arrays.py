"""Checks of arrays that come from Python: every array passes them before it is trained on.

The kind of data follows from dtype and shape. uint8 always means pixels or other samples of 8 bits, which are
scaled to [-1, 1] on the device; other integers are tokens or labels; floats are anything. Ranges are checked only where
an array is certainly one of images: [n, …, h, w, c] with 1 or 3 channels.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from gan_jax.data.disk import OnDisk
from gan_jax.errors import UserError

SIDE = 8  # pixels: arrays with shorter sides are not guessed to be images
TAKEN_FOR_Y = {"class", "classes", "label", "labels", "target", "targets"}
INTEGERS = np.iinfo(np.int32)


def named(data: Any) -> Mapping[Any, Any]:
    """The arrays of a set by name: of a pair (x, y) both, of a single array x.

    Raises:
        UserError: for another tuple, an empty dict, or names that have no x.

    >>> sorted(named((np.zeros((2, 3)), np.zeros(2))))
    ['x', 'y']
    """
    if isinstance(data, tuple):
        if len(data) != 2 or isinstance(data[0], tuple):
            raise UserError(
                f'The data set is a tuple of {len(data)}: give (images, labels) or {{"x": images, "y": labels}}.'
            )
        data = dict(zip("xy", data, strict=True))
    return data if isinstance(data, Mapping) else {"x": data}


def checked(data: Any, name: str = "") -> dict[str, np.ndarray | OnDisk]:
    """One set: its arrays as uint8, int32 or float32, finite, as many examples in each; `name` is the set's own.

    Raises:
        UserError: naming the array, what is wrong with it, and how to correct it.

    >>> {name: leaf.dtype.name for name, leaf in checked({"x": np.zeros((2, 3)), "y": [0, 1]}).items()}
    {'x': 'float32', 'y': 'int32'}
    """
    data, prefix = named(data), f"{name}/" if name else ""
    _check_names(data, name)
    found = {
        key: labels(value, prefix + key) if key == "y" else examples(value, prefix + key) for key, value in data.items()
    }
    n = len(found["x"])
    for key, leaf in found.items():
        if len(leaf) != n:
            raise UserError(f"{prefix}x has {n} examples and {prefix}{key} has {len(leaf)}: give one for each.")
    return found


def _check_names(data, name):
    names = [*data]
    which = f"The set {name}" if name else "The data set"
    if not names:
        raise UserError(f'{which} is empty: give an array, or {{"x": images, "y": labels}}.')
    if not all(isinstance(key, str) for key in names):
        raise UserError(f"{which} has the keys {names}, which must be words: name the examples x and their labels y.")
    if "x" not in names:
        sets = "" if name or len(names) < 2 else f' (sets that are not paired are {{"{names[0]}": {{"x": …}}, …}})'
        raise UserError(f"{which} has the arrays {', '.join(names)}: name the examples x and their labels y{sets}.")
    if "y" not in names and (wrong := TAKEN_FOR_Y & {key.lower() for key in names}):
        raise UserError(f"{which} has the arrays {', '.join(names)}: name the {min(wrong)} y.")


def array(x: Any, name: str) -> np.ndarray | OnDisk:
    """`x` as a NumPy array of numbers with at least one example; images on disk stay there.

    Raises:
        UserError: for anything else.

    >>> array([[1, 2], [3, 4]], "x").shape
    (2, 2)
    """
    if isinstance(x, OnDisk):
        return x
    given = x
    try:
        x = np.asarray(x)
    except Exception as error:  # ragged lists, tensors on another device, sparse arrays … raise many kinds
        raise UserError(f"{name} cannot be read as one array ({_line(error)}): give an array of numbers.") from error
    if not (x.dtype.kind in "biu" or _is_float(x)):
        raise UserError(f"{name} is {_kind(x, given)}: give an array of real numbers.")
    if not x.ndim or not x.size:
        raise UserError(f"{name} has the shape {x.shape}, which holds no examples: give an array [n, …].")
    return x


def examples(x: Any, name: str) -> np.ndarray | OnDisk:
    """Images [n, h, w, c], points [n, d], sound [n, t, c], tokens [n, t], video [n, t, h, w, c] … as trained on.

    >>> examples(np.zeros((2, 3)), "x").dtype.name
    'float32'
    """
    x = array(x, name)
    variable = _variable(name)
    if x.ndim < 2 and variable == "x":
        raise UserError(f"{name} has the shape {x.shape}: give [n, …], and single numbers as [n, 1], x[:, None].")
    if isinstance(x, OnDisk):
        return x
    if x.dtype == np.bool_:
        raise UserError(f"{name} is bool: give floats, 2.0 * {variable} - 1 for black and white images.")
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[3] not in (1, 3) and min(x.shape[2:]) >= SIDE:
        raise UserError(
            f"{name} has the shape {x.shape}, with channels first by the look of it: images are [n, h, w, c], so give"
            f" {variable}.transpose(0, 2, 3, 1)."
        )
    if x.dtype == np.uint8:
        return x[..., None] if x.ndim == 3 and x.shape[2] > 3 else x  # [n, t, 1] and the like are sound
    return _tokens(x, name) if x.dtype.kind in "iu" else _floats(x, name)


def _tokens(x, name):
    """int32; UserError where they are the pixels of images in a wider type."""
    low, high = x.min(), x.max()
    if x.ndim > 3 or _like_images(x):
        raise UserError(
            f"{name} is {x.dtype} {x.shape}, from {low} to {high}: give images as uint8 in 0 … 255, or as floats in"
            f" [-1, 1]{_scaled(name, high)}; integers are tokens, [n, t]."
        )
    return _int32(x, name, low, high)


def _int32(x, name, low, high):
    if low < INTEGERS.min or high > INTEGERS.max:
        raise UserError(f"{name} runs from {low} to {high}, which int32 cannot hold: number the values from 0.")
    return x.astype(np.int32, copy=False)


def _floats(x, name):
    """float32, finite; UserError where they are pixels in another range, a warning where they may be."""
    low, high = _finite_range(x, name)
    images = x.ndim > 3 and x.shape[-1] in (1, 3)
    if low >= 0 and high > 1 and (images or (_like_images(x) and (x == np.rint(x)).all())):
        raise UserError(f"{name} runs from {low:g} to {high:g}: {in_range(x, name, high)}.")
    if images and low < high and (low >= 0 or max(-low, high) > 1):
        warnings.warn(
            f"{name} runs from {low:g} to {high:g}, and images from a generator that ends in tanh from -1 to 1"
            f"{f': give 2 * {_variable(name)} - 1' if low >= 0 else ''}.",
            stacklevel=1,
        )
    if _like_images(x) and x.shape[1] == x.shape[2] and not ((x == low) | (x == high)).all():
        warnings.warn(
            f"{name} has the shape {x.shape}: if these are images, give them a channel, {_variable(name)}[..., None].",
            stacklevel=1,
        )
    return x.astype(np.float32, copy=False)


def in_range(x: np.ndarray, name: str, high: float) -> str:
    """How to bring images that are as bright as `high` to the range of the library.

    >>> print(in_range(np.zeros((1, 8, 8, 3)), "x", high=255.0))
    give images as uint8 in 0 … 255 or as floats in [-1, 1], x / 127.5 - 1 if 255 is white
    """
    channel = "" if x.ndim > 3 else ", with a channel, [n, h, w, 1]"
    return f"give images as uint8 in 0 … 255 or as floats in [-1, 1]{_scaled(name, high)}{channel}"


def _scaled(name, high):
    white = next((white for white in (1, 16, 255, 65535) if high <= white), high)
    return f", {_variable(name)} / {white / 2:g} - 1 if {white:g} is white"


def _variable(name):
    """What an array is called in formulas: x for "A/x" and for "x of 'a.npz'"."""
    return name.partition(" of ")[0].rpartition("/")[2]


def _like_images(x):
    """Whether [n, h, w] may be images without a channel."""
    return x.ndim == 3 and min(x.shape[1:]) >= SIDE


def _finite_range(x, name):
    """(lowest, highest) of the floats x. UserError for the first that float32 cannot hold."""
    low, high = float(x.min()), float(x.max())  # NaN where there is one
    largest = float(np.finfo(np.float32).max)
    if not -largest <= low <= high <= largest:
        flat = x.reshape(len(x), -1)
        bad = ~(np.abs(flat) <= largest)
        row = int(bad.any(1).argmax())
        raise UserError(
            f"{name} holds {flat[row, bad[row].argmax()]} at {row}: give finite numbers, or leave that example out."
        )
    return low, high


def labels(y: Any, name: str) -> np.ndarray:
    """Classes [n] as int32, 0 or more; other integers [n, …] as int32; floats as float32.

    >>> labels([0, 2, 1], "y").dtype.name
    'int32'
    """
    y = np.asarray(array(y, name))
    if y.dtype == np.bool_:
        raise UserError(f"{name} is bool: give integers, {_variable(name)}.astype(int).")
    if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "iu":
        raise UserError(f"{name} has the shape {y.shape}: give classes as [n], {_variable(name)}[:, 0].")
    if y.dtype.kind not in "iu":
        _finite_range(y, name)
        return y.astype(np.float32, copy=False)
    low, high = y.min(), y.max()
    if y.ndim == 1 and low < 0:
        raise UserError(f"{name} runs from {low} to {high}: classes are numbered from 0.")
    return _int32(y, name, low, high)


def _is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)  # bfloat16 too


def _kind(x, given):
    single = f"of the type {type(given).__name__}"
    kinds = {"O": "an array of Python objects" if x.ndim else single, "U": "text", "S": "text"}
    return kinds.get(x.dtype.kind, str(x.dtype))


def _line(error):
    return str(error).partition("\n")[0].rstrip(".")
