"""Pictures: decoding, and fitting to a size and a number of channels."""

import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gan_jax import limits
from gan_jax.data.disk import OnDisk
from gan_jax.data.formats import kind
from gan_jax.errors import UserError

Fit = Callable[[Any, str], np.ndarray]  # (a PIL image, its name in errors) -> uint8 [h, w, c]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
READ = ("a PNG", "a JPEG", "a WebP")
GREYS = ("1", "L", "LA")  # PIL's modes
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
FORMATS = ("PNG", "JPEG", "WEBP")  # without this, PIL would take a .png for PostScript and run it


def stack(
    names: Sequence[str],
    opened: Callable[[Sequence[int]], Sequence[Path | io.BytesIO]],
    where: os.PathLike | str,
    fit: Fit,
    resident: int,
    identity: Callable[[], str],
) -> UInt8[np.ndarray | OnDisk, "n h w c"]:
    """Pictures decoded and fitted, in the order of `names`; above `resident` bytes they stay on disk.

    Args:
        names: of the pictures, for errors.
        opened: rows -> the files of these rows.
        where: the folder or set, for errors.
        fit: (PIL image, name) -> uint8 [h, w, c].
        resident: bytes.
        identity: the identity of a set that stays on disk.

    Raises:
        UserError: for a picture that cannot be read or is of another shape than the first, when it is read.
    """
    from PIL import Image

    def decode(i, file):
        name = f"'{names[i]}' in '{where}'"
        return fit(load_picture(file, name), name)

    def read(rows):
        x = np.empty((len(rows), *shape), np.uint8)
        for image, i, file in zip(x, rows, opened(rows), strict=True):
            found = decode(i, file)
            if found.shape != shape:
                raise UserError(_differ(names[0], shape, names[i], found.shape, where))
            image[:] = found
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        shape = decode(0, *opened([0])).shape
        x = OnDisk(read, (len(names), *shape), "")
        if x.nbytes > resident:
            return replace(x, identity=identity())
        limits.check(x.nbytes, f"'{where}'")
        return np.asarray(x)


def _differ(name, shape, other_name, other_shape, where):
    (h, w, c), (h_, w_, c_) = shape, other_shape
    if c != c_:
        return (
            f"'{name}' has {c} channels and '{other_name}' has {c_} in '{where}':"
            f" give --channels 1 or --channels 3 to make them alike."
        )
    return f"'{name}' is {w}x{h} and '{other_name}' is {w_}x{h_} in '{where}': give --size N to make them all N x N."


def load_picture(file: Path | io.BytesIO, name: str) -> Any:
    """A file as a PIL image, upright, 8 bits; UserError naming it where it cannot be read."""
    from PIL import Image, ImageOps

    limit = limits.small()
    Image.MAX_IMAGE_PIXELS = limit // 3  # instead of PIL's default, which has no environment variable
    try:
        limits.check(limits.size(file) if isinstance(file, Path) else len(file.getbuffer()), name, limit)
        if isinstance(file, Path):  # PIL would first resolve its links, a fifth of the whole time
            with io.FileIO(file) as found:
                file = io.BytesIO(found.read())
        with Image.open(file, formats=FORMATS) as image:
            image.load()
            if image.info:  # holds the orientation, as EXIF or XMP
                ImageOps.exif_transpose(image, in_place=True)
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"{name} is too large to be a picture: {error} Set {limits.VARIABLE} higher if you trust it."
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"{name} has disappeared: put it back and start again.") from error
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error …: decoders raise many kinds
        if (what := kind(file)) and what not in READ:
            raise UserError(f"{name} is {what} under another name: convert it to PNG, or remove it.") from error
        raise UserError(f"{name} is a truncated or corrupt picture: replace or remove it.") from error
    if image.mode in DEEP:
        raise UserError(f"{name} has more than 8 bits a channel (mode {image.mode}): convert it to 8 bits.")
    return image


def fit(image, size: int | None, channels: int | None) -> UInt8[np.ndarray, "h w c"]:
    """A PIL image as grey or colour (by default as it is), cropped and resized to a square of `size`.

    Transparent pixels are shown on white.
    """
    from PIL import Image

    grey = image.mode in GREYS
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = {1: "L", 3: "RGB", None: "L" if grey else "RGB"}[channels]
    if image.mode != mode:
        image = image.convert(mode)
    if size is not None and image.size != (size, size):
        image = _square(image, size)
    pixels = np.asarray(image)
    return pixels[..., None] if mode == "L" else pixels


def fit_pair(image, size: int | None, channels: int | None, name: str) -> UInt8[np.ndarray, "h w c"]:
    """A PIL image of two halves side by side, each fitted separately. UserError for an odd width."""
    w, h = image.size
    if w % 2:
        raise UserError(f"{name} is {w}x{h}, no pair of pictures side by side: its width must be even.")
    halves = image.crop((0, 0, w // 2, h)), image.crop((w // 2, 0, w, h))
    return np.concatenate([fit(half, size, channels) for half in halves], 1)


def _square(image, size):
    """The shorter side resized to `size`, bilinear with antialiasing, then the centre cropped.

    The same as torchvision's Resize and CenterCrop.
    """
    from PIL import Image

    w, h = (int(size * side / min(image.size)) for side in image.size)
    limits.check(3 * w * h, f"A picture of {image.width}x{image.height} brought to {w}x{h}", limits.small())
    image, left, top = image.resize((w, h), Image.Resampling.BILINEAR), round((w - size) / 2), round((h - size) / 2)
    return image if w == h else image.crop((left, top, left + size, top + size))


def refit(x: UInt8[np.ndarray, "n h w c"], size: int | None, channels: int | None) -> UInt8[np.ndarray, "n H W C"]:
    """Images in memory at another size or number of channels; `x` itself where nothing changes.

    >>> refit(np.zeros((2, 8, 8, 1), np.uint8), size=16, channels=3).shape
    (2, 16, 16, 3)
    """
    from PIL import Image

    h, w, c = x.shape[1:]
    if (size is None or h == w == size) and channels in (None, c):
        return x
    if c not in (1, 3):
        raise UserError(f"x has {c} channels, and only images of 1 or 3 are resized or recoloured: do it beforehand.")
    limits.check(len(x) * 3 * (size or 0) ** 2, f"{len(x):,} images of {size}x{size}")
    with ThreadPoolExecutor() as pool:
        flat = x[..., 0] if c == 1 else x
        return np.stack(list(pool.map(lambda image: fit(Image.fromarray(image), size, channels), flat)))
