"""What comes from outside may be made to do harm: it is refused in one line, at no cost, and nothing in it runs."""

import ast
import gzip
import io
import json
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore
from PIL import Image
from test_checkpoint import Bomb
from test_data import COLOUR, GREY, LABELS, png, write
from test_data_errors import refuses

import gan_jax
from gan_jax import data, limits
from gan_jax.errors import UserError
from gan_jax.metrics import classifiers, extractors, inception_v3, references
from gan_jax.runs import paper as papers
from gan_jax.runs.run import read_rows, write_text
from gan_jax.training import checkpoint

ZEROS = gzip.compress(bytes(2**24)) * 1100  # 17 GiB in 18 MB: a .gz may have many parts
DEEP = "[" * 100_000


@pytest.fixture(autouse=True)
def alarm():
    """What waits for a pipe is woken, and fails."""

    def wake(number, frame):
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def little(monkeypatch):
    """A limit of 64 MiB, and of 1 MiB for a picture or a text."""
    monkeypatch.setenv(limits.VARIABLE, str(1 / 16))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back what `load` sets


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
    for x in (GREY.astype(np.complex64), GREY.astype("U3"), GREY.astype(bool)):
        np.savez(path, x=x)
        refuses(path, f"x of '{path}' is {x.dtype}: give bytes")


def member(name, size=0, kind=tarfile.REGTYPE, link="", /, **pax):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.pax_headers = size, kind, link, {k: str(v) for k, v in pax.items()}
    return info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT)


def padded(content):
    return content + bytes(-len(content) % 512)


def test_a_tar_reaches_nothing_outside_of_itself(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(GREY[0]))
    picture = png(COLOUR[0])
    parts = [
        member("link.png", 0, tarfile.SYMTYPE, str(tmp_path / "secret.png")),
        member("hard.png", 0, tarfile.LNKTYPE, "../secret.png"),
        member("null.png", 0, tarfile.CHRTYPE),
        member("pipe.png", 0, tarfile.FIFOTYPE),
        member("../up.png", len(picture)) + padded(picture),
        member("/absolute.png", len(picture)) + padded(picture),
    ]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.tar"
    path.write_bytes(b"".join(parts) + bytes(1024))
    assert np.array_equal(data.load(path)["x"], COLOUR[:1])
    assert os.listdir(tmp_path / "in") == ["a.tar"] and sorted(os.listdir(tmp_path)) == ["in", "secret.png"]


CORRUPT = "is a truncated or corrupt tar"
TARS = {
    "one of a TiB": (member("a.txt", 2**40), "would fill 1.02e+03 GiB"),
    "one picture": (member("a.png", 2**29) + bytes(2**10), "'a.png' in '{}' would fill 0.5 GiB, and 0.25 are allowed"),
    "many pictures": (member("a.png", 10, size=2**20) * 99, CORRUPT),
    "a sparse picture": (member("a.png", 512, **{"GNU.sparse.size": 2**40, "GNU.sparse.map": "0,1"}), "1.02e+03 GiB"),
    "a size below 0": (member("a.png", 512, size=-(2**20)) + bytes(512), CORRUPT),
    "a size past all integers": (member("a.png", 512, size=2**80), "would fill"),
    "a size of letters": (member("a.png", 512, **{"GNU.sparse.size": "x"}), CORRUPT),
    "a header of 8 GiB": (member("a", 2**33 - 1, tarfile.XHDTYPE), CORRUPT),
    "a name of 8 GiB": (member("a", 2**33 - 1, tarfile.GNUTYPE_LONGNAME), CORRUPT),
    "headers in headers": (member("a", 0, tarfile.XHDTYPE) * 5000, CORRUPT),
    "endless sparse maps": (member("a.png", 1, tarfile.GNUTYPE_SPARSE)[:482] + b"\1" + bytes(29), CORRUPT),
}


@pytest.mark.parametrize("attack", TARS)
def test_tars(tmp_path, attack):
    content, words = TARS[attack]
    if "sparse maps" in attack:  # the checksum of what was changed, then extensions without end
        block = bytearray(content[:148] + b" " * 8 + content[156:])
        block[148:156] = b"%06o\0 " % sum(block)
        content = bytes(block) + (bytes(504) + b"\1" + bytes(7)) * 3000
    for end in ("", ".gz"):
        path = tmp_path / f"a.tar{end}"
        path.write_bytes(gzip.compress(content) + ZEROS if end else content)
        refuses(path, words.format(path))


def test_a_tar_that_is_a_bomb_after_its_end_or_in_many_pictures(tmp_path, little):
    path = tmp_path / "a.tar.gz"
    picture = member("a.png", 2**20 - 1024) + padded(bytes(2**20 - 1024))
    path.write_bytes(gzip.compress(picture * 70 + bytes(1024)))
    refuses(path, f"'{path}' would fill 0.063")
    path.write_bytes(gzip.compress(bytes(1024)) + ZEROS)
    refuses(path, f"'{path}' {CORRUPT}")


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
    "PostScript": (EPS, SPOILT),
    "shell": (b"#!/bin/sh\ntouch hit\n", SPOILT),
    "Windows": (b"BM" + bytes(60), SPOILT),
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


def test_a_bomb_costs_no_memory(tmp_path):
    x = tmp_path / "x-images-ubyte.gz", tmp_path / "x.tar.gz", tmp_path / "y.tar.gz", tmp_path / "x.npz", tmp_path / "p"
    x[0].write_bytes(gzip.compress(header(2, 8, 8)) + ZEROS)
    x[1].write_bytes(gzip.compress(member("a", 2**33 - 1, tarfile.XHDTYPE)) + ZEROS)
    x[2].write_bytes(gzip.compress(member("a.png", 2**29)) + ZEROS)
    with zipfile.ZipFile(x[3], "w") as archive:
        archive.writestr("x.npy", npy((2**33,)))
    write(x[4], {f"{i}.png": picture(50_000, 50_000) for i in range(8)})
    code = (
        "import resource, sys\n"
        "from gan_jax import data\n"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "from PIL import Image\n"
        "before = used()\n"
        "for path in sys.argv[1:]:\n"
        "    try: data.load(path)\n"
        "    except ValueError as error: print(type(error).__name__)\n"
        "print(used() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, *map(str, x)], capture_output=True, text=True, check=True)
    *errors, grown = run.stdout.split()
    assert errors == ["UserError"] * 5 and int(grown) < 50 * 1024  # KiB


SOUND = {
    "format": 1,
    "paper": "dirac_gan:gan",
    "config": {"steps": 3, "batch": 1, "lr": 0.1},
    "data": "",
    "batch": {"x": [[1, 1], "float32"]},
}
CONFIGS = {  # JSON
    "config": """
        [] | "x" | null | 3 | {"lr": "0.1"} | {"lr": null} | {"lr": {}} | {"lr": [0.1]} | {"lr": true} | {"lr": NaN}
        | {"lr": 1e400} | {"lr": -1} | {"lr": HUGE} | {"steps": 3.0} | {"steps": "3"} | {"steps": -1} | {"steps": HUGE}
        | {"loss": "os.system"} | {"loss": ["minimax"]} | {"__class__": "x"} | {"critic_moves": 1000000000}
        | {"data": "/etc"} | {"batch": null} | {"seed": 1e9}
    """,
    "paper": """
        null | 3 | [] | {} | "../../evil:x" | "os:system" | "__init__" | "/etc/passwd" | "dirac_gan.py" | "a.b:c"
        | "experiments.dcgan" | "dirac_gan:__class__" | ".:x" | "benchmarks/record" | "dirac_gan\\u0000" | "*" | ""
    """,
    "batch": """
        null | [] | {} | {"x": 3} | {"x": [[1, 1]]} | {"x": [[-1, 1], "float32"]} | {"x": [[1.5, 1], "float32"]}
        | {"x": [[true, 1], "float32"]} | {"x": [[1000000000, 1000000000], "float32"]} | {"x": [[HUGE], "float32"]}
        | {"x": [[1, 1, 1, 1, 1, 1, 1, 1, 1], "float32"]} | {"y": [[1, 1], "float32"]}
        | {"x": [[1, 1], "object"]} | {"x": [[1, 1], "O"]} | {"x": [[1, 1], "U9"]} | {"x": [[1, 1], "f4,f4"]}
        | {"x": [[1, 1], "complex64"]} | {"x": [[1, 1], "os"]} | {"x": [[1, 1], 3]} | {"x": [[1, 1], null]}
    """,
    "data": 'null | 3 | ["x"]',
    "members": """
        3 | [] | {} | {"seeds": [0]} | {"seeds": [], "numbers": {}} | {"seeds": 3, "numbers": {}}
        | {"seeds": [-1], "numbers": {}} | {"seeds": [4294967296], "numbers": {}} | {"seeds": [0.5], "numbers": {}}
        | {"seeds": ["0"], "numbers": {}} | {"seeds": [null], "numbers": {}} | {"seeds": [true], "numbers": {}}
        | {"seeds": [0, 1], "numbers": []} | {"seeds": [0, 1], "numbers": {"lr": [0.1]}}
        | {"seeds": [0, 1], "numbers": {"lr": 0.1}} | {"seeds": [0, 1], "numbers": {"lr": ["a", "b"]}}
        | {"seeds": [0], "numbers": {"lr": [NaN]}} | {"seeds": [0], "numbers": {"lr": [HUGE]}}
        | {"seeds": [0], "numbers": {"batch": [1.0]}} | {"seeds": [0], "numbers": {"zz": [1.0]}}
        | {"seeds": [0], "numbers": {}, "make": "os:system"}
    """,
    "format": 'null | "1" | 2 | [1]',
}


@pytest.mark.parametrize("entry", CONFIGS)
def test_config_json_of_any_kind(tmp_path, entry, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in CONFIGS[entry].replace("HUGE", str(10**400)).split("|"):
        (tmp_path / "config.json").write_text(json.dumps(SOUND | {entry: "HERE"}).replace('"HERE"', value))
        with pytest.raises(UserError) as caught:
            gan_jax.load(tmp_path)
        line = str(caught.value)
        assert "has no checkpoint" not in line and "\n" not in line and len(line) < 600, value
    assert {"experiments.os", "experiments.__init__"}.isdisjoint(sys.modules)
    assert os.listdir() == ["config.json"]


def test_config_json_that_is_none(tmp_path, little):
    path = tmp_path / "config.json"
    for text in (DEEP, '{"format":' + DEEP, '{"a":' * 50_000, "9" * 5000, '{"format": 1e999', "\x00", "NaN", "null"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"config.json (cannot be read|is not of format)"):
            gan_jax.load(tmp_path)
    path.write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(UserError, match=r"config.json cannot be read"):
        gan_jax.load(tmp_path)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"config.json' would fill 1.02e\+03 GiB"):
        gan_jax.load(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"config.json cannot be read .*no plain file"):
        gan_jax.load(tmp_path)
    path.unlink()
    path.write_text(json.dumps(SOUND))
    with pytest.raises(UserError, match="has no checkpoint yet"):
        gan_jax.load(tmp_path)


def test_a_state_too_large_is_refused_before_it_is_allocated(tmp_path, little):
    about = SOUND | {"paper": "wgan_gp:8gaussians", "batch": {"x": [[8, 2], "float32"]}, "config": {"width": 4096}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"The State of {tmp_path} would fill .* GiB, and 0.0625 are allowed"):
        gan_jax.load(tmp_path)


def test_rows_that_are_none(tmp_path, little):
    path = tmp_path / "metrics.jsonl"
    for line in ("3", "[]", "{}", '{"step": "1"}', '{"step": 1, "a": "x"}', '{"step": 1, "a": {}}', '{"step": null}'):
        path.write_text('{"step": 1}\n' + line + "\n")
        with pytest.raises(UserError, match=r"metrics.jsonl: line 2 is .*, no row of numbers with a step"):
            read_rows(tmp_path)
    path.write_text('{"step": 1, "a": NaN, "b": Infinity}\n' + DEEP)
    assert len(read_rows(tmp_path)) == 1
    path.write_text(json.dumps({"step": 1, "a": 10**400}))
    with pytest.raises(UserError, match="line 1"):
        read_rows(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_rows(tmp_path)


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "outside").write_text("kept")
    (tmp_path / "run").mkdir()
    for name in ("metrics.jsonl", "metrics.jsonl.tmp"):
        (tmp_path / "run" / name).symlink_to(tmp_path / "outside")
    write_text(tmp_path / "run" / "metrics.jsonl", "rows")
    assert (tmp_path / "outside").read_text() == "kept" and (tmp_path / "run" / "metrics.jsonl").read_text() == "rows"


LIKE = {"v": jax.ShapeDtypeStruct((3,), jnp.float32), "w": jax.ShapeDtypeStruct((4,), jnp.float32)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    saves = checkpoint.open(folder)
    checkpoint.save(saves, 1, {"v": jnp.zeros(3), "w": jnp.ones(4)}, {"seconds": 1.0})
    checkpoint.close(saves)
    return folder


@pytest.fixture
def spoilt(saved, tmp_path, swept):
    """(change(folder of the step), sealed) -> what `restore` says of a copy so changed: [] if it believes it."""

    def restore(change, sealed):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved, folder)
        (folder / "1" / checkpoint.SEAL).unlink()
        change(folder / "1")
        if sealed:  # whoever makes the files can make the checksums
            checkpoint.close(checkpoint.open(folder))
        try:
            checkpoint.restore(folder, lambda step: LIKE)
        except UserError as error:
            return [str(error).partition(". None is left")[0]]
        return []

    return restore


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["meta/metadata", "state/_METADATA", "state/array_metadatas/process_0"])
def test_a_checkpoint_s_json_of_any_kind(spoilt, name):
    for text in ("[]", "null", "3", DEEP, '{"meta": [], "leaves": []}', '{"meta": {}, "leaves": {"w": [1]}}', "\x00"):
        said = spoilt(lambda folder, text=text: (folder / name).write_text(text), sealed=True)
        assert said or name.startswith("state/array"), text
        assert all(line.startswith("Checkpoint ") and len(line) < 900 for line in said), said


def zarr(**change):
    compressor = {"id": "zstd", "level": 1}
    sound = {"chunks": [4], "compressor": compressor, "dtype": "<f4", "fill_value": None, "filters": None}
    return json.dumps({**sound, "order": "C", "shape": [4], "zarr_format": 2, "dimension_separator": "."} | change)


def zstd(blocks):
    """A frame of so many blocks of 128 KiB zeros, 4 bytes each."""
    block = lambda last: ((2**17 << 3) + 2 + last).to_bytes(3, "little") + b"\0"
    return bytes.fromhex("28b52ffd0058") + block(0) * (blocks - 1) + block(1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "change",
    [
        {"w/.zarray": zarr(shape=[2**40], chunks=[2**40])},
        {"w/.zarray": zarr(chunks=[2**28]), "w/0": zstd(2**13)},
        {"w/.zarray": zarr(dtype="<c8")},
        {"w/0": zstd(2**14)},
        {"w/.zarray": "[]"},
    ],
    ids=["shape", "chunk", "dtype", "2 GiB", "none"],
)
def test_leaves_that_claim_to_be_huge(spoilt, change):
    def put(folder):
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/state/"}).result()
        for name, value in change.items():
            store.write(name, value).result()

    said = spoilt(put, sealed=True)
    assert said and "is damaged (cannot be read: " in said[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_checkpoint_reaches_nothing_outside_of_itself(spoilt, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("kept")
    seal = lambda text: lambda folder: (folder / checkpoint.SEAL).write_text(text)
    assert "../../outside/secret is missing" in spoilt(seal('{"../../outside/secret": "0"}'), sealed=False)[0]
    for text in ("[]", "3", "null", DEEP, '[["a", "b", "c"]]', "\x00"):
        assert spoilt(seal(text), sealed=False), text
    link = lambda folder: (folder / "state" / "d" / "x").symlink_to(tmp_path / "outside" / "secret")
    assert "x is no plain file" in spoilt(link, sealed=False)[0]
    assert "x is no plain file" in spoilt(lambda folder: os.mkfifo(folder / "x"), sealed=False)[0]

    def odd_steps(folder):
        (folder.parent / "7").symlink_to(tmp_path / "outside")
        for name in ("²", "٣", "007", "9" * 100):
            (folder.parent / name).mkdir()
        (folder.parent / "8").touch()

    run = tmp_path / "run"
    assert not spoilt(odd_steps, sealed=False) and checkpoint.latest_step(run) == 1
    (run / "1" / f"{checkpoint.SEAL}.tmp").symlink_to(tmp_path / "outside" / "secret")
    shutil.rmtree(run / "1" / checkpoint.SEAL, ignore_errors=True)
    for name in ("7", "8", "²", "٣", "007", "9" * 100):
        path = run / name
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    checkpoint.close(checkpoint.open(run))
    assert os.listdir(tmp_path / "outside") == ["secret"] and (tmp_path / "outside" / "secret").read_text() == "kept"


def test_a_classifier_of_anything(tmp_path):
    path = tmp_path / "a.npz"
    sizes = {"classes": 10, "height": 8, "width": 8, "channels": 1}
    sound = {"data": "digits", "data_hash": "", "accuracy": 0.9} | sizes
    huge = [sound | {name: n} for name in sizes for n in (10**12, 10**30, -1, 0.5, "x", None, [1])]
    for about in (DEEP, "[]", "3", "{}", *map(json.dumps, huge)):
        np.savez(path, about=about)
        with pytest.raises(UserError, match="is no classifier, or a broken one"):
            classifiers.load(path)
    np.savez(path, about=json.dumps(sound), **{"/".join("a" * 30_000): np.zeros(1)})
    with pytest.raises(UserError, match="is no classifier"):
        classifiers.load(path)
    like = jax.eval_shape(classifiers.Classifier(10).init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    classifiers.save(path, jax.tree.map(lambda x: np.zeros(x.shape, "U1"), like), sound)
    with pytest.raises(UserError, match="is no classifier"):
        classifiers.load(path)
    classifiers.save(path, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like), sound)
    assert classifiers.load(path)[1] == sound


def test_inception_s_weights_do_not_run(tmp_path, monkeypatch, little):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    for content in ({"fc.weight": Bomb(str(tmp_path / "hit"))}, {"fc.weight": torch.zeros(3)}, [1]):
        torch.save(content, path)
        monkeypatch.setattr(inception_v3, "SHA256", inception_v3.hashlib.sha256(path.read_bytes()).hexdigest()[:8])
        with pytest.raises(UserError, match="holds other things than the weights of"):
            inception_v3.load(path)
    assert not (tmp_path / "hit").exists()
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"would fill 1.02e\+03 GiB"):
        inception_v3.load(path)


def test_kept_features_that_are_not_those(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path))
    sound = references.reference({"x": GREY}, "grey", extractors.pixels())
    (kept,) = tmp_path.iterdir()
    for features in (np.zeros((5, 20), np.float32), np.zeros((6, 20), "U1"), np.zeros(6, np.float32), np.array([{}])):
        np.savez(kept, features=features, probabilities=np.zeros(0))
        found = references.reference({"x": GREY}, "grey", extractors.pixels())
        assert np.array_equal(found.real.features, sound.real.features)


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


PACKAGE = Path(gan_jax.__file__).parent
FORBIDDEN = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml", "runpy", "subprocess"}
CALLS = {"eval", "exec", "__import__", "import_module", "exec_module", "system", "popen", "torch.load", "np.load"}
EXCEPTIONS = {("runs/paper.py", "exec_module"), ("metrics/inception_v3.py", "torch.load")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_can_run_what_it_loads(path):
    tree, name = ast.parse(path.read_text()), path.relative_to(PACKAGE).as_posix()
    modules, calls = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            last = called.rpartition(".")[2]
            calls |= {called, last} & CALLS
            for word in node.keywords:
                value = getattr(word.value, "value", None)
                assert word.arg != "allow_pickle" or value is False
                assert word.arg != "weights_only" or value is True
            if called == "torch.load":
                assert "weights_only" in {word.arg for word in node.keywords}
            if last == "read_array":
                assert "allow_pickle" in {word.arg for word in node.keywords}
    assert not modules & FORBIDDEN
    assert {(name, call) for call in calls} <= EXCEPTIONS


def test_papers_are_found_by_the_names_of_their_files_alone():
    known = papers.names()
    assert known and all(re.fullmatch(r"[a-z]\w*", name) for name in known)
    for name in ("../experiments/dcgan", "dcgan/../dcgan", "./dcgan", "dcgan.py", "", "__init__", "results/table"):
        with pytest.raises(UserError, match="There is no paper"):
            papers.paper(name)
