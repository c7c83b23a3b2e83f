"""gan_jax/show: the pixels are those of the images, and the files open."""

import json

import numpy as np
import pytest
from PIL import Image

from gan_jax import show
from gan_jax.errors import UserError
from gan_jax.show.clouds import DOT, SIDE
from gan_jax.show.grids import GREY


def test_a_grid_holds_every_pixel_enlarged_by_a_whole_factor():
    x = np.random.default_rng(0).integers(0, 256, (7, 8, 6, 3)).astype(np.uint8)
    page = show.grid(x, columns=4)
    zoom = 11  # 4 columns of 6 pixels, enlarged to at least 256
    assert page.shape == (2 * (8 * zoom + 2) + 2, 4 * (6 * zoom + 2) + 2, 3)
    for i in range(7):
        row, column = divmod(i, 4)
        top, left = row * (8 * zoom + 2) + 2, column * (6 * zoom + 2) + 2
        tile = page[top : top + 8 * zoom, left : left + 6 * zoom]
        np.testing.assert_array_equal(tile, np.kron(x[i], np.ones((zoom, zoom, 1), np.uint8)))
        page[top : top + 8 * zoom, left : left + 6 * zoom] = GREY
    assert (page == GREY).all()  # nothing else is there: gaps and the empty place


@pytest.mark.parametrize(
    ("n", "size", "side"), [(64, 8, 8 * 34 + 2), (64, 28, 8 * 58 + 2), (64, 64, 8 * 66 + 2), (1, 8, 260)]
)
def test_a_square_grid_is_wide_enough_to_see(n, size, side):
    assert show.grid(np.zeros((n, size, size, 1), np.uint8)).shape == (side, side, 1)


def test_floats_cover_the_bytes():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(show.grid((ramp / 127.5 - 1).astype(dtype)), show.grid(ramp))
    beyond = np.array([-3.0, -1.0, 0.0, 1.0, 3.0]).reshape(1, 1, 5, 1)
    assert sorted(set(show.grid(beyond)[2:-2, 2:-2].ravel().tolist())) == [0, 128, 255]


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 8, 2), (0, 8, 8, 1), (5, 2)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(UserError, match=r"images \[n, h, w, 1 or 3\]"):
        show.grid(np.zeros(shape, np.float32))
    with pytest.raises(UserError, match="not finite"):
        show.grid(np.full((1, 2, 2, 1), np.nan))


def at(picture, x, y):
    """The pixel of a point in a frame of real points from -1 to 1, which take the middle 7/8 of it."""
    return picture[at_row(y), at_column(x)].tolist()


def at_column(x):
    return int((x * 7 / 16 + 0.5) * SIDE)


def at_row(y):
    return SIDE - 1 - at_column(y)


CORNERS = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])


def test_points_are_where_they_are_and_real_ones_behind_them():
    picture = show.scatter(np.array([[0.5, 0.25], [0.5, 0.25], [-0.5, 0], [1, 1], [7, 0], [0, -1.2]]), CORNERS)
    assert picture.shape == (SIDE, SIDE, 3) and picture.dtype == np.uint8
    white, real, once = [255] * 3, at(picture, -1, -1), at(picture, -0.5, 0)
    twice, both = at(picture, 0.5, 0.25), at(picture, 1, 1)
    assert at(picture, 0.5, -0.25) == at(picture, 0.25, 0.5) == white
    assert (
        real == at(picture, 1, -1) == at(picture, -1, 1)
        and sum(real) > sum(once) > sum(both)
        and max(twice) < max(once)
    )
    drawn = (picture != 255).any(2).sum()
    assert drawn == 6 * DOT**2  # four corners and two places within; what lies outside is left out
    np.testing.assert_array_equal(np.argwhere((picture == twice).all(2)).mean(0), [at_row(0.25), at_column(0.5)])


def test_the_frame_is_that_of_the_real_points_or_of_the_samples_own():
    rng = np.random.default_rng(0)
    real, first, second = rng.normal(size=(50, 2)), rng.normal(size=(9, 2)), 100 + rng.normal(size=(9, 2))
    behind = show.scatter(second, real)  # all samples lie outside
    seen = (show.scatter(first, real) != behind).any(2)
    assert 0 < seen.sum() <= 9 * DOT**2
    np.testing.assert_array_equal(show.scatter(3 * first - 5), show.scatter(first))
    drawn = np.argwhere((show.scatter(first) != 255).any(2))
    assert abs(drawn.min(0) - SIDE / 16).max() <= 2 and abs(drawn.max(0) - SIDE * 15 / 16).max() <= 2
    assert (show.scatter(np.ones((4, 2)))[SIDE // 2, SIDE // 2] < 100).any()  # a collapsed generator's


def test_points_of_many_dimensions_are_seen_along_the_principal_axes_of_the_real_ones():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 3, 500)
    real = rng.normal(size=(500, 40)) + 30 * level[:, None]
    marked = (show.scatter(real[:1], real) != show.scatter(real[:1] + 1e6, real)).any(2)
    assert marked.sum() <= DOT**2
    columns = (show.scatter(real) != 255).any((0, 2))
    runs = np.flatnonzero(np.diff(np.concatenate([[0], columns, [0]])))
    gaps = runs[2::2] - runs[1:-1:2]
    assert (gaps > SIDE / 4).sum() == 2  # three upright stripes, one a level
    assert (show.scatter(real[:1]) != 255).any(2).sum() == DOT**2


def test_points_of_one_dimension_lie_on_a_line():
    drawn = np.argwhere((show.scatter(np.linspace(-1, 1, 9)[:, None]) != 255).any(2))
    assert np.ptp(drawn[:, 0]) < DOT and np.ptp(drawn[:, 1]) > 3 / 4 * SIDE


@pytest.mark.parametrize(
    "points, real, words",
    [
        (np.zeros((5, 2, 2)), None, r"points \[n, d\]; these have shape \[5, 2, 2\]"),
        (np.zeros((0, 2)), None, r"shape \[0, 2\]"),
        (np.zeros((5, 2)), np.zeros((5, 3)), r"shape \[5, 2\] and \[5, 3\]"),
        (np.full((5, 2), np.nan), np.zeros((5, 2)), "not finite"),
    ],
)
def test_what_is_no_point_is_refused(points, real, words):
    with pytest.raises(UserError, match=words):
        show.scatter(points, real)


@pytest.mark.parametrize(("c", "mode"), [(1, "L"), (3, "RGB")])
def test_a_png_is_lossless_and_alone(tmp_path, c, mode):
    picture = np.random.default_rng(1).integers(0, 256, (9, 7, c)).astype(np.uint8)
    show.save_png(tmp_path / "new" / "x.png", picture)
    with Image.open(tmp_path / "new" / "x.png") as found:
        assert found.mode == mode
        np.testing.assert_array_equal(np.asarray(found).reshape(picture.shape), picture)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.png"]
    with pytest.raises(UserError, match=r"y.png cannot be written \(.*\); choose"):
        show.save_png(tmp_path / "new" / "x.png" / "y.png", picture)


@pytest.mark.parametrize(("n", "frames"), [(1, 1), (5, 5), (150, 60)])
def test_a_film_runs_from_the_first_picture_to_the_last(tmp_path, n, frames):
    pictures = [tmp_path / f"{i}.png" for i in range(n)]
    for i, path in enumerate(pictures):  # the first is smaller, as where images grow
        show.save_png(path, np.full((4 if i == 0 else 8,) * 2 + (1,), i, np.uint8))
    show.gif(pictures, tmp_path / "film.gif", ms=40)
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
        show.gif([], tmp_path / "none.gif")


def rows(n: int) -> list[dict]:
    row = lambda t: {"step": 100 * t, "seconds": t, "images_per_second": 9.0, "epoch": t / 7, "loss/G": 1 / (t + 1)}
    more = {"loss/D": 1.4, "D(x)": 0.7, "D(G(z)) before": 0.2, "D(G(z)) after": 0.3, "grad/G": 0.1, "grad/D": 2.0}
    return [row(t) | more for t in range(n)]


@pytest.mark.parametrize("n", [1, 40])
def test_curves(tmp_path, n):
    new = [row | {"moved/G": 1.0, "fid": float("nan")} for row in rows(n)[n // 2 :]]  # begins midway
    show.curves(json.loads(json.dumps(rows(n)[: n // 2] + new)), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as found:
        assert found.width >= 800 and found.height > 1000
        assert len(set(np.asarray(found.convert("RGB")).reshape(-1, 3)[::7].view("u1,u1,u1").ravel().tolist())) > 4
    show.curves([{"step": t, "lr/G": 0.0} for t in range(3)], tmp_path / "frozen.png")  # a logarithm would warn
    with pytest.raises(UserError, match="no metrics"):
        show.curves([{"step": 0}], tmp_path / "none.png")


def coloured(path):
    """Where a picture is neither white, grey nor black: rows and columns, and the colours there."""
    with Image.open(path) as found:
        pixels = np.asarray(found.convert("RGB")).astype(int)
    places = np.nonzero(np.ptp(pixels, axis=2) > 40)
    return *places, pixels[places]


def test_a_spectrum(tmp_path):
    show.spectrum({0: np.array([1.0, -1.0])}, tmp_path / "one.png")  # real, and of one step
    rows, columns, _ = coloured(tmp_path / "one.png")
    assert np.ptp(rows) < 12 and np.ptp(columns) > 400  # two dots, side by side
    assert abs((columns > columns.mean()).mean() - 0.5) < 0.05
    show.spectrum({t: np.array([1 + 1j, 1 - 1j]) * (t + 1) for t in (5, 1, 3)}, tmp_path / "spectrum.png")
    rows, columns, colours = coloured(tmp_path / "spectrum.png")
    first = columns < columns.min() + 20
    assert 20 < np.ptp(rows[first]) < np.ptp(rows) / 2  # nearest the axes
    assert colours[first].mean(axis=0)[2] > colours[first].mean(axis=0)[1] + 30  # viridis begins with violet
    with pytest.raises(UserError, match=r"nothing to make .*none\.png"):
        show.spectrum({}, tmp_path / "none.png")
    assert {p.name for p in tmp_path.iterdir()} == {"spectrum.png", "one.png"}


def test_singular_values(tmp_path):
    row = lambda t: {"D/Dense_0/kernel": np.linspace(1, 0, 6), f"G/{t}/kernel": (t + 1) * np.linspace(2, 1, 16)}
    show.singular_values({10 * t: row(min(t, 3)) for t in range(6)}, tmp_path / "many.png")  # layers come and go
    show.singular_values({0: {"D": np.array([3.0])}}, tmp_path / "one.png")
    rows, columns, _ = coloured(tmp_path / "one.png")
    assert np.ptp(rows) < 8 and np.ptp(columns) < 8
    with Image.open(tmp_path / "many.png") as many, Image.open(tmp_path / "one.png") as one:
        assert many.width > one.width and many.height > one.height  # five panels, and one
    with pytest.raises(UserError, match="nothing to make"):
        show.singular_values({0: {}}, tmp_path / "none.png")
