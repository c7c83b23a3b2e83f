"""Real images that samples are scored against, and the features of both.

The features of real images are cached in a file per (data, extractor, limit) in $GAN_JAX_CACHE, by default
~/.cache/gan_jax. The folder may be deleted at any time.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int, Num, UInt8

from gan_jax import limits
from gan_jax.data import OnDisk, Set, chunks, content_hash
from gan_jax.errors import UserError
from gan_jax.metrics import extractors
from gan_jax.metrics.extractors import Extractor, extract
from gan_jax.metrics.frechet import Moments, moments
from gan_jax.metrics.neighbours import radii
from gan_jax.pixels import to_bytes

CHUNK = 2**28  # bytes of images read from disk at a time
Images = UInt8[np.ndarray, "n h w c"] | OnDisk


@dataclass(frozen=True)
class Extracted:
    """Images, what an extractor makes of them, and their classes.

    Images may be on disk; features, probabilities and labels are in memory.
    """

    images: Images
    features: Float32[np.ndarray, "n d"]
    probabilities: Float32[np.ndarray, "n classes"] | None = None
    labels: Int[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def gaussian(self) -> Moments | Float32[np.ndarray, "n d"]:
        """The argument of `frechet_distance`: moments, or, for n ≤ d, the features themselves."""
        n, d = self.features.shape
        return moments(self.features) if n > d else self.features

    @cached_property
    def radii(self) -> Float64[np.ndarray, " n"]:
        """`metrics.radii` of the features."""
        return radii(self.features)

    def rows(self, rows) -> "Extracted":
        """Those of a slice or of integers."""
        some = lambda part: None if part is None else part[rows]
        return Extracted(rows_of(self.images, rows), self.features[rows], some(self.probabilities), some(self.labels))


@dataclass(frozen=True)
class Reference:
    """Real images, the extractor of their features, and the entries that both add to the protocol of a score."""

    real: Extracted
    extractor: Extractor
    protocol: Mapping[str, Any]


def reference(data: Set, name: str, extractor: Extractor, limit: int = 0, progress: bool = False) -> Reference:
    """The reference that images are scored against.

    Args:
        data: {"x": images [n, h, w, c], "y": classes [n]}, with "y" optional; bytes, or floats in [-1, 1]. Images on
            disk are read in chunks.
        name: What the protocol of a score calls the data.
        extractor: Makes features of the images.
        limit: Take this many images at random; 0: all.
        progress: Show a progress bar.

    Raises:
        UserError: The data are not images.
    """
    if len(data["x"].shape) != 4:
        raise UserError(f"These scores compare images [n, h, w, c]; the data have shape {list(data['x'].shape)}.")
    digest, rows = content_hash(data), np.random.default_rng(0).permutation(len(data["x"]))[: limit or None]
    images = as_bytes(rows_of(data["x"], rows))
    key = f"2 {digest} {extractor.name} {extractor.resize} {limit}"
    make = partial(extract, extractor, _chunks(images), progress=progress)
    protocol = {"reference": f"{name} {digest[:8]}", "images": _shape(images)}
    return Reference(
        Extracted(images, *_cached(key, len(images), make), _labels(data, rows)),
        extractor,
        {**extractor.protocol(images.shape[-1]), **protocol},
    )


def extracted(samples: Set, against: Reference) -> Extracted:
    """Samples {"x": images, "y": classes} with their features. UserError for another shape than the real images'."""
    if samples["x"].shape[1:] != against.real.images.shape[1:]:
        ours, theirs = _shape(samples["x"]), _shape(against.real.images)
        raise UserError(f"Samples of {ours} cannot be scored against real images of {theirs}: bring both to one shape.")
    images = as_bytes(samples["x"])
    return Extracted(images, *extract(against.extractor, _chunks(images)), _labels(samples))


def copied(real: Extracted, images: Num[np.ndarray, "n h w c"] | OnDisk) -> float:
    """The share of images, floats in [-1, 1] or bytes, that as bytes are equal to a real one."""
    digests = lambda images: [hashlib.sha256(image.tobytes()).digest() for chunk in _chunks(images) for image in chunk]
    known = set(digests(real.images))
    return float(np.mean([digest in known for digest in digests(as_bytes(images))]))


def extractor(word: str, resize: str = "") -> Extractor:
    """An extractor by its name, or by the file of its weights.

    Args:
        word: "pixels", "random", a classifier's .npz, or the .pth of FID's Inception network.
        resize: How Inception's input is resized, "tf1_bilinear" (the default) or "pil_bicubic".

    Raises:
        UserError: Anything else.

    >>> extractor("pixels").name
    'pixels'
    """
    known = {"pixels": extractors.pixels, "random": extractors.random_network}
    inception = partial(extractors.inception, resize=resize) if resize else extractors.inception
    files, kind = {".npz": extractors.classifier, ".pth": inception}, Path(word).suffix
    if resize and kind != ".pth":
        raise UserError(
            f"--resize {resize} is for the Inception network: leave it out, or give its .pth as --extractor."
        )
    if word in known:
        return known[word]()
    if kind not in files:
        raise UserError(f"--extractor {word} is none of {', '.join(known)}, a classifier's .npz or Inception's .pth.")
    return files[kind](word)


def stem(data: str) -> str:
    """What a set is called in a protocol: the last part of its path, without the suffix.

    >>> stem("downloads/faces.tar.gz")
    'faces'
    """
    return re.sub(r"\.(tar|tgz|npz|gz|xz|bz2)\b.*", "", Path(data).name)


def as_bytes(x: Any) -> Any:
    """Images as bytes; those on disk stay there.

    >>> as_bytes(np.array([-1.0, 1.0]))
    array([  0, 255], dtype=uint8)
    """
    return x if isinstance(x, OnDisk) else to_bytes(np.asarray(x))


def rows_of(x, rows):
    """x[rows], of images on disk without reading them.

    >>> rows_of(np.array([3, 5, 7]), slice(2))
    array([3, 5])
    """
    if not isinstance(x, OnDisk):
        return np.asarray(x)[rows]
    chosen = np.arange(len(x))[rows]
    read = lambda some: x.read(chosen[list(some)].tolist())
    return OnDisk(read, (len(chosen), *x.shape[1:]), f"some of {x.identity}")


def _chunks(images) -> Iterator[np.ndarray]:
    """Images [m, h, w, c] in memory, a part at a time."""
    many = max(1, CHUNK // int(np.prod(images.shape[1:])))
    return (np.asarray(part["x"]) for part in chunks({"x": images}, many))


def _labels(data, rows=slice(None)):
    """The classes [n], or None where there are none: no "y", or one that is not an integer for each image."""
    y = np.asarray(data["y"])[rows] if "y" in data else np.zeros(())
    return y if y.ndim == 1 and y.dtype.kind in "iu" else None


def _shape(images):
    return " x ".join(map(str, images.shape[1:]))


def _cached(key, n, make):
    """Features and probabilities of n images from the cache, or made by `make()` and cached."""
    folder = Path(os.environ.get("GAN_JAX_CACHE") or "~/.cache/gan_jax").expanduser()
    path = folder / f"features-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    try:
        found = limits.npz(path)
        features, probabilities = found["features"], found["probabilities"]
        probabilities = probabilities if probabilities.size else None
        for part in (features, *([] if probabilities is None else [probabilities])):
            if part.ndim != 2 or len(part) != n or part.dtype != np.float32:
                raise ValueError(f"{part.dtype} {part.shape} are not features of {n} images")
        return features, probabilities
    except (ValueError, KeyError):
        features, probabilities = make()
    draft = folder / f"{path.stem}.{os.getpid()}.tmp.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(draft, features=features, probabilities=np.zeros(0) if probabilities is None else probabilities)
        draft.replace(path)
    except OSError:  # it only takes longer without the cache
        with contextlib.suppress(OSError):
            draft.unlink()
    return features, probabilities
