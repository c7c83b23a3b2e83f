"""Hostile checkpoints: refused in one line, at no cost."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import pytest
import tensorstore

from gan_jax.errors import UserError
from gan_jax.training import checkpoint

pytestmark = pytest.mark.usefixtures("alarm")

DEEP = "[" * 100_000


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
        if sealed:  # an attacker can write the checksums too
            checkpoint.close(checkpoint.open(folder))
        try:
            checkpoint.restore(folder, lambda step: LIKE)
        except UserError as error:
            return [str(error).partition(". No intact checkpoint is left")[0]]
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
    assert "x is not a regular file" in spoilt(link, sealed=False)[0]
    assert "x is not a regular file" in spoilt(lambda folder: os.mkfifo(folder / "x"), sealed=False)[0]

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
