"""Folders and tars of pictures: what is read, what is left out, and that both are said."""

import os

import numpy as np
import pytest
from pictures import COLOUR, GREY, png, refuses, tar, write

from gan_jax.data import load

FILES = [png(image) for image in GREY]


def said(capsys):
    return capsys.readouterr().err.rstrip("\n")


@pytest.mark.parametrize("end", ["", ".tar"])
def test_one_line_says_what_was_read(tmp_path, end, capsys):
    names = ["Train/cats/1.png", "Train/dogs/1.png", "Train/dogs/2.png", "Test/cats/1.png", "Test/dogs/1.png"]
    files = dict(zip(names, FILES, strict=False)) | {"Train/cats/3.bmp": b"", "Train/about.txt": b"", "readme": b""}
    source = tar(tmp_path / "set.tar", files) if end else write(tmp_path / "set", files)
    found = load(source)
    np.testing.assert_array_equal(found["x"], GREY[:3])
    np.testing.assert_array_equal(found["y"], [0, 1, 1])
    line = said(capsys)
    assert line.startswith(f"'{source}': 3 pictures in 2 classes (cats, dogs), of the split Train; left out: ")
    assert all(words in line for words in ("2 pictures in Test", "1 .bmp", "1 .txt", "1 without ending"))
    np.testing.assert_array_equal(load(source, split="test")["x"], GREY[3:5])


def test_a_flat_folder_and_many_classes(tmp_path, capsys):
    load(write(tmp_path / "flat", {"a.png": FILES[0], "b.png": FILES[1]}))
    assert said(capsys) == f"'{tmp_path}/flat': 2 pictures."
    load(write(tmp_path / "many", {f"{i:02}/a.png": FILES[0] for i in range(30)}))
    assert said(capsys).endswith("30 pictures in 30 classes (00, 01, 02, 03, 04, 05, 06, 07, 08, …, 29).")


@pytest.mark.parametrize(
    "folders, asked",
    [
        (("TRAIN", "TEST"), {"train": 0, "test": 1, "TRAIN": 0}),
        (("training", "testing"), {"train": 0, "test": 1, "testing": 1}),
        (("train", "Valid", "test"), {"train": 0, "val": 1, "validation": 1, "dev": 1, "test": 2}),
        (("val", "validation", "test"), {"val": 0, "validation": 1}),
        (("TrainA", "trainB"), {"trainA": 0, "trainB": 1}),
    ],
)
def test_the_usual_names_of_splits_in_any_case(tmp_path, folders, asked):
    source = write(tmp_path, {f"{name}/1.png": FILES[i] for i, name in enumerate(folders)})
    for split, i in asked.items():
        np.testing.assert_array_equal(load(source, split=split)["x"], GREY[i : i + 1])


def test_splits_that_are_not_there_or_not_one(tmp_path):
    source = write(tmp_path / "a", {"Train/1.png": FILES[0], "Test/1.png": FILES[1]})
    refuses(source, f"'{source}' has no split 'val', only Test, Train.", split="val")
    source = write(tmp_path / "b", {"val/1.png": FILES[0], "validation/1.png": FILES[1]})
    refuses(source, f"'{source}' has the splits val and validation: name one of them.", split="dev")


def test_linked_folders_are_followed_once(tmp_path, capsys):
    """Classes that are links, a link to a class beside it, links that lead in circles and out at the top."""
    write(tmp_path / "store", {"n1/1.png": FILES[0], "n1/2.png": FILES[1], "n2/deep/1.png": FILES[2]})
    write(tmp_path / "set", {"zebras/1.png": FILES[3]})
    for name, target in {
        "cats": "store/n1",
        "dogs": "store/n2",
        "aliens": "set/zebras",
        "zebras/up": "set",
        "top": "",
        "gone": "none",
    }.items():
        (tmp_path / "set" / name).symlink_to(tmp_path / target)
    (tmp_path / "store" / "n2" / "back").symlink_to(tmp_path / "store" / "n1")
    found = load(tmp_path / "set")
    np.testing.assert_array_equal(found["x"], GREY[:4])
    np.testing.assert_array_equal(found["y"], [0, 0, 1, 2])
    assert "(cats, dogs, zebras); left out: 4 linked folders that are read already, 1 without ending." in said(capsys)


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    """As the system says it, even to root, who may read anything."""
    write(tmp_path, {"a/1.png": FILES[0], "b/1.png": FILES[1]})
    scan = os.scandir

    def forbid(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", forbid)
    refuses(tmp_path, f"'{tmp_path}/b' cannot be read (Permission denied): make it readable.")


KINDS = {
    "a GIF": png(COLOUR[0], format="gif"),
    "a BMP": png(COLOUR[0], format="bmp"),
    "a TIFF": png(COLOUR[0], format="tiff"),
    "a PDF": b"%PDF-1.7\n",
    "an HTML page": b"\xef\xbb\xbf\n<!DOCTYPE html><html>",
    "an SVG": b"<svg xmlns=''>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
    "an AVIF or HEIC": bytes(4) + b"ftypavif" + bytes(9),
    "a zip": b"PK\x03\x04" + bytes(30),
}


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_under_the_name_of_a_picture_a_tar_or_an_npz(tmp_path, kind):
    write(tmp_path, {"set/a.jpg": KINDS[kind], "a.tar": KINDS[kind], "a.npz": KINDS[kind], "a.xyz": KINDS[kind]})
    refuses(tmp_path / "set", f"'a.jpg' in '{tmp_path}/set' is {kind} under another name: convert it to PNG, or remove")
    refuses(tmp_path / "a.tar", f"'{tmp_path}/a.tar' is {kind}, no tar: give another file.")
    words = "is truncated, corrupt or holds Python" if kind == "a zip" else f"is {kind}, no .npz: give another file."
    refuses(tmp_path / "a.npz", f"'{tmp_path}/a.npz' {words}")
    refuses(tmp_path / "a.xyz", f"'{tmp_path}/a.xyz' is {kind}: give a folder of pictures")


def test_home_is_expanded_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, {"set/a.png": FILES[0]})
    np.testing.assert_array_equal(load("~/set")["x"], GREY[:1])
    refuses("~/none", "'~/none' is neither a path nor a built-in set")
    refuses("~nobody-of-that-name/set", "starts with a home folder that is not known: give the whole path.")
