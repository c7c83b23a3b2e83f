"""Small pictures, the files that hold them, and what `load` says of bad ones."""

import io
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax.data import load
from gan_jax.errors import UserError

rng = np.random.default_rng(0)
GREY = rng.integers(0, 256, (6, 5, 4, 1), np.uint8)
COLOUR = rng.integers(0, 256, (6, 5, 4, 3), np.uint8)
LABELS = np.array([3, 0, 1, 1, 2, 0], np.uint8)


def png(pixels, **how):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, how.pop("format", "png"), **how)
    return file.getvalue()


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tar(path, files):
    with tarfile.open(path, "w" + {".tar": ""}.get(path.suffix, f":{path.suffix[1:]}")) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


real = pytest.mark.skipif("GAN_JAX_DATA" not in os.environ, reason="set GAN_JAX_DATA to the folder of real data sets")
REAL = Path(os.environ.get("GAN_JAX_DATA", "."))


def refuses(source, words, **how):
    """`load` raises one line that has these words in it and ends with what to do."""
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        load(source, **how)
    line = str(caught.value)
    assert "\n" not in line and line[-1] in ".?"
