"""gan_jax/show: what each modality's files hold, decoded by other programs."""

import io
import wave

import jax
import numpy as np
import pytest
from PIL import Image

from gan_jax import show
from gan_jax.errors import UserError
from gan_jax.show.clouds import SIDE
from gan_jax.show.grids import GREY

RNG = np.random.default_rng(0)


def decoded(content):
    """The pixels of a PNG file."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as found:
        return np.asarray(found)


def test_images_are_a_grid_and_a_population_has_a_row_a_member():
    x = RNG.uniform(-1, 1, (9, 8, 8, 3))
    assert list(show.images.draw({"x": x}, None)) == ["png"]
    np.testing.assert_array_equal(decoded(show.images.page([{"x": x}])["png"]), show.grid(x))
    members = [{"x": RNG.integers(0, 256, (10, 4, 4, 1)).astype(np.uint8)} for _ in range(20)]
    found = decoded(show.images.page(members, {"x": x})["png"])
    rows = np.concatenate([member["x"][:8] for member in members[:16]])
    np.testing.assert_array_equal(found, show.grid(rows, columns=8)[..., 0])
    assert show.images.n == 64 and show.images.n_members == 8


def test_points_stand_before_the_real_ones_and_a_population_has_tiles():
    x, real = RNG.normal(size=(3, 50, 2)), {"x": RNG.normal(size=(70, 2))}
    np.testing.assert_array_equal(decoded(show.points.page([{"x": x[0]}], real)["png"]), show.scatter(x[0], real["x"]))
    found = decoded(show.points.page([{"x": one} for one in x], real)["png"])
    assert found.shape == (2 * (SIDE + 2), 2 * (SIDE + 2), 3)
    np.testing.assert_array_equal(found[:SIDE, SIDE + 2 : -2], show.scatter(x[1], real["x"]))
    assert (found[SIDE + 2 :, SIDE + 2 :] == GREY).all()  # the fourth place is empty


def test_a_population_without_a_page_of_its_own_has_the_files_of_each_member():
    one = show.Show(lambda samples, real: {"txt": f"{samples['x']} beside {real['x']}".encode(), "b": b""})
    assert one.page([{"x": 1}], {"x": 0}) == {"txt": b"1 beside 0", "b": b""}
    assert one.page([{"x": 1}, {"x": 2}], {"x": 0}) == {
        "0.txt": b"1 beside 0", "0.b": b"", "1.txt": b"2 beside 0", "1.b": b""
    }  # fmt: skip


def test_a_member_that_has_diverged_is_blank_and_the_others_are_drawn():
    x = RNG.uniform(-1, 1, (2, 3, 4, 4, 1)).astype(np.float32)
    broken = np.where(np.arange(3)[:, None, None, None] == 1, np.nan, x[0])
    found = decoded(show.images.page([{"x": x[0]}, {"x": broken}, {"x": x[1]}])["png"])
    np.testing.assert_array_equal(found, show.grid(np.concatenate([x[0], 0 * x[0], x[1]]), columns=3)[..., 0])
    clouds = decoded(show.points.page([{"x": x[0, 0, :, :2, 0]}, {"x": np.full((4, 2), np.inf)}])["png"])
    assert (clouds[:SIDE, :SIDE] < 255).any() and (clouds[:SIDE, SIDE + 2 : -2] == 255).all()
    waves = {"x": np.zeros((1, 9, 1))}
    assert set(show.audio.page([waves, {"x": np.full((1, 9, 1), np.nan)}, waves])) == {
        "0.wav", "0.png", "2.wav", "2.png"
    }  # fmt: skip
    assert show.series.page([waves, {"x": np.full((1, 9, 1), np.nan)}]) == show.series.page([waves, waves])
    video = np.stack([x[0]] * 2, 1)
    assert show.video.page([{"x": video}, {"x": video * np.nan}]) == show.video.page([{"x": video}, {"x": 0 * video}])
    for one, alone in ((show.images, broken), (show.points, np.full((2, 2), np.nan)), (show.video, video * np.nan)):
        with pytest.raises(UserError, match="not finite"):  # a single training stops
            one.page([{"x": alone}])


def test_text_of_strings_tokens_and_probabilities():
    assert show.text.page([{"x": np.array(["one", "a\nbreak", "ünf"])}]) == {"txt": "one\na\\nbreak\nünf\n".encode()}
    tokens = np.array([[2, 0, 1], [1, 1, 1]])
    assert show.text.draw({"x": tokens}, None) == {"txt": b"2 0 1\n1 1 1\n"}
    words = show.text_of(["the", "cat", "sat"], " ")
    assert words.draw({"x": tokens}, None) == {"txt": b"sat the cat\ncat cat cat\n"}
    assert words.draw({"x": np.eye(3)[tokens]}, None) == words.draw({"x": tokens}, None)
    with pytest.raises(UserError, match="Tokens run from 1 to 3, and the vocabulary has 3 entries: 0 to 2"):
        words.draw({"x": tokens + 1}, None)
    with pytest.raises(UserError, match=r"Text needs .* this is float64 \[2, 3\]"):
        words.draw({"x": tokens / 2}, None)


@pytest.mark.parametrize(("channels", "rate"), [(1, 16_000), (2, 8_000)])
def test_audio_is_read_back_by_wave(channels, rate):
    x = RNG.uniform(-1, 1, (3, 500, channels)).astype(np.float32)
    x[0, :3, 0] = 1, -1, 1.7  # beyond full scale: clipped
    files = show.audio_at(rate).page([{"x": x}])
    assert list(files) == ["wav", "png"]
    with wave.open(io.BytesIO(files["wav"])) as found:
        assert (found.getnchannels(), found.getsampwidth(), found.getframerate()) == (channels, 2, rate)
        levels = np.frombuffer(found.readframes(found.getnframes()), "<i2").reshape(3, -1, channels)
    assert levels.shape[1] == 500 + rate // 5 and not levels[:, 500:].any()  # a fifth of a second of silence
    np.testing.assert_allclose(levels[:, :500] / 32767, np.clip(x, -1, 1), atol=0.5 / 32767 + 1e-7)
    assert levels[0, :3, 0].tolist() == [32767, -32767, 32767]
    assert set(show.audio_at(rate).page([{"x": x}, {"x": x}])) == {"0.wav", "0.png", "1.wav", "1.png"}


def ink(content):
    """Where a PNG file has the lines' colours, and where the grey of the real series."""
    pixels = decoded(content)[..., :3].astype(int)
    return np.ptp(pixels, 2) > 40, (pixels == 204).all(2)


def test_series_are_lines_in_front_of_the_real_ones():
    real = {"x": np.linspace([[0, 10]] * 5, [[10, 0]] * 5, 40, axis=1)}
    low = {"x": np.zeros((1, 40, 2))}
    alone, behind = show.series.draw(low, None)["png"], show.series.draw(low, real)["png"]
    assert ink(alone)[1].sum() < 9 and ink(behind)[1].sum() > 60
    coloured = np.argwhere(ink(behind)[0])
    grey = np.argwhere(ink(behind)[1])
    assert coloured[:, 0].min() > grey[:, 0].max() - 9  # zero is the lowest of the real scale
    ramp = {"x": np.linspace(-1, 1, 50).reshape(1, 50, 1)}
    rows, columns = np.nonzero(ink(show.series.draw(ramp, None)["png"])[0])
    assert np.corrcoef(columns, rows)[0, 1] < -0.99  # upwards to the right
    panels = lambda page: decoded(page["png"]).shape
    five = {"x": RNG.normal(size=(5, 9, 1))}
    assert panels(show.series.page([five])) == panels(show.series.page([five, five]))  # 4 + 1; 4 and 4
    assert panels(show.series.page([five] * 3))[0] > panels(show.series.page([five] * 2))[0]


def test_video_is_a_film_of_the_grid_and_its_first_frames():
    levels = RNG.integers(0, 256, (5, 4, 1, 1, 1)).astype(np.uint8)
    x = np.broadcast_to(levels, (5, 4, 6, 6, 1))
    files = show.video_at(25).page([{"x": x}])
    np.testing.assert_array_equal(decoded(files["png"]), show.grid(x[:, 0])[..., 0])
    with Image.open(io.BytesIO(files["gif"]), formats=["GIF"]) as film:
        assert film.n_frames == 4 and film.info["loop"] == 0
        for t in range(4):
            film.seek(t)
            np.testing.assert_array_equal(np.asarray(film.convert("L")), show.grid(x[:, t])[..., 0])
            assert film.info["duration"] == 40
    members = show.video.page([{"x": x}, {"x": x[::-1]}])
    np.testing.assert_array_equal(
        decoded(members["png"]), show.grid(np.concatenate([x, x[::-1]])[:, 0], columns=5)[..., 0]
    )
    with pytest.raises(UserError, match=r"video \[n, t, h, w, 1 or 3\]; this has shape \[4, 6, 6, 1\]"):
        show.video.draw({"x": x[0]}, None)


@pytest.mark.parametrize(
    ("what", "x", "words"),
    [
        (show.audio, np.zeros((2, 9)), r"Audio needs floats \[n, t, 1 or 2\]; this is float64 \[2, 9\]"),
        (show.audio, np.zeros((2, 9, 3)), r"this has shape \[2, 9, 3\]"),
        (show.audio, np.zeros((2, 9, 1), np.int16), "this is int16"),
        (show.audio, np.full((2, 9, 1), np.inf), "not finite: the training has diverged"),
        (show.series, np.full((2, 9, 1), np.nan), "not finite: the training has diverged"),
        (show.series, np.zeros((0, 9, 1)), r"series needs \[n, t, d\]; this is float64 \[0, 9, 1\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(what, x, words):
    with pytest.raises(UserError, match=words):
        what.page([{"x": x}])


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((28, 28, 1), "float32", show.images),
        ((8, 8, 3), "uint8", show.images),
        ((8, 8, 2), "float32", show.arrays),
        ((2,), "float32", show.points),
        ((784,), "float64", show.points),
        ((30,), "int32", show.arrays),  # tokens are no points
        ((16, 8, 8, 3), "float32", show.arrays),
        ((24, 5), "float32", show.arrays),
        ((), "float32", show.arrays),
    ],
)
def test_the_default_is_inferred_from_the_shape(shape, dtype, expected):
    assert show.infer({"x": np.zeros(shape, dtype)}) is expected
    assert show.infer({"y": np.zeros(()), "x": jax.ShapeDtypeStruct(shape, dtype)}) is expected
    assert show.infer({"A": {"x": np.zeros(shape, dtype)}}) is show.arrays  # several sets


def test_arrays_are_kept_as_they_are():
    samples = {"x": RNG.normal(size=(3, 4, 5)), "y": np.arange(3)}
    with np.load(io.BytesIO(show.arrays.page([samples])["npz"])) as found:
        assert set(found) == {"x", "y"}
        for name, leaf in samples.items():
            np.testing.assert_array_equal(found[name], leaf)


def cells(line):
    """[((r, g, b) of the upper half, of the lower half or None), …] of a line of half blocks."""
    found = []
    for word in line.replace("\x1b[0m", "").split("▀")[:-1]:
        numbers = word.strip().removeprefix("\x1b[").removesuffix("m").split(";")
        assert numbers[:2] == ["38", "2"] and numbers[5] in ("48", "49")
        found.append((tuple(map(int, numbers[2:5])), tuple(map(int, numbers[7:10])) or None))
    return found


def test_half_blocks_are_the_pixels():
    x = RNG.integers(0, 256, (8, 7, 8, 3)).astype(np.uint8)
    lines = show.blocks(x).split("\n")
    assert len(lines) == 4 and all(line.endswith("\x1b[0m") and line.count("\x1b[0m ") == 7 for line in lines)
    for i, line in enumerate(lines):
        pixels = cells(line)
        assert [upper for upper, _ in pixels] == [tuple(p) for p in x[:, 2 * i].reshape(-1, 3).tolist()]
        below = [tuple(p) for p in x[:, 2 * i + 1].reshape(-1, 3).tolist()] if i < 3 else [None] * 64
        assert [lower for _, lower in pixels] == below  # seven rows: the last half is the terminal's own


def test_half_blocks_fit_the_terminal():
    grey = np.linspace(-1, 1, 20 * 28 * 28).reshape(20, 28, 28, 1)
    (first, *_) = lines = show.blocks(grey, width=80).split("\n")
    assert len(lines) == 14 and len(cells(first)) == 2 * 28  # three would need 86 columns
    assert all(len(set(upper)) == 1 for upper, _ in cells(first))
    wide = np.kron(RNG.integers(0, 256, (1, 4, 6, 1)), np.ones((1, 30, 30, 1))).astype(np.uint8)
    found = [cells(line) for line in show.blocks(wide, width=6).split("\n")]
    assert [[upper[0] for upper, _ in line] for line in found] == wide[0, ::60, ::30, 0].tolist()
    with pytest.raises(UserError, match="not finite"):
        show.blocks(np.full((1, 2, 2, 1), np.nan))
