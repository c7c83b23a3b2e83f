"""Hostile idx, npz, picture and TFDS files: refused in one line, at no cost, and nothing in them runs."""

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from pictures import COLOUR, GREY, LABELS, png, refuses, write
from PIL import Image

import gan_jax
from gan_jax import data, limits
from gan_jax.errors import UserError
from gan_jax.metrics import classifiers, inception_v3

pytestmark = pytest.mark.usefixtures("alarm")

ZEROS = gzip.compress(bytes(2**24)) * 1100  # 17 GiB in 18 MB: a .gz may have many parts


def header(*shape, rank=None):
    return bytes([0, 0, 8, len(shape) if rank is None else rank]) + struct.pack(f">{len(shape)}I", *shape)


def test_the_limit_is_raised_by_a_variable_and_must_be_a_number(tmp_path, monkeypatch, little):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((65, 1024, 1024), np.uint8))
    words = (
        f"'{tmp_path}/a.npz' would fill 0.0635 GiB, and 0.0625 are allowed: set {limits.VARIABLE} higher than 0.0625"
    )
    refuses(tmp_path / "a.npz", words)
    monkeypatch.setenv(limits.VARIABLE, "0.1")
    assert data.load(tmp_path / "a.npz")["x"].nbytes == 65 * 2**20
    for word in ("much", "nan", "inf"):
        monkeypatch.setenv(limits.VARIABLE, word)
        refuses(tmp_path / "a.npz", f"{limits.VARIABLE} is '{word}': give a number of GiB.")


def test_idx_headers_that_promise_too_much(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    for content, words in {
        header(2**32 - 1, 2**32 - 1, 2**32 - 1): "would fill 1.1e+12 GiB",
        header(2**20, 128, 128): "(0 bytes follow a header that promises 17,179,869,184)",
        header(2, rank=255) + bytes(2000): "is no idx file of images or labels: its header names 255 axes.",
        header(2, 8, rank=3): "is truncated or corrupt (unpack requires",
        gzip.compress(header(2, 8, 8)) + ZEROS: "(at least 129 bytes follow a header that promises 128)",
    }.items():
        path.write_bytes(content)
        refuses(path, words)


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte", "data_batch_1.bin", "a.npz", "a.tar", "a.png", "weights.pth", "config.json"]
)
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    inner = tmp_path if name.endswith(("ubyte", "bin", "png")) else tmp_path / name
    for load in (data.load, gan_jax.load, classifiers.load, inception_v3.load):
        with pytest.raises(UserError):
            load(inner if load is data.load else tmp_path if load is gan_jax.load else tmp_path / name)


def npy(shape, body=b"", dtype="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + body


def text_header(text):
    text = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        npy((2**40, 8, 8)),
        npy((2**62, 2**62)),
        npy((-2, -8), bytes(16)),
        npy((2, 8, 8), bytes(127)),
        npy((2, 8, 8), bytes(129)),
        npy((2**50,), dtype="|S0"),
        npy((8,), bytes(8), "|S1"),
        npy((2,), bytes(16), "|O"),
        npy((2,), bytes(16), [("a", "<f4"), ("b", "<f4")]),
        npy((2,), pickle.dumps({}), "|O"),
        b"no array",
        text_header("-" * 9000 + "1"),
        text_header("(" * 9000),
        text_header("{'descr': '|u1', 'fortran_order': False, 'shape': 'x'}"),
        text_header("__import__('os').mkdir('hit')"),
    ],
    ids=range(15),
)
def test_an_npz_of_anything_but_sound_arrays(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    refuses("a.npz", "'a.npz' is truncated, corrupt or holds Python objects: save plain arrays anew.")
    assert os.listdir() == ["a.npz"]


def test_an_npz_packed_or_named_oddly(tmp_path, little):
    path = tmp_path / "a.npz"
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", how) as archive:
            archive.writestr("x.npy", npy((2**22, 1, 1), bytes(2**22)))
        refuses(path, "is truncated, corrupt or holds Python objects")
    np.savez(path, **{"../../x": GREY, "/y": LABELS})
    assert np.array_equal(data.load(path)["x"], GREY) and os.listdir(tmp_path) == ["a.npz"]
    for dtype, words in {
        "c8": "complex64: give an array of real",
        "U3": "text: give an",
        "?": "bool: give floats",
    }.items():
        np.savez(path, x=GREY.astype(dtype))
        refuses(path, f"x of '{path}' is {words}")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def picture(w, h, body=b"", *more):
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
    return start + b"".join(more) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n%%EndComments\nshowpage\n%%EOF\n"
SPOILT = "is a truncated or corrupt picture"
PICTURES = {
    "50000x50000": (picture(50_000, 50_000), "is too large to be a picture"),
    "2**31": (picture(2**31 - 1, 2**31 - 1), "is too large to be a picture"),
    "no data": (picture(4_000, 4_000), SPOILT),
    "text bomb": (picture(1, 1, bytes(4), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24)))), SPOILT),
    "text bombs": (picture(1, 1, bytes(4), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20))) * 65), SPOILT),
    "PostScript": (EPS, "is PostScript under another name: convert it to PNG, or remove it."),
    "shell": (b"#!/bin/sh\ntouch hit\n", SPOILT),
    "Windows": (b"BM" + bytes(60), "is a BMP under another name"),
}


@pytest.mark.parametrize("attack", PICTURES)
def test_pictures(tmp_path, attack, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = []
    monkeypatch.setattr(subprocess, "check_call", lambda *words, **how: ran.append(words))
    content, words = PICTURES[attack]
    for name in ("a.png", "a.jpg", "a.webp"):
        write(tmp_path / name[2:], {name: content})
        refuses(tmp_path / name[2:], f"'{name}' in '{tmp_path / name[2:]}' {words}")
    assert not ran and not (tmp_path / "hit").exists()


def test_a_jpeg_that_lies_about_its_size(tmp_path):
    content = png(COLOUR[0], format="jpeg")
    at = content.index(b"\xff\xc0") + 5
    write(tmp_path, {"a.jpg": content[:at] + struct.pack(">HH", 65_000, 65_000) + content[at + 4 :]})
    refuses(tmp_path, "'a.jpg' in", size=4)


def test_data_that_end_too_soon_are_of_their_header_s_size_and_no_larger(tmp_path):
    write(tmp_path, {"a.png": picture(8, 8, bytes([0, *[255] * 24] * 4))})
    x = data.load(tmp_path)["x"][0]
    assert x.shape == (8, 8, 3) and x[:4].min() == 255 and x[4:].max() == 0  # black, as viewers show it


def test_pictures_that_are_large_only_together_or_when_resized(tmp_path, little):
    write(tmp_path / "many", {f"{i}.png": png(np.zeros((512, 512, 3), np.uint8)) for i in range(90)})
    refuses(tmp_path / "many", f"'{tmp_path}/many' would fill 0.0659 GiB")
    write(tmp_path / "long", {"a.png": png(np.zeros((1, 100_000), np.uint8))})
    refuses(tmp_path / "long", "A picture of 1x100000 brought to 64x6400000 would fill 1.14 GiB", size=64)
    refuses(GREY, "An image of --size 100000 would fill", size=100_000)
    (tmp_path / "sparse").mkdir()
    with (tmp_path / "sparse" / "a.webp").open("wb") as file:
        file.truncate(2**42)
    refuses(tmp_path / "sparse", "'a.webp' in")


def test_what_a_folder_of_pictures_may_hold(tmp_path):
    first, second = Image.fromarray(COLOUR[0]), Image.fromarray(COLOUR[1])
    write(tmp_path / "outside", {"b.png": png(COLOUR[1])})
    write(tmp_path / "set", {"c.png": png(COLOUR[2], icc_profile=bytes(2**20))})
    first.save(tmp_path / "set" / "a.png", save_all=True, append_images=[second])  # animated: its first frame
    (tmp_path / "set" / "b.png").symlink_to(tmp_path / "outside" / "b.png")  # followed, as sets made of links need
    (tmp_path / "set" / "d.png").symlink_to("/dev/zero")
    (tmp_path / "set" / "e.png").symlink_to(tmp_path / "set" / "e.png")
    (tmp_path / "set" / "f").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "set" / "g.png")
    assert np.array_equal(data.load(tmp_path / "set")["x"], COLOUR[:3])


@pytest.mark.parametrize("form", ["pythonClassName", "python_class_name", "type", "json"])
def test_a_prepared_set_names_no_module(tmp_path, monkeypatch, form):
    write(tmp_path, {"evil_module.py": b"import os; os.mkdir('hit')"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    evil = "evil_module.Feature"
    inner = {"json": {"json": json.dumps({"type": evil})}}.get(form, {form: evil})
    features = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": inner,
    }
    for version in ("1.0.0", "config/1.0.0"):
        write(tmp_path / "mine" / version, {"features.json": json.dumps(features).encode(), "dataset_info.json": b"{}"})
        refuses(f"tfds:mine@{tmp_path}", "names 'evil_module.Feature', no feature of TFDS")
        shutil.rmtree(tmp_path / "mine")
    for name in ("huggingface:x", "kaggle:x", "mnist/..:1.0.0", "mnist/a=__import__('os')", "../x", "/x", ""):
        refuses(f"tfds:{name}@{tmp_path}", f"'tfds:{name}@{tmp_path}' has no name of a set")
    assert not (tmp_path / "hit").exists() and "evil_module" not in sys.modules
