"""Extractors: functions from images [b, h, w, c] uint8 to features [b, d], and the names of scores on them."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8
from tqdm import tqdm

from gan_jax.errors import UserError
from gan_jax.metrics import classifiers, inception_v3
from gan_jax.metrics.resize import RESIZES, pil_bicubic
from gan_jax.metrics.resize import resize as resized
from gan_jax.pixels import to_float

Found = tuple[Float32[np.ndarray, "n d"], Float32[np.ndarray, "n classes"] | None]


@dataclass(frozen=True)
class Extractor:
    """A network that makes features of images, and what scores on these features are called.

    `network` is (weights, images) -> (features [b, d], probabilities [b, classes] or None), each image for itself.
    """

    name: str  # "inception-v3 2048"
    network: Callable[[Any, UInt8[Array, "b h w c"]], tuple[Array, Array | None]]
    weights: Any = None
    resize: str = "none"  # "tf1_bilinear 299"
    channels: int | None = None  # that grey images are repeated to
    titles: Mapping[str, str] = field(default_factory=dict)  # {"Fréchet distance": "FID"}
    title: str = "{}"  # of any other score: "classifier {} (mnist)"

    def called(self, score: str) -> str:
        """The name of a score on these features, such as "FID" or "classifier Fréchet distance (mnist)".

        >>> pixels().called("Fréchet distance")
        'Fréchet distance (pixels)'
        """
        return self.titles.get(score, self.title.format(score))

    def protocol(self, channels: int) -> dict[str, str]:
        """Entries of the protocol of a score, for images with that number of channels."""
        grey = {"grey": f"repeated to {self.channels} channels"} if channels == 1 < (self.channels or 1) else {}
        return {"extractor": self.name, "resize": self.resize} | grey


def pixels() -> Extractor:
    """The pixels in [-1, 1] themselves as features [h · w · c]."""
    network: Any = lambda _, images: (to_float(images).reshape(len(images), -1), None)
    return Extractor("pixels", network, title="{} (pixels)")


class RandomNetwork(nn.Module):
    """x [b, 32, 32, 3] in [-1, 1] -> [b, 64], three strided convolutions and one dense layer."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 64"]:
        for width in (64, 128, 256):
            x = nn.leaky_relu(nn.Conv(width, (4, 4), (2, 2), use_bias=False)(x), 0.2)
        return nn.Dense(64, use_bias=False)(x.reshape(len(x), -1))


def random_network(seed: int = 0) -> Extractor:
    """A convolutional network with random weights (He et al. 2015), on images resized to 32 x 32.

    Naeem et al. 2020 recommend such features for images unlike those of ImageNet.
    """
    net: Any = RandomNetwork()
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.RandomState(seed)  # its numbers are the same in all versions of NumPy
    he = lambda leaf: np.float32(rng.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape))
    name = f"random network {seed}"
    network = lambda weights, images: (net.apply(weights, _fitted(images, pil_bicubic, 32) / 127.5 - 1), None)
    weights = jax.tree.map(he, shapes)
    return Extractor(name, network, weights, "pil_bicubic 32", channels=3, title=f"{{}} ({name})")


def classifier(file: str | Path) -> Extractor:
    """The last hidden layer, and the probabilities, of the classifier in a file. UserError for any other file."""
    weights, about = classifiers.load(file)
    net: Any = classifiers.Classifier(about["classes"])
    data = about["data"]
    name = f"classifier {data} {hashlib.sha256(Path(file).expanduser().read_bytes()).hexdigest()[:8]}"
    h, w, c = shape = (about["height"], about["width"], about["channels"])

    def network(weights, images):
        if images.shape[1:] != shape:
            raise UserError(
                f"The {name} was trained on images {h} x {w} x {c}, and these are"
                f" {' x '.join(map(str, images.shape[1:]))}: bring them to that size and number of channels."
            )
        features, logits = net.apply(weights, to_float(images))
        return features, nn.softmax(logits)

    titles = {"inception score": f"classifier score ({data})"}
    return Extractor(name, network, weights, titles=titles, title=f"classifier {{}} ({data})")


def inception(file: str | Path, resize: str = "tf1_bilinear", tap: str = "2048") -> Extractor:
    """FID's Inception-v3; its probabilities leave out the bias of the logits, as in the code of Salimans et al. 2016.

    Args:
        file: The published weights, a .pth.
        resize: "tf1_bilinear" as in the published FID, or "pil_bicubic" as in clean-fid (Parmar et al. 2022).
        tap: The layer whose features are taken, by its width: "64", "192", "768", "2048".

    Raises:
        UserError: Another file, resize or tap.
    """
    for value, known in ((resize, RESIZES), (tap, inception_v3.TAPS)):
        if value not in known:
            raise UserError(f"The Inception network has no {value!r}: give one of {', '.join(known)}.")
    net: Any = inception_v3.InceptionV3()
    side = inception_v3.SIZE

    def network(weights, images):
        taps = net.apply({"params": weights}, _fitted(images, RESIZES[resize], side))
        return taps[tap], nn.softmax(taps["logits_unbiased"])

    own = tap == "2048"
    return Extractor(
        f"inception-v3 {tap}",
        network,
        inception_v3.load(file),
        f"{resize} {side}",
        channels=3,
        titles={"Fréchet distance": "FID", "kernel distance": "KID"} if own else {},
        title="{}" if own else f"{{}} (inception-v3 {tap})",
    )


def _fitted(images, matrix, side):
    """Images in colour at a size: [b, side, side, 3] in 0 … 255."""
    _, h, w, c = images.shape
    if c not in (1, 3):
        raise UserError(f"This extractor takes images of 1 channel (grey) or 3; these have {c}.")
    return resized(jnp.repeat(images, 3 // c, axis=3), matrix(h, side), matrix(w, side))


def extract(
    extractor: Extractor,
    images: np.ndarray | Array | Iterable[np.ndarray],
    *,
    batch: int = 100,
    sharding: jax.sharding.Sharding | None = None,
    progress: bool = False,
) -> Found:
    """Features [n, d] of images and, if the extractor is a classifier, their probabilities [n, classes].

    Args:
        extractor: The network.
        images: [n, h, w, c] uint8, or parts of such an array.
        batch: Images at a time, at highest precision.
        sharding: How a batch is laid out over devices.
        progress: Show a progress bar.

    Raises:
        UserError: No images, images of different shapes, or images that are not uint8.

    >>> extract(pixels(), np.full((3, 2, 2, 1), 255, np.uint8))[0].shape
    (3, 4)
    """
    network, weights = jax.jit(extractor.network), jax.device_put(extractor.weights)
    running, done = deque(), []
    fetch = lambda n, found: jax.tree.map(lambda a: np.asarray(a[:n], np.float32), found)
    with jax.default_matmul_precision("highest"), tqdm(disable=not progress, unit=" images") as bar:
        for n, part in _batches(images, batch):
            running.append((n, network(weights, jax.device_put(part, sharding))))
            if len(running) > 1:  # the device works on the next batch while this one is fetched
                done.append(fetch(*running.popleft()))
            bar.update(n)
        done += [fetch(*last) for last in running]
    if not done:
        raise UserError("There are no images to extract features from.")
    features, probabilities = zip(*done, strict=True)
    return np.concatenate(features), None if probabilities[0] is None else np.concatenate(probabilities)


def _batches(images, batch) -> Iterator[tuple[int, np.ndarray]]:
    """(n, [batch, h, w, c]): the next n images; the last batch is filled up with its last image."""
    kept = None
    for part in [images] if hasattr(images, "shape") else images:
        part = np.asarray(part)
        if part.dtype != np.uint8 or part.ndim != 4:
            raise UserError(f"Features are made of images [n, h, w, c] uint8; these are {part.dtype} {part.shape}.")
        if kept is not None and part.shape[1:] != kept.shape[1:]:
            raise UserError(f"The images of a set must have one shape, not {kept.shape[1:]} and {part.shape[1:]}.")
        kept = part if kept is None else np.concatenate([kept, part])
        whole = len(kept) // batch * batch
        yield from ((batch, kept[i : i + batch]) for i in range(0, whole, batch))
        kept = kept[whole:]
    if kept is not None and len(kept):
        yield len(kept), np.pad(kept, ((0, batch - len(kept)), *[(0, 0)] * 3), "edge")
