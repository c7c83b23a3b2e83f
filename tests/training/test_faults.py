"""A run that is hard to kill: benchmarks/faults.py in small, locks, full disks, data that is lost."""

import errno
import json
import os
import shutil
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from toy import GAME, POINTS, bits

import gan_jax
from benchmarks.faults import Training, inject, totals
from benchmarks.kill_and_resume import compare
from gan_jax.errors import UserError
from gan_jax.runs.folder import open_folder, read_rows
from gan_jax.training import checkpoint, feeds

pytestmark = pytest.mark.usefixtures("no_curves")

train = partial(gan_jax.train, batch=8, log_every=5, checkpoint_every=10, progress=False)
opened = lambda folder, **config: open_folder(folder, {"paper": "", "data": "", "batch": {}, "config": config})

HOW = {"steps": 800, "batch": 8, "log_every": 10, "checkpoint_every": 40, "dispatch": 5}
RUN = f"""
import sys, toy, gan_jax
from gan_jax.cli.flags import one_line_errors
with one_line_errors():
    gan_jax.train(toy.GAME, toy.POINTS, run=sys.argv[1], **{HOW})
"""


def test_faults_one_after_another(tmp_path, environment):
    straight, faults = tmp_path / "straight", ["SIGKILL", "truncated", "two processes"]
    gan_jax.train(GAME, POINTS, run=straight, progress=False, **HOW)
    run = Training(tmp_path / "run", tmp_path, lambda folder: [sys.executable, "-c", RUN, str(folder)], environment)
    found = inject(faults, [120, 260, 400], run, straight, game=GAME)
    assert [fell["survived"] for fell in found["repetitions"]] == [True] * 3, found
    killed, stopped, locked = found["repetitions"]
    assert killed["last row"] >= 120 and killed["lost rounds"] > 0
    assert stopped["gone on from"] % 40 == 0 and stopped["gone on from"] < stopped["checkpoint"]
    assert f"using step {stopped['gone on from']} instead" in stopped["said"]
    assert locked["second said"].startswith("error: run is in use by process PID on HOST: wait until")
    assert totals(found["repetitions"])["survived"] == 3 and found["in the end"]["metrics"] == 80 * 11


def test_what_did_not_survive_is_not_counted(tmp_path):
    one, other = (train(GAME, POINTS, steps=10, run=tmp_path / name, seed=seed) for seed, name in enumerate("ab"))
    found = compare(one.folder, other.folder, GAME)
    assert len(found["leaves that differ"]) > 10 and "loss/G in row 5" in found["metrics that differ"]


def test_a_folder_is_trained_by_one_at_a_time(tmp_path):
    refused = []

    def once_more(run, step):
        with pytest.raises(UserError, match=r"run is in use by process \d+ on .*: wait until it has ended, or give"):
            train(GAME, POINTS, steps=10, run=tmp_path / "run")
        refused.append(step)
        assert int(gan_jax.load(tmp_path / "run", GAME).state.step) == 10  # to read takes no lock

    train(GAME, POINTS, steps=10, run=tmp_path / "run")
    train(GAME, POINTS, steps=15, run=tmp_path / "run", callbacks=[(15, once_more)])
    assert refused == [15]
    assert int(train(GAME, POINTS, steps=16, run=tmp_path / "run").state.step) == 16


def test_of_many_starts_at_one_moment_one_goes_on(tmp_path):
    start, refused, kept = threading.Barrier(8), threading.Barrier(8), []

    def contend(i):
        start.wait()
        try:
            with opened(tmp_path / "run", lr=i):
                refused.wait(10)
                kept.append(i)
        except UserError as error:
            assert "is in use by" in str(error)
            refused.wait(10)

    threads = [threading.Thread(target=contend, args=(i,)) for i in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(kept) == 1 and json.loads((tmp_path / "run" / "config.json").read_text())["config"]["lr"] == kept[0]


def test_what_is_no_run_gets_no_lock(tmp_path):
    for name, text in {"notes.txt": "", "config.json": '{"model": "of another tool"}'}.items():
        folder = tmp_path / name[:3]
        folder.mkdir()
        (folder / name).write_text(text)
        with (
            pytest.raises(UserError, match=r"holds no run|is not of format"),
            opened(folder),
        ):
            pass
        assert [path.name for path in folder.iterdir()] == [name]
    for name in ("lock", "config.json.tmp"):  # left by a start that was killed
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("{")
        with opened(tmp_path / name):
            assert json.loads((tmp_path / name / "config.json").read_text())["format"] == 1


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """25 rounds without a fault."""
    return train(GAME, POINTS, steps=25, run=tmp_path_factory.mktemp("straight"))


def goes_on(folder, straight):
    """Started again, it ends as if nothing had been."""
    run = train(GAME, POINTS, steps=25, run=folder)
    assert bits(run.state) == bits(straight.state)
    assert compare(folder, straight.folder, GAME)["metrics that differ"] == []


FULL = Path("/dev/full")
needs_it = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


@pytest.fixture
def fill(monkeypatch):
    """Has the disk be full for whoever writes a file of that name."""

    def refuse(name):
        opened = Path.open

        def on_a_full_disk(self, mode="r", *args, **how):
            if self.name == name and not mode.startswith("r"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return opened(self, mode, *args, **how)

        monkeypatch.setattr(Path, "open", on_a_full_disk)

    return refuse


@pytest.mark.parametrize("name", ["metrics.jsonl", "sha256.json.tmp"])
def test_a_full_disk_stops_the_run_and_keeps_its_checkpoint(tmp_path, straight, fill, monkeypatch, name):
    said = rf"{name.removesuffix('.tmp')} cannot be written \(No space left on device\): .* continues from its last"
    with pytest.raises(UserError, match=said):
        train(
            GAME,
            POINTS,
            steps=25,
            run=tmp_path / "run",
            checkpoint_every=7,
            callbacks=[(8, lambda run, step: fill(name))],
        )
    assert int(gan_jax.load(tmp_path / "run", GAME).state.step) in (7, 14)
    monkeypatch.undo()
    goes_on(tmp_path / "run", straight)


def test_a_start_on_a_full_disk_may_be_made_again(tmp_path, fill, monkeypatch):
    fill("config.json.tmp")
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\): give another --run"):
        train(GAME, POINTS, steps=5, run=tmp_path)
    monkeypatch.undo()
    assert int(train(GAME, POINTS, steps=5, run=tmp_path).state.step) == 5


@needs_it
def test_a_picture_on_a_full_disk(shell):
    words = ("mlp.py", "small", "--log-every", 2, "--sample-every", 3, "--checkpoint-every", 2, "--run", "run")
    assert shell(*words, "--steps", 2)[0] == 0
    draft = Path("run/samples/3.png.tmp")
    draft.symlink_to(FULL)
    code, _, err = shell(*words, "--steps", 6)
    last = err.splitlines()[-1]
    assert code == 2 and "3.png cannot be written (No space left on device)" in last
    assert last.endswith("Started again, the run continues from its last checkpoint.")
    draft.unlink()
    assert shell(*words, "--steps", 6)[0] == 0 and Path("run/samples/6.png").exists()


def test_a_checkpoint_that_would_not_fit_is_not_begun(tmp_path, monkeypatch, straight):
    usage = shutil.disk_usage(tmp_path)
    free = iter([usage.free, 10**6])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(free)))
    with pytest.raises(
        UserError, match=r"A checkpoint needs 1.1 MB in .*, where 1.0 MB are left: free some space and start"
    ):
        train(GAME, POINTS, steps=25, run=tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["10"]
    monkeypatch.undo()
    goes_on(tmp_path, straight)


def test_damaged_checkpoints_are_not_kept_in_place_of_sound_ones(tmp_path, straight):
    train(GAME, POINTS, steps=10, run=tmp_path)
    for steps in (12, 13, 14):  # each goes on from 10
        train(GAME, POINTS, steps=steps, run=tmp_path)
        (tmp_path / "checkpoints" / str(steps) / "meta" / "metadata").write_text("{}")
    goes_on(tmp_path, straight)


@pytest.mark.parametrize("dispatch, saved", [(1, 7), (4, 5)])
def test_a_data_file_that_disappears(tmp_path, monkeypatch, straight, dispatch, saved):
    read = feeds.streams

    def lost(seed, first, count, *rest):
        if first + count > 7 * GAME.slices * 8:
            raise UserError("x/7.png is gone: put it back and start again.")
        return read(seed, first, count, *rest)

    monkeypatch.setattr(feeds, "streams", lost)
    for _ in range(2):  # the second finds it gone before its first round
        with pytest.raises(UserError, match=r"^x/7.png is gone: put it back and start again.$"):
            train(GAME, POINTS, steps=25, run=tmp_path, dispatch=dispatch)
        assert checkpoint.latest_step(tmp_path / "checkpoints") == saved
        assert [row["step"] for row in read_rows(tmp_path)] == [5]
    monkeypatch.undo()
    train(GAME, POINTS, steps=25, run=tmp_path, dispatch=dispatch)
    assert compare(tmp_path, train(GAME, POINTS, steps=25, run=tmp_path / "s", dispatch=dispatch).folder, GAME) == {
        "leaves": len(bits(straight.state)),
        "leaves that differ": [],
        "metrics": 5 * 11,
        "metrics that differ": [],
    }
