"""A small classifier of small images, whose last hidden layer gives features and whose softmax gives probabilities.

It is stored in a file. A score on its features names the file, and is comparable only with scores on the same file.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from gan_jax import limits
from gan_jax.errors import UserError
from gan_jax.pixels import to_float

Weights = Mapping[str, Any]
Images = UInt8[np.ndarray | Array, "n h w c"]
Labels = Int[np.ndarray | Array, "n"]

SHIFT = 14  # images are shifted by up to 1 / SHIFT of their side: 2 pixels of 28
ABOUT = ("data", "data_hash", "classes", "height", "width", "channels", "accuracy")


class Classifier(nn.Module):
    """x [b, h, w, c] in [-1, 1] -> (features [b, 128], logits [b, classes]): three strided convolutions, two dense."""

    classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> tuple[Array, Array]:
        for width in (32, 64, 128):
            x = nn.Conv(width, (4, 4), (2, 2), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
        features = nn.relu(nn.Dense(128)(x.reshape(len(x), -1)))
        return features, nn.Dense(self.classes)(features)


def fit(
    images: Images,
    labels: Labels,
    *,
    epochs: int = 5,
    flip: bool = False,
    batch: int = 128,
    rate: float = 2e-3,
    seed: int = 0,
    progress: bool = False,
) -> Weights:
    """Train a Classifier by Adam with a cosine learning rate; images are shifted by up to 1 / SHIFT of their side.

    Args:
        images: [n, h, w, c].
        labels: [n].
        epochs: Times that each image is seen.
        flip: Mirror each image with probability ½.
        batch: Images in a step.
        rate: The first learning rate.
        seed: Determines weights, order and shifts.
        progress: Show a progress bar.

    Returns:
        The weights.
    """
    net, batch = Classifier(int(labels.max()) + 1), min(batch, len(images))
    steps = epochs * (len(images) // batch)
    adam = optax.adam(optax.cosine_decay_schedule(rate, steps))
    weights = jax.jit(net.init)(jax.random.key(seed), to_float(images[:1]))

    @jax.jit
    def step(weights, memory, x, y):
        def loss(params):
            (_, logits), moved = net.apply(weights | {"params": params}, to_float(x), True, mutable="batch_stats")
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), moved

        gradient, moved = jax.grad(loss, has_aux=True)(weights["params"])
        update, memory = adam.update(gradient, memory)
        return {"params": optax.apply_updates(weights["params"], update)} | moved, memory

    memory, rng = adam.init(weights["params"]), np.random.default_rng(seed)
    for _ in tqdm(range(epochs), disable=not progress, unit=" epochs"):
        for rows in _batches(rng, len(images), batch):
            weights, memory = step(weights, memory, _moved(rng, images[rows], flip), labels[rows])
    return jax.tree.map(np.asarray, weights)


def _batches(rng, n, batch) -> Iterator[np.ndarray]:
    yield from rng.permutation(n)[: n // batch * batch].reshape(-1, batch)


def _moved(rng, x, flip):
    """Each image shifted at random, with its edge repeated, and with `flip` mirrored with probability ½."""
    b, h, w, _ = x.shape
    far = min(h, w) // SHIFT
    down, right = rng.integers(0, 2 * far + 1, (2, b, 1))
    rows, columns = down + np.arange(h), right + np.arange(w)
    mirrored = flip & rng.integers(0, 2, (b, 1)).astype(bool)
    columns = np.where(mirrored, columns[:, ::-1], columns)
    padded = np.pad(x, ((0, 0), (far, far), (far, far), (0, 0)), "edge")
    return padded[np.arange(b)[:, None, None], rows[:, :, None], columns[:, None, :]]


def accuracy(weights: Weights, images: Images, labels: Labels) -> float:
    """The share of images whose most probable class is their label."""
    net: Any = Classifier(weights["params"]["Dense_1"]["bias"].size)
    right = jax.jit(lambda x, y: (net.apply(weights, to_float(x))[1].argmax(1) == y).sum())
    rows = [slice(start, start + 500) for start in range(0, len(images), 500)]
    return sum(int(right(images[part], labels[part])) for part in rows) / len(images)


def save(file: str | Path, weights: Weights, about: Mapping[str, Any]) -> None:
    """Write weights and their description (the entries of ABOUT) to one .npz, whole or not at all."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    with unfinished.open("wb") as handle:
        arrays: dict[str, Any] = dict(flatten_dict(weights, sep="/"))
        np.savez(handle, about=json.dumps(dict(about)), **arrays)
    unfinished.replace(path)


def load(file: str | Path) -> tuple[Weights, dict[str, Any]]:
    """(weights, about) of a file that `save` wrote. UserError for any other file, or none."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"There is no file '{path}': give the .npz of a trained classifier.")
    try:
        arrays = limits.npz(path)
        about = json.loads(str(arrays.pop("about")))
        like = jax.eval_shape(Classifier(about["classes"]).init, jax.random.key(0), _example(about))
        kinds = lambda weights: {name: (leaf.shape, leaf.dtype) for name, leaf in weights.items()}
        if kinds(arrays) != kinds(flatten_dict(like, sep="/")) or not set(ABOUT) <= set(about):
            raise ValueError("other shapes")
    except UserError:
        raise
    except Exception as error:  # the file may hold anything
        raise UserError(f"'{path}' is no classifier, or a broken one: train it again.") from error
    return unflatten_dict(arrays, sep="/"), about


def _example(about):
    return jax.ShapeDtypeStruct((1, about["height"], about["width"], about["channels"]), jnp.float32)
