"""gan_jax/viz.py: the pixels are the images', and the files open."""

import json

import numpy as np
import pytest
from PIL import Image

from gan_jax import viz
from gan_jax.errors import UserError


def test_a_grid_holds_every_pixel_enlarged_by_a_whole_factor():
    x = np.random.default_rng(0).integers(0, 256, (7, 8, 6, 3)).astype(np.uint8)
    page = viz.grid(x, columns=4)
    zoom = 11  # 4 columns of 6 pixels, enlarged to at least 256
    assert page.shape == (2 * (8 * zoom + 2) + 2, 4 * (6 * zoom + 2) + 2, 3)
    for i in range(7):
        row, column = divmod(i, 4)
        top, left = row * (8 * zoom + 2) + 2, column * (6 * zoom + 2) + 2
        tile = page[top : top + 8 * zoom, left : left + 6 * zoom]
        np.testing.assert_array_equal(tile, np.kron(x[i], np.ones((zoom, zoom, 1), np.uint8)))
        page[top : top + 8 * zoom, left : left + 6 * zoom] = viz.GREY
    assert (page == viz.GREY).all()  # nothing else is there: gaps and the empty place


@pytest.mark.parametrize(
    ("n", "size", "side"), [(64, 8, 8 * 34 + 2), (64, 28, 8 * 58 + 2), (64, 64, 8 * 66 + 2), (1, 8, 260)]
)
def test_a_square_grid_is_wide_enough_to_see(n, size, side):
    assert viz.grid(np.zeros((n, size, size, 1), np.uint8)).shape == (side, side, 1)


def test_floats_cover_the_bytes():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(viz.grid((ramp / 127.5 - 1).astype(dtype)), viz.grid(ramp))
    beyond = np.array([-3.0, -1.0, 0.0, 1.0, 3.0]).reshape(1, 1, 5, 1)
    assert sorted(set(viz.grid(beyond)[2:-2, 2:-2].ravel().tolist())) == [0, 128, 255]


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 8, 2), (0, 8, 8, 1), (5, 2)])
def test_what_is_no_image_is_said(shape):
    with pytest.raises(UserError, match=r"images \[n, h, w, 1 or 3\]"):
        viz.grid(np.zeros(shape, np.float32))
    with pytest.raises(UserError, match="not finite"):
        viz.grid(np.full((1, 2, 2, 1), np.nan))


@pytest.mark.parametrize(("c", "mode"), [(1, "L"), (3, "RGB")])
def test_a_png_is_lossless_and_alone(tmp_path, c, mode):
    picture = np.random.default_rng(1).integers(0, 256, (9, 7, c)).astype(np.uint8)
    viz.save_png(tmp_path / "new" / "x.png", picture)
    with Image.open(tmp_path / "new" / "x.png") as found:
        assert found.mode == mode
        np.testing.assert_array_equal(np.asarray(found).reshape(picture.shape), picture)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.png"]
    with pytest.raises(UserError, match=r"y.png cannot be written \(.*\); choose"):
        viz.save_png(tmp_path / "new" / "x.png" / "y.png", picture)


@pytest.mark.parametrize(("n", "frames"), [(1, 1), (5, 5), (150, 60)])
def test_a_film_runs_from_the_first_picture_to_the_last(tmp_path, n, frames):
    pictures = [tmp_path / f"{i}.png" for i in range(n)]
    for i, path in enumerate(pictures):  # the first is smaller, as where images grow
        viz.save_png(path, np.full((4 if i == 0 else 8,) * 2 + (1,), i, np.uint8))
    viz.gif(pictures, tmp_path / "film.gif", ms=40)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == frames and film.size == ((4, 4) if n == 1 else (8, 8))
        seen = []
        for i in range(frames):
            film.seek(i)
            seen.append(film.convert("L").getpixel((3, 3)))
        assert seen[0] == 0 and seen[-1] == n - 1 and film.info["duration"] == 400
        steps = np.diff(seen)
        assert frames == 1 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)
    with pytest.raises(UserError, match="no pictures"):
        viz.gif([], tmp_path / "none.gif")


def rows(n: int) -> list[dict]:
    row = lambda t: {"step": 100 * t, "seconds": t, "images_per_second": 9.0, "epoch": t / 7, "loss/G": 1 / (t + 1)}
    more = {"loss/D": 1.4, "D(x)": 0.7, "D(G(z)) before": 0.2, "D(G(z)) after": 0.3, "grad/G": 0.1, "grad/D": 2.0}
    return [row(t) | more for t in range(n)]


@pytest.mark.parametrize("n", [1, 40])
def test_curves(tmp_path, n):
    new = [row | {"moved/G": 1.0, "fid": float("nan")} for row in rows(n)[n // 2 :]]  # begins midway
    viz.curves(json.loads(json.dumps(rows(n)[: n // 2] + new)), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as found:
        assert found.width >= 800 and found.height > 1000
        assert len(set(np.asarray(found.convert("RGB")).reshape(-1, 3)[::7].view("u1,u1,u1").ravel().tolist())) > 4
    viz.curves([{"step": t, "lr/G": 0.0} for t in range(3)], tmp_path / "frozen.png")  # a logarithm would warn
    with pytest.raises(UserError, match="no metrics"):
        viz.curves([{"step": 0}], tmp_path / "none.png")


def coloured(path):
    """Where a picture is neither white, grey nor black: rows and columns, and the colours there."""
    with Image.open(path) as found:
        pixels = np.asarray(found.convert("RGB")).astype(int)
    places = np.nonzero(np.ptp(pixels, axis=2) > 40)
    return *places, pixels[places]


def test_a_spectrum(tmp_path):
    viz.spectrum({0: np.array([1.0, -1.0])}, tmp_path / "one.png")  # real, and of one step
    rows, columns, _ = coloured(tmp_path / "one.png")
    assert np.ptp(rows) < 12 and np.ptp(columns) > 400  # two dots, side by side
    assert abs((columns > columns.mean()).mean() - 0.5) < 0.05
    viz.spectrum({t: np.array([1 + 1j, 1 - 1j]) * (t + 1) for t in (5, 1, 3)}, tmp_path / "spectrum.png")
    rows, columns, colours = coloured(tmp_path / "spectrum.png")
    first = columns < columns.min() + 20
    assert 20 < np.ptp(rows[first]) < np.ptp(rows) / 2  # nearest the axes
    assert colours[first].mean(axis=0)[2] > colours[first].mean(axis=0)[1] + 30  # viridis begins with violet
    with pytest.raises(UserError, match=r"nothing to make .*none\.png"):
        viz.spectrum({}, tmp_path / "none.png")
    assert {p.name for p in tmp_path.iterdir()} == {"spectrum.png", "one.png"}


def test_singular_values(tmp_path):
    row = lambda t: {"D/Dense_0/kernel": np.linspace(1, 0, 6), f"G/{t}/kernel": (t + 1) * np.linspace(2, 1, 16)}
    viz.singular_values({10 * t: row(min(t, 3)) for t in range(6)}, tmp_path / "many.png")  # layers come and go
    viz.singular_values({0: {"D": np.array([3.0])}}, tmp_path / "one.png")
    rows, columns, _ = coloured(tmp_path / "one.png")
    assert np.ptp(rows) < 8 and np.ptp(columns) < 8
    with Image.open(tmp_path / "many.png") as many, Image.open(tmp_path / "one.png") as one:
        assert many.width > one.width and many.height > one.height  # five panels, and one
    with pytest.raises(UserError, match="nothing to make"):
        viz.singular_values({0: {}}, tmp_path / "none.png")
