"""A translation from its command to its pictures, and one line for whatever its user can mend."""

import re
import shutil

import jax
import numpy as np
import pytest
from conftest import OFTEN, printed
from pictures import png, write
from PIL import Image

from gan_jax import load
from gan_jax.cli import flags
from gan_jax.errors import UserError
from gan_jax.pixels import to_bytes
from gan_jax.runs import paper as papers
from gan_jax.runs.folder import read_rows

pytestmark = pytest.mark.usefixtures("no_curves")

rng = np.random.default_rng(0)
PICTURES = {"b.png": (6, 8), "deep/a.jpg": (4, 4), "c.PNG": (10, 2)}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image), image.mode


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swap")
    flags = ("--score-every", 2, "--score-n", 50, "--best", "score/l1/B")
    out = printed(folder, "swap.py", "--run", "r", *OFTEN, *flags)
    assert "More:   python -m gan_jax translate r --to B --input FOLDER --out FOLDER" in out.splitlines()
    return folder / "r"


@pytest.fixture
def trained(original, tmp_path):
    """The folder "r" of a run beside which a test works."""
    shutil.copytree(original, tmp_path / "r")


def test_a_run_shows_translations_of_images_held_out(trained, tmp_path):
    assert {path.name for path in (tmp_path / "r" / "samples").iterdir()} == {"2.png", "4.png"}
    page, _ = pixels(tmp_path / "r" / "samples" / "4.png")
    zoom = (page.shape[1] - 2) // 4 // 8  # four columns of 8 pixels, four images of each domain
    assert page.shape == (8 * (8 * zoom + 2) + 4, 4 * (8 * zoom + 2) + 4)
    scores = [row for row in read_rows(tmp_path / "r") if "score/l1/B" in row]
    assert [row["step"] for row in scores] == [2, 4]
    for name in ("l1/A", "l1/B", "cycle/A", "cycle/B", "psnr/A", "psnr/B"):
        assert 0 < scores[-1][f"score/{name}"] < (100 if "psnr" in name else 1)


def test_a_run_is_evaluated_on_images_held_out(trained, shell, tmp_path):
    code, out, err = shell("gan_jax", "evaluate", "r", "--n", 50)
    assert code == 0, err
    said = dict(re.findall(r"^(\S+) (\S+) ± \S+ \(50 images\); images held out 50$", out, re.MULTILINE))
    logged = [row for row in read_rows(tmp_path / "r") if "score/l1/B" in row][-1]
    assert said.keys() == {"l1/A", "l1/B", "cycle/A", "cycle/B", "psnr/A", "psnr/B"}
    for name, value in said.items():
        assert float(value) == pytest.approx(logged[f"score/{name}"], rel=1e-4)
    code, _, err = shell("gan_jax", "evaluate", "r", "--scores", "prdc")
    assert code == 2 and "is scored on the images held out of --data: leave out --scores" in err


def test_a_folder_is_translated_picture_by_picture(trained, shell, tmp_path):
    colour = {name: rng.integers(0, 256, (*shape, 3), np.uint8) for name, shape in PICTURES.items()}
    write(tmp_path / "in", {name: png(x) for name, x in colour.items()})
    code, out, err = shell("gan_jax", "translate", "r", "--to", "B", "--input", "in", "--out", "out")
    assert (code, out, err) == (0, "3 pictures of in, translated to B, are in out.\n", "")
    run = load(tmp_path / "r")
    for name, x in colour.items():
        found, mode = pixels((tmp_path / "out" / name).with_suffix(".png"))
        grey = np.asarray(Image.fromarray(x).convert("L"))[None, :, :, None]
        assert mode == "L"  # what the run was trained on
        expected = run.translate((grey.astype(np.float32) - 127.5) / 127.5, "B", jax.random.key(0))
        np.testing.assert_array_equal(found, to_bytes(expected)[0, :, :, 0])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    for out, said in (("out", "out/b.png and 2 more are"), ("in", "in/b.png is")):  # not even the input is overwritten
        code, _, err = shell("gan_jax", "translate", "r", "--to", "A", "--input", "in", "--out", out)
        assert code == 2 and re.fullmatch(rf"error: {said} there already: give an --out .* or add --missing\.\n", err)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before
    (tmp_path / "out" / "c.png").unlink()
    code, out, err = shell("gan_jax", "translate", "r", "--to", "B", "--input", "in", "--out", "out", "--missing")
    assert (code, out) == (0, "1 pictures of in, translated to B, are in out; 2 were there already.\n"), err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


@pytest.mark.parametrize(
    "words, said",
    [
        ("translate r --to C --input in --out out", "This game does not translate to 'C', only to B, A."),
        ("translate r --to B --input none --out out", "'none' does not exist: give a folder, a tar or a picture."),
        ("translate r --to B --input odd --out out", "'b.png' in 'odd': This network takes pictures of even sides."),
        (
            "translate r --to B --input in --out in/a.png/x",
            "in/a.png/x/a.png cannot be written (Not a directory); choose another place.",
        ),
        ("translate none --to B --input in --out out", "none is not a run: .*"),
        ("translate r --input in --out out", ".*--to.*"),
        ("sample r", "This game has no sampler: it translates images: use .*"),
    ],
)
def test_what_is_wrong_is_one_line(trained, shell, tmp_path, words, said):
    write(tmp_path, {"in/a.png": png(rng.integers(0, 256, (2, 2), np.uint8))})
    write(tmp_path, {"odd/a.png": png(rng.integers(0, 256, (2, 2), np.uint8))})
    write(tmp_path, {"odd/b.png": png(rng.integers(0, 256, (3, 2), np.uint8))})
    code, _, err = shell("gan_jax", *words.split())
    expected = said if ".*" in said else re.escape(said)
    assert code == 2 and err.count("\n") == 1 and re.fullmatch(f"error: {expected}", err.strip()), err
    assert not (tmp_path / "out").exists()


def test_a_population_shows_its_members_and_one_of_them_translates(shell, tmp_path):
    code, _, err = shell("swap.py", "--run", "r", *OFTEN, "--seeds", 2, "--score-every", 4, "--score-n", 20)
    assert code == 0, err
    (scored,) = [row for row in read_rows(tmp_path / "r") if "score/l1/B se" in row]
    assert scored["score/l1/B se"] > 0
    write(tmp_path, {"in/a.png": png(rng.integers(0, 256, (2, 2), np.uint8))})
    words = ["gan_jax", "translate", "r", "--to", "B", "--input", "in"]
    code, _, err = shell(*words, "--out", "x")
    assert code == 2 and "r has members: say by --member which of them is to translate." in err
    for member in (0, 1):
        assert shell(*words, "--out", member, "--member", member)[0] == 0
    assert (tmp_path / "0" / "a.png").read_bytes() != (tmp_path / "1" / "a.png").read_bytes()


def test_counts_that_may_be_0():
    """A pool of none, no edge; others may not."""
    config = papers.preset("cyclegan:mnist-inverted")[1]
    found = flags.parse(["--pool", "0", "--edge", "0"], flags.of_dataclass(config))
    assert (found["pool"], found["edge"], config.edge) == (0, 0, 2)
    for words, least in ((["--pool", "-1"], 0), (["--width-D", "0"], 1)):
        with pytest.raises(UserError, match=f"{words[0]} is {words[1]}: it must be {least} or more"):
            flags.parse(words, flags.of_dataclass(config))
