"""Folders and tars of pictures: which files are pictures, which split they belong to, and which class."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from gan_jax import limits
from gan_jax.data.disk import OnDisk
from gan_jax.data.formats import kind
from gan_jax.data.images import SUFFIXES, Fit, stack
from gan_jax.errors import UserError

TAR = r"\.(tar(\.(gz|xz|bz2))?|tgz)$"
SPLITS = {  # folder names, in any case, and the split that each of them is
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **{f"{split}{side}": f"{split}{side}" for split in ("train", "val", "test") for side in "ab"},
}
UNPACK = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # by the first bytes of a tar
HEADERS = 2**16  # bytes that a tar may spend on the headers of one member
LISTED = 10  # class names in the summary


class Found(NamedTuple):
    """Pictures by name, and how many other files there are by ending."""

    files: Mapping[str, Path | io.BytesIO]
    others: Counter[str]


def read_images(path: Path, split: str, fit: Fit, resident: int) -> dict[str, np.ndarray | OnDisk]:
    """The pictures in a folder or tar, sorted by name, with their subfolders as classes where there are any.

    A summary in one line goes to stderr: pictures, classes, split, and what was left out.

    Raises:
        UserError: for a tar of more than `resident` bytes of pictures, whose members have no random access.
    """
    found = find(path, resident)
    files = found.files
    folder, tails = _of_split(sorted(files), split, path)
    names = list(tails)
    opened, identity = lambda rows: [files[names[i]] for i in rows], lambda: _names_and_sizes(names, files)
    x = stack(names, opened, path, fit, resident, identity)
    if isinstance(x, OnDisk) and not path.is_dir():
        raise UserError(_unpack(path, resident))
    y = _classes(tails, path)
    tqdm.write(_summary(path, tails, found, folder), file=sys.stderr)
    return {"x": x} if y is None else {"x": x, "y": y}


def find(path: Path, resident: int) -> Found:
    """The pictures in a folder or a tar. UserError where there are none."""
    found = _in_folder(path) if path.is_dir() else _in_tar(path, resident)
    if not found.files:
        others = f", only {_counts(found.others)}" if found.others else ""
        raise UserError(f"'{path}' has no pictures in it ({', '.join(SUFFIXES)}){others}: give another folder or tar.")
    return found


def _in_folder(folder):
    """The pictures below a folder. Links are followed; pipes, devices and hidden files are not read."""
    files, others, seen = {}, Counter(), {str(parent) for parent in folder.resolve().parents}
    folders, links = [""], []
    while folders or links:  # links last: a folder is read once, under its own name, and a loop ends
        below = folders.pop() if folders else links.pop(0)
        if (real := os.path.realpath(folder / below)) in seen:
            others["linked folders that are read already"] += 1
            continue
        seen.add(real)
        for entry in _entries(folder, below):
            name = f"{below}/{entry.name}".removeprefix("/")
            if entry.name.startswith("."):
                continue
            if os.path.isdir(entry):
                (links if entry.is_symlink() else folders).append(name)
            elif is_picture(name) and (os.path.isfile(entry) if entry.is_symlink() else entry.is_file()):
                files[name] = folder / name
            else:
                others[_ending(name)] += 1
    return Found(files, others)


def _entries(folder, below):
    try:
        with os.scandir(folder / below) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"'{folder / below}' cannot be read ({error.strerror}): make it readable.") from error


def _in_tar(path, resident):
    """The pictures in a tar, which is only read: no links are followed, and nothing is written to disk."""
    files, others, total = {}, Counter(), 0
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
                total += member.size if member.isfile() else 0  # a sparse one may be larger than the tar
                limits.check(max(total, archive.offset), f"'{path}'")
                archive.members, archive.pax_headers, headers.left = [], {}, HEADERS  # or tarfile keeps them all
                name = "/".join(part for part in member.name.split("/") if part not in ("", "."))
                if not member.isfile() or member.issparse() or not is_picture(name):
                    if member.isfile() and not name.rpartition("/")[2].startswith("."):
                        others[_ending(name)] += 1
                    continue
                limits.check(member.size, f"'{name}' in '{path}'", limits.small())
                if total > resident:
                    raise UserError(_unpack(path, resident))
                packed.seek(member.offset_data)
                files[name] = io.BytesIO(packed.read(member.size))
            _check_end(packed, archive.offset)
    except UserError:
        raise
    except Exception as error:  # tarfile and the decompressors raise many kinds
        if (what := kind(path)) not in ("", "gzipped"):
            raise UserError(f"'{path}' is {what}, no tar: give another file.") from error
        raise UserError(f"'{path}' is a truncated or corrupt tar: fetch it again.") from error
    return Found(files, others)


def _check_end(packed, offset):
    """Read a tar to its checksum: tarfile silently takes a broken header for the end."""
    packed.seek(offset)
    if packed.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("no end mark")
    while packed.read(2**20):
        if packed.tell() - offset > limits.small():
            raise tarfile.ReadError("more after the end than fills a block")


class _Headers:
    """A file that lets tarfile read a bounded number of bytes for each member's headers, whatever they claim."""

    def __init__(self, file):
        self.seek, self.tell, self._read, self.left = file.seek, file.tell, file.read, HEADERS

    def read(self, size):
        self.left -= size
        if self.left < 0:
            raise tarfile.ReadError("headers without end")
        return self._read(size)


def is_picture(name: str) -> bool:
    """Whether a name ends like a picture and is not hidden, nor in a hidden folder ('..' is one).

    >>> is_picture("cats/1.PNG"), is_picture(".cache/1.png")
    (True, False)
    """
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))


def _ending(name):
    return os.path.splitext(name)[1].lower() or "without ending"


def _unpack(path, resident):
    return f"'{path}' holds more than {resident:,} bytes of pictures: unpack it into a folder, which stays on disk."


def _names_and_sizes(names, paths):
    """16 hexadecimal digits for the pictures of a folder: hashing their content may take hours."""
    lines = (f"{name} {paths[name].stat().st_size}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _of_split(names, split, where):
    """(folder of the split or "", {name: its part below that folder, and below folders that all share})."""
    tails = _strip({name: name for name in names})
    tops = _tops(tails)
    splits = {top for top in tops if top.lower() in SPLITS}
    if splits != tops and len(splits) < 2:  # no splits: the folders are classes
        if split != "train":
            raise UserError(f"'{where}' has no split '{split}', only train.")
        return "", tails
    folder = _named(split, splits, where)
    below = {name: tail.removeprefix(f"{folder}/") for name, tail in tails.items() if _top(tail) == folder}
    return folder, _strip(below)


def _named(split, folders, where):
    """The folder of a split: of the same name, else in another case, else of the same meaning."""
    for form in (str, str.lower, lambda word: SPLITS.get(word.lower(), word)):
        found = sorted(folder for folder in folders if form(folder) == form(split))
        if len(found) > 1:
            raise UserError(f"'{where}' has the splits {' and '.join(found)}: name one of them.")
        if found:
            return found[0]
    raise UserError(f"'{where}' has no split '{split}', only {', '.join(sorted(folders))}.")


def _strip(tails):
    """Names without the folders that all share, down to the folders of splits."""
    while len(tops := _tops(tails)) == 1 and not {top.lower() for top in tops} <= {"", *SPLITS}:
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


def _summary(path, tails, found, folder):
    """One line: pictures, classes, split, and what was left out, by folder and by ending."""
    classes = sorted(_tops(tails) - {""})
    listed = ", ".join(classes if len(classes) <= LISTED else [*classes[: LISTED - 1], "…", classes[-1]])
    line = f"'{path}': {_pictures(len(tails))}" + (f" in {len(classes):,} classes ({listed})" if classes else "")
    whole = _strip({name: name for name in found.files})
    rest = Counter(_top(tail) for name, tail in whole.items() if name not in tails)
    line += f", of the split {folder}" if folder else ""
    left = [f"{_pictures(n)} in {top or 'no folder'}" for top, n in sorted(rest.items())]
    left += [_counts(found.others)] if found.others else []
    return line + (f"; left out: {', '.join(left)}" if left else "") + "."


def _pictures(n):
    return "1 picture" if n == 1 else f"{n:,} pictures"


def _counts(others):
    return ", ".join(f"{n:,} {ending}" for ending, n in others.most_common())
