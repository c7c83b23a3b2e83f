"""Every source against the bytes it was written from."""

import gzip
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from pictures import COLOUR, GREY, LABELS, REAL, idx, png, real, tar, write
from PIL import Image
from sklearn.datasets import load_digits

from gan_jax.data import content_hash, load, mirror

rng = np.random.default_rng(0)


def same(data, x, y=None):
    assert data["x"].dtype == np.uint8 and set(data) == ({"x"} if y is None else {"x", "y"})
    np.testing.assert_array_equal(data["x"], x)
    if y is not None:
        assert data["y"].dtype == np.int32
        np.testing.assert_array_equal(data["y"], y)


def test_digits_are_scikit_learn_s():
    found = load_digits()
    data = load("digits")
    same(data, np.rint(found.images[..., None] * 15.9375), found.target)
    assert data["x"].min() == 0 and data["x"].max() == 255


@pytest.mark.parametrize("pack, end", [(bytes, ""), (gzip.compress, ".gz")])
def test_idx_files(tmp_path, pack, end):
    files = {
        "train-images-idx3-ubyte": GREY[..., 0],
        "train-labels-idx1-ubyte": LABELS,
        "t10k-images-idx3-ubyte": GREY[:2, ..., 0],
    }
    write(tmp_path, {name + end: pack(idx(array)) for name, array in files.items()})
    same(load(tmp_path), GREY, LABELS)
    same(load(tmp_path, split="test"), GREY[:2])
    same(load(tmp_path / f"train-images-idx3-ubyte{end}"), GREY, LABELS)


def test_cifar10_s_binary_batches(tmp_path):
    x = rng.integers(0, 256, (6, 32, 32, 3), np.uint8)
    rows = [bytes([y]) + image.transpose(2, 0, 1).tobytes() for image, y in zip(x, LABELS, strict=True)]
    batches = {"data_batch_1.bin": rows[:3], "data_batch_2.bin": rows[3:5], "test_batch.bin": rows[5:]}
    write(tmp_path, {name: b"".join(batch) for name, batch in batches.items()})
    same(load(tmp_path), x[:5], LABELS[:5])
    same(load(tmp_path, split="test"), x[5:], LABELS[5:])


def test_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=COLOUR, labels=LABELS)
    same(load(path), COLOUR, LABELS)
    np.savez(path, x=GREY[..., 0], images=COLOUR, other=COLOUR)
    same(load(path), GREY)
    np.savez(path, faces=COLOUR, mean=COLOUR.mean(), y=LABELS.astype(np.int64))
    same(load(path), COLOUR, LABELS)


def test_arrays_from_python():
    same(load(COLOUR), COLOUR)
    same(load({"x": GREY[..., 0], "y": LABELS}), GREY, LABELS)
    floats = load(np.linspace(-1, 1, 24).reshape(2, 3, 4))["x"]
    assert floats.dtype == np.float32 and floats.shape == (2, 3, 4, 1)
    np.testing.assert_array_equal(floats.ravel(), np.linspace(-1, 1, 24, dtype=np.float32))


def test_a_folder_s_pictures_come_sorted_by_name(tmp_path):
    names = ["b.png", "a.PNG", "c.png", "10.png", "9.png", "Z.png"]
    files = {name: png(image) for name, image in zip(names, COLOUR, strict=True)}
    write(tmp_path, files | {"notes.txt": b"", ".hidden.png": b"", ".cache/x.png": b"no picture"})
    same(load(tmp_path), COLOUR[np.argsort(names)])


def test_jpeg_and_webp_are_what_pil_reads(tmp_path):
    photo = rng.integers(0, 256, (2, 2, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    kinds = {"a.jpg": "jpeg", "b.JPEG": "jpeg", "c.webp": "webp"}
    files = write(tmp_path, {name: png(photo, format=kind) for name, kind in kinds.items()})
    same(load(files), [np.asarray(Image.open(files / name)) for name in kinds])


TREE = {"cats/2.png": 0, "cats/10.png": 0, "apes/sub/1.png": 1, "dogs/1.png": 2, "dogs/2.png": 2, "dogs/3.png": 2}


@pytest.mark.parametrize("end", ["", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2"])
@pytest.mark.parametrize("top", ["", "set/v1/"])
def test_classes_are_the_subfolders_in_folders_and_tars(tmp_path, end, top):
    files = {top + name: png(image) for name, image in zip(TREE, COLOUR, strict=True)}
    source = tar(tmp_path / f"set{end}", files) if end else write(tmp_path / "set", files)
    order = np.argsort(list(TREE))
    same(load(source), COLOUR[order], [0, 1, 1, 2, 2, 2])
    assert content_hash(load(source)) == content_hash({"x": COLOUR[order], "y": np.array([0, 1, 1, 2, 2, 2], np.int32)})


def test_one_folder_is_no_class(tmp_path):
    write(tmp_path, {f"only/{i}.png": png(image) for i, image in enumerate(GREY)})
    same(load(tmp_path), GREY)


@pytest.mark.parametrize("beside", [{}, {"set/preview.png": png(GREY[5])}])
def test_splits_at_the_top_of_a_tree(tmp_path, beside):
    names = ["set/train/a/1.png", "set/train/b/1.png", "set/test/b/1.png", "set/test/a/1.png"]
    source = tar(tmp_path / "set.tar", {name: png(image) for name, image in zip(names, GREY, strict=False)} | beside)
    same(load(source), GREY[:2], [0, 1])
    same(load(source, split="test"), GREY[[3, 2]], [0, 1])


def test_a_class_may_be_called_train(tmp_path):
    write(tmp_path, {f"{name}/1.png": png(image) for name, image in zip(["bus", "train", "car"], GREY, strict=False)})
    same(load(tmp_path), GREY[[0, 2, 1]], [0, 1, 2])


def test_a_tar_s_links_and_climbing_names_are_left_alone(tmp_path):
    path = tar(tmp_path / "a.tar", {"./a.png": png(GREY[0]), "../b.png": png(GREY[1]), "c/../../d.png": png(GREY[2])})
    link = tarfile.TarInfo("e.png")
    link.type, link.linkname = tarfile.SYMTYPE, "a.png"
    with tarfile.open(path, "a") as archive:
        archive.addfile(link)
    same(load(path), GREY[:1])
    assert sorted(os.listdir(tmp_path)) == ["a.tar"]


def test_modes_become_grey_or_colour(tmp_path):
    noise = Image.fromarray(rng.integers(0, 256, (8, 8, 4), np.uint8))
    palette = noise.convert("RGB").quantize(16)
    palette.info["transparency"] = bytes(range(16))
    pictures = {"a": noise, "b": noise.convert("RGB"), "c": palette, "d": noise.convert("LA"), "e": noise.convert("1")}
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")
    x, grey = (load(tmp_path, channels=channels)["x"] for channels in (3, 1))
    np.testing.assert_array_equal(x[1], np.asarray(noise)[..., :3])
    for found, transparent in zip(x[[0, 2, 3]], (noise, palette.convert("RGBA"), noise.convert("LA")), strict=True):
        colour, alpha = np.split(np.asarray(transparent) / 255, [-1], -1)
        shown = 255 * (colour * alpha + (1 - alpha))
        np.testing.assert_allclose(found, shown.repeat(3 // colour.shape[2], 2), atol=1)
    assert set(x[4].ravel()) == {0, 255}
    np.testing.assert_allclose(grey[..., 0], x @ [0.299, 0.587, 0.114], atol=1)  # ITU-R 601


def test_what_is_invisible_is_white_however_a_file_says_so(tmp_path):
    """By alpha, by one transparent colour, by a palette: where a viewer shows its background."""
    red, clear = np.full((4, 4, 4), [255, 0, 0, 255], np.uint8), np.array([9, 8, 7, 0])
    red[0] = clear
    rgb, grey = Image.fromarray(red[..., :3]), Image.fromarray(red[..., 0])
    palette = rgb.quantize(2)
    kinds = {
        "alpha": (Image.fromarray(red), {}),
        "key": (rgb, {"transparency": (9, 8, 7)}),
        "grey": (grey, {"transparency": 9}),
        "palette": (palette, {"transparency": palette.getpixel((0, 0))}),
    }
    for name, (picture, how) in kinds.items():
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "a.png", **how)
        (x,) = load(tmp_path / name)["x"]
        assert (x[0] == 255).all() and (x[1:] == red[1:, :, : x.shape[2]]).all(), name
        assert x.shape[2] == (1 if name == "grey" else 3)


def test_photos_come_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees
    photo = np.zeros((16, 8, 3), np.uint8)
    photo[:8] = 255
    (tmp_path / "a.png").write_bytes(png(photo, exif=exif))
    same(load(tmp_path), np.rot90(photo, -1)[None])


@pytest.mark.parametrize("h, w", [(23, 40), (40, 23), (16, 16), (9, 5), (17, 16), (16, 19)])
def test_size_is_resize_and_centre_crop(h, w):
    ramp = np.add.outer(np.arange(h) * 3, np.arange(w) * 2).astype(np.uint8)
    x = load(ramp[None], size=16)["x"]
    scale = min(h, w) / 16
    centre = lambda side: (np.arange(16) + 0.5 + round((int(side / scale) - 16) / 2)) * side / int(side / scale) - 0.5
    line = np.add.outer(centre(h) * 3, centre(w) * 2)  # a linear ramp stays one under a symmetric filter
    inner = slice(2, -2)
    np.testing.assert_allclose(x[0, inner, inner, 0], line[inner, inner], atol=1.01)


@pytest.mark.reference
def test_size_is_torch_s_antialiased_bilinear():
    torch = pytest.importorskip("torch", reason="compares with PyTorch's interpolate")
    image = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((48, 36)))
    x = torch.tensor(image.transpose(2, 0, 1)[None].astype(np.float32))
    theirs = torch.nn.functional.interpolate(x, (16, 21), mode="bilinear", antialias=True)[0, :, :, 2:18]
    ours = load(image[None], size=16)["x"][0]
    np.testing.assert_allclose(ours, theirs.numpy().transpose(1, 2, 0), atol=1.01)


def test_size_and_channels_are_the_same_for_files_and_arrays(tmp_path):
    write(tmp_path, {f"{i}.png": png(image) for i, image in enumerate(COLOUR)})
    same(load(tmp_path, size=3, channels=1), load(COLOUR, size=3, channels=1)["x"])
    assert load(GREY, size=3, channels=3)["x"].shape == (6, 3, 3, 3)
    assert np.shares_memory(load(GREY, channels=1)["x"], GREY)


def test_mirror_doubles_the_set():
    data = mirror(load({"x": COLOUR, "y": LABELS}))
    same(data, [*COLOUR, *[np.fliplr(image) for image in COLOUR]], [*LABELS, *LABELS])


def test_content_hash_sees_content_only(tmp_path):
    data = load({"x": COLOUR, "y": LABELS})
    assert content_hash(data) == content_hash({"y": data["y"], "x": np.asfortranarray(COLOUR)})
    changed = COLOUR.copy()
    changed[-1, -1, -1, -1] ^= 1
    others = [
        {"x": COLOUR},
        data | {"x": changed},
        data | {"x": COLOUR.reshape(6, 4, 5, 3)},
        data | {"y": data["y"].astype(np.uint32)},
    ]
    hashes = [content_hash(other) for other in [data, *others]]
    assert len(set(hashes)) == 5 and all(len(h) == 16 for h in hashes)


def test_heavy_things_are_imported_when_needed(environment):
    code = "import sys, gan_jax.data; print({'PIL', 'sklearn', 'tensorflow_datasets'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert ran.stdout == b"set()\n"


@real
def test_real_mnist():
    data = load(REAL / "mnist")
    assert data["x"].shape == (60_000, 28, 28, 1)
    assert np.bincount(data["y"]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@real
@pytest.mark.parametrize(
    "split, part",
    [("test", "test"), ("train", "train[:5000]"), pytest.param("train", "train", marks=pytest.mark.slow)],
)
def test_tfds_holds_the_idx_files_examples(split, part):
    rows = lambda data: [x.tobytes() + bytes([y]) for x, y in zip(data["x"], data["y"], strict=True)]
    theirs, ours = rows(load(f"tfds:mnist@{REAL / 'tfds'}", split=part)), rows(load(REAL / "mnist", split=split))
    if part == split:
        assert sorted(theirs) == sorted(ours)
    else:
        assert len(theirs) == 5000 and set(theirs) <= set(ours)


@real
def test_real_photos_in_a_tar():
    path = REAL / "clothing" / "clothing-64.tar"
    data = load(path)
    assert data["x"].shape == (3068, 64, 64, 3) and set(data["y"]) == set(range(10))
    assert load(path, split="validation", size=32, channels=1)["x"].shape == (341, 32, 32, 1)
    with tarfile.open(path) as archive:
        first = min(name for name in archive.getnames() if name.startswith("clothing-64/train/hat/"))
        np.testing.assert_array_equal(data["x"][data["y"] == 1][0], Image.open(archive.extractfile(first)))
