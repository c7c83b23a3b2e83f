"""Pictures one by one: all of them are looked at before the caller has to write anything."""

import re

import numpy as np
import pytest
from pictures import png, tar, write

from gan_jax.data import one_by_one
from gan_jax.errors import UserError

rng = np.random.default_rng(0)
SHAPES = {"b.png": (3, 4), "sub/a.png": (5, 6), "c.JPG": (7, 8)}
PICTURES = {name: rng.integers(0, 256, (*shape, 3), np.uint8) for name, shape in SHAPES.items()}
FILES = {name: png(x) for name, x in PICTURES.items()}


def refuses(source, words):
    with pytest.raises(UserError, match=re.escape(words)):
        one_by_one(source, None)


def test_each_has_its_own_size(tmp_path):
    where = write(tmp_path / "in", FILES | {"notes.txt": b"no picture"})
    for source in (where, tar(tmp_path / "in.tar", FILES)):
        found = one_by_one(source, None)
        assert [name for name, _, _ in found] == sorted(SHAPES)
        for name, shape, read in found:
            assert shape == PICTURES[name].shape
            np.testing.assert_array_equal(read(), PICTURES[name])
    ((name, shape, read),) = one_by_one(str(where / "b.png"), 1)
    assert name == "b.png" and shape == read().shape == (3, 4, 1)
    outside = tar(tmp_path / "outside.tar", {"../evil.png": FILES["b.png"], "/abs/a.png": FILES["b.png"]})
    assert [name for name, _, _ in one_by_one(outside, None)] == ["abs/a.png"]  # no name leads out of a folder


def test_a_picture_of_any_name(tmp_path):
    """By its first bytes where its ending says nothing; what is no picture is called by its name."""
    write(tmp_path, {"photo": FILES["b.png"], "a.bmp": png(PICTURES["b.png"], format="bmp"), "b.txt": b"text"})
    assert one_by_one(tmp_path / "photo", None)[0].shape == (3, 4, 3)
    refuses(tmp_path / "a.bmp", f"'{tmp_path}/a.bmp' is a BMP: give a picture (.png, .jpg, .jpeg, .webp), a folder")
    refuses(tmp_path / "b.txt", f"'{tmp_path}/b.txt' is of no kind known here: give a picture")
    refuses(tmp_path / "none", "does not exist: give a folder, a tar or a picture")
    refuses(write(tmp_path / "empty", {"x.txt": b""}), "no pictures in it (.png, .jpg, .jpeg, .webp), only 1 .txt")


def test_all_are_checked_before_the_first_is_handed_out(tmp_path):
    where = write(tmp_path, FILES | {"z.png": FILES["b.png"][:40], "y.png": b"GIF89a" + bytes(20)})
    refuses(
        where,
        f"'y.png' in '{where}' is a GIF under another name: convert it to PNG, or remove it. 1 more cannot be read.",
    )


def test_names_that_would_become_one(tmp_path):
    where = write(tmp_path, FILES | {"b.jpg": FILES["b.png"]})
    refuses(where, f"'b.jpg' and 'b.png' in '{where}' differ only in their ending: rename one of them.")
