"""Folders and tars of pictures, and the fitting of any picture to a size and a number of channels."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gan_jax import limits
from gan_jax.data.disk import OnDisk
from gan_jax.errors import UserError

Fit = Callable[[Any, str], np.ndarray]  # (a PIL image, what to call it) -> uint8 [h, w, c]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
UNPAIRED = {"trainA", "trainB", "valA", "valB", "testA", "testB"}
SPLITS = {"train", "val", "valid", "validation", "test"} | UNPAIRED
GREYS = ("1", "L", "LA")  # PIL's modes
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
FORMATS = ("PNG", "JPEG", "WEBP")  # by its first bytes, a .png may be PostScript, which PIL would have run
UNPACK = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # by a tar's first bytes
HEADERS = 2**16  # bytes of what a tar says of one member


def read_images(path: Path, split: str, fit: Fit, resident: int) -> dict[str, np.ndarray | OnDisk]:
    """The pictures in a folder or tar, sorted by name; their class is their subfolder, where there are any.

    UserError for a tar of more than `resident` bytes of pictures, for its members have no random access.
    """
    files = _in_folder(path) if path.is_dir() else _in_tar(path, resident)
    if not files:
        raise UserError(_empty(path))
    tails = _of_split(sorted(files), split, path)
    names = list(tails)
    opened, identity = lambda rows: [files[names[i]] for i in rows], lambda: _names_and_sizes(names, files)
    x = stack(names, opened, path, fit, resident, identity)
    if isinstance(x, OnDisk) and not path.is_dir():
        raise UserError(_unpack(path, resident))
    y = _classes(tails, path)
    return {"x": x} if y is None else {"x": x, "y": y}


def _in_folder(folder):
    """{name: path} of the pictures below a folder; links to files are followed, pipes and devices left out."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if _is_picture(name)}


def _names_and_sizes(names, paths):
    """Of a folder's pictures, as 16 hexadecimal digits: to read what they hold may take hours."""
    lines = (f"{name} {paths[name].stat().st_size}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _empty(path):
    return f"'{path}' has no pictures in it ({', '.join(SUFFIXES)}): give another folder or tar."


def _unpack(path, resident):
    return f"'{path}' holds more than {resident:,} bytes of pictures: unpack it into a folder, which stays on disk."


def _in_tar(path, resident):
    """{name: bytes} of the pictures in a tar, which is read as data: no links, nothing is written to disk."""
    files, held = {}, 0
    try:
        limits.size(path)
        with path.open("rb") as file:
            unpack = UNPACK.get(file.read(2), open)
        with unpack(path, "rb") as packed:
            headers: Any = _Headers(packed)
            archive: Any = tarfile.TarFile(fileobj=headers)
            for member in archive:
                if member.size < 0 or archive.offset < member.offset_data:
                    raise tarfile.ReadError("a member that leads back")
                held += member.size if member.isfile() else 0  # a sparse one may be larger than what it lies in
                limits.check(max(held, archive.offset), f"'{path}'")
                archive.members, archive.pax_headers, headers.left = [], {}, HEADERS  # or it would hoard them
                name = "/".join(part for part in member.name.split("/") if part not in ("", "."))
                if not member.isfile() or member.issparse() or not _is_picture(name):
                    continue
                limits.check(member.size, f"'{name}' in '{path}'", limits.small())
                if held > resident:
                    raise UserError(_unpack(path, resident))
                packed.seek(member.offset_data)
                files[name] = io.BytesIO(packed.read(member.size))
            packed.seek(archive.offset)  # tarfile takes a broken header for the end, and says nothing
            if packed.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("no end mark")
            while packed.read(2**20):  # to its checksum
                if packed.tell() - archive.offset > limits.small():
                    raise tarfile.ReadError("more behind the end than fills a block")
    except UserError:
        raise
    except Exception as error:  # tarfile and what unpacks raise what they like
        raise UserError(f"'{path}' is a truncated or corrupt tar: fetch it again.") from error
    return files


class _Headers:
    """A tar as tarfile reads its headers, which take a member's word for how long they are."""

    def __init__(self, file):
        self.seek, self.tell, self._read, self.left = file.seek, file.tell, file.read, HEADERS

    def read(self, size):
        self.left -= size
        if self.left < 0:
            raise tarfile.ReadError("headers without end")
        return self._read(size)


def _is_picture(name):
    """A picture by its suffix, neither hidden nor in a hidden folder ('..' is one)."""
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))


def _of_split(names, split, where):
    """{name: what is left of it below the folders that all share and below the split's} for the split's pictures."""
    tails = _strip({name: name for name in names})
    splits = _tops(tails) & SPLITS
    if splits == _tops(tails) or len(splits) > 1:
        below = {name: tail.removeprefix(f"{split}/") for name, tail in tails.items() if _top(tail) == split}
    else:
        splits, below = {"train"}, tails if split == "train" else {}
    if not below:
        raise UserError(f"'{where}' has no split '{split}', only {', '.join(sorted(splits))}.")
    return _strip(below)


def _strip(tails):
    while len(_tops(tails)) == 1 and not _tops(tails) <= SPLITS | {""}:
        tails = {name: tail.partition("/")[2] for name, tail in tails.items()}
    return tails


def _tops(tails):
    return {_top(tail) for tail in tails.values()}


def _top(tail):
    """The folder at the top of a name; "" for a file in none."""
    return tail.partition("/")[0] if "/" in tail else ""


def _classes(tails, where):
    """0, 1, … for the subfolders in the order of their names, int32 [n]; None where there are none."""
    folders = sorted(_tops(tails))
    if folders == [""]:
        return None
    for name, tail in tails.items():
        if "" in folders and "/" not in tail:
            raise UserError(f"'{name}' lies beside the class folders of '{where}': move it into one of them.")
    return np.array([folders.index(_top(tail)) for tail in tails.values()], np.int32)


def stack(
    names: Sequence[str],
    opened: Callable[[Sequence[int]], Sequence[Path | io.BytesIO]],
    where: os.PathLike | str,
    fit: Fit,
    resident: int,
    identity: Callable[[], str],
) -> UInt8[np.ndarray | OnDisk, "n h w c"]:
    """The files `opened` for any rows, decoded, in their order; they stay on disk above `resident` bytes.

    UserError where a picture cannot be read or its shape is not the first one's, as soon as it is met.
    """
    from PIL import Image

    def decode(i, file):
        name = f"'{names[i]}' in '{where}'"
        return fit(_decode(file, name), name)

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


def _decode(file, name):
    """The picture as a viewer shows it: upright, 8 bits."""
    from PIL import Image, ImageOps

    limit = limits.small()
    Image.MAX_IMAGE_PIXELS = limit // 3  # PIL has it for a default too, and this one can be raised
    try:
        limits.check(limits.size(file) if isinstance(file, Path) else len(file.getbuffer()), name, limit)
        if isinstance(file, Path):  # whose links PIL would first resolve, a fifth of the whole work
            with io.FileIO(file) as found:
                file = io.BytesIO(found.read())
        with Image.open(file, formats=FORMATS) as image:
            image.load()
            if image.info:  # its orientation, as EXIF or XMP, would stand there
                ImageOps.exif_transpose(image, in_place=True)
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"{name} is too large to be a picture: {error} Set {limits.VARIABLE} higher if you trust it."
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"{name} has disappeared: put it back and start again.") from error
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error …: a decoder raises what it likes
        raise UserError(f"{name} is a truncated or corrupt picture: mend it or take it away.") from error
    if image.mode in DEEP:
        raise UserError(f"{name} has more than 8 bits a channel (mode {image.mode}): convert it to 8 bits.")
    return image


def fit(image, size: int | None, channels: int | None) -> UInt8[np.ndarray, "h w c"]:
    """A PIL image, grey or in colour (as it is without `channels`; alpha is dropped), cut to a square of `size`."""
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette may have transparent entries, which PIL warns about
    mode = {1: "L", 3: "RGB", None: "L" if image.mode in GREYS else "RGB"}[channels]
    if image.mode != mode:
        image = image.convert(mode)
    if size is not None and image.size != (size, size):
        image = _square(image, size)
    pixels = np.asarray(image)
    return pixels[..., None] if mode == "L" else pixels


def fit_pair(image, size: int | None, channels: int | None, name: str) -> UInt8[np.ndarray, "h w c"]:
    """A PIL image of two halves, each fitted by itself. UserError for an odd width."""
    w, h = image.size
    if w % 2:
        raise UserError(f"{name} is {w}x{h}, no pair of pictures side by side: its width must be even.")
    halves = image.crop((0, 0, w // 2, h)), image.crop((w // 2, 0, w, h))
    return np.concatenate([fit(half, size, channels) for half in halves], 1)


def one_by_one(path: Path, channels: int | None) -> Iterator[tuple[str, UInt8[np.ndarray, "h w c"]]]:
    """(name, picture) of those in a folder or tar, or of the one file, sorted by name, each of its own size.

    UserError where there are none, and for one that cannot be read, when it is met.
    """
    if not path.exists():
        raise UserError(f"'{path}' does not exist: give a folder, a tar or a picture.")
    single = path.is_file() and _is_picture(path.name)
    files = {path.name: path} if single else _in_folder(path) if path.is_dir() else _in_tar(path, limits.memory())
    if not files:
        raise UserError(_empty(path))
    for name in sorted(files):
        yield name, fit(_decode(files[name], f"'{name}' in '{path}'"), None, channels)


def _square(image, size):
    """The shorter side to `size`, bilinear with antialiasing, then the centre: torchvision's Resize and CenterCrop."""
    from PIL import Image

    w, h = (int(size * side / min(image.size)) for side in image.size)
    limits.check(3 * w * h, f"A picture of {image.width}x{image.height} brought to {w}x{h}", limits.small())
    image, left, top = image.resize((w, h), Image.Resampling.BILINEAR), round((w - size) / 2), round((h - size) / 2)
    return image if w == h else image.crop((left, top, left + size, top + size))


def refit(x: UInt8[np.ndarray, "n h w c"], size: int | None, channels: int | None) -> UInt8[np.ndarray, "n H W C"]:
    """Images in memory at another size or number of channels; `x` itself where nothing is to change."""
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
