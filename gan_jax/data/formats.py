"""What a file is by its first bytes, whatever its name says."""

import io
from pathlib import Path

FIRST_BYTES = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"\x89PNG": "a PNG",
    b"\xff\xd8\xff": "a JPEG",
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"PK\x03\x04": "a zip",
    b"\x1f\x8b": "gzipped",
    b"\x93NUMPY": "a .npy",
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<svg": "an SVG",
    b"<?xml": "XML",
    b"version https://git-lfs": "a pointer of Git LFS",
}


def kind(file: Path | io.BytesIO) -> str:
    """What a regular file or bytes in memory are, such as "a GIF" or "an HTML page"; "" where unknown.

    >>> kind(io.BytesIO(b"GIF89a"))
    'a GIF'
    """
    try:
        head = file.getvalue()[:64] if isinstance(file, io.BytesIO) else _head(file)
    except OSError:
        return ""
    if head[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1"):
        return "an AVIF or HEIC"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    head = text if text[:1] in (b"<", b"v") else head
    return next((name for start, name in FIRST_BYTES.items() if head.startswith(start)), "")


def _head(path):
    if not path.is_file():  # a pipe would block
        return b""
    with path.open("rb") as file:
        return file.read(64)
