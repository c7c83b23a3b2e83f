"""Hostile tars, and what a bomb costs: refused in one line, with bounded memory."""

import gzip
import os
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from pictures import COLOUR, GREY, png, refuses, write
from test_hostile_files import ZEROS, header, npy, picture

from gan_jax import data

pytestmark = pytest.mark.usefixtures("alarm")


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
