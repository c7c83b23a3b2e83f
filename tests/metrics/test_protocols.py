"""gan_jax/metrics/protocols.py and references.py: scores of images by name, under one protocol."""

import json
import warnings

import numpy as np
import pytest

from gan_jax import metrics
from gan_jax.data import OnDisk, load
from gan_jax.errors import UserError
from gan_jax.metrics import extractors, protocols, references

DIGITS = load("digits")
PART = {name: leaf[:300] for name, leaf in DIGITS.items()}
OTHER = {name: leaf[300:600] for name, leaf in DIGITS.items()}
NAMES = ("frechet_distance", "kernel_distance", "prdc")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def against():
    return references.reference(PART, "digits train", extractors.pixels())


@pytest.mark.filterwarnings("ignore:intra_class of:UserWarning")
def test_images_are_scored_over_halves(against):
    found = protocols.score_images(OTHER, against, (*NAMES, "intra_class", "ms_ssim", "nearest_neighbour_test"))
    x, y = (data["x"].reshape(300, -1) / np.float32(127.5) - 1 for data in (PART, OTHER))
    np.testing.assert_allclose(found["frechet_distance"].value, metrics.frechet_distance(x, y).value, rtol=1e-5)
    np.testing.assert_allclose(found["precision"].value, metrics.prdc(x, y)["precision"].value, atol=1e-12)
    assert found["intra_class"].protocol["classes"] == 10
    assert all(score.source == "10 pairs of half the samples" and score.uncertainty > 0 for score in found.values())
    assert found["ms_ssim"].name == "MS-SSIM"  # of images, whatever the extractor
    assert protocols.score_images(OTHER, against, ["prdc"], n=100)["recall"].protocol["fake"] == 100


def test_scores_against_other_references_refuse_to_be_compared(against):
    there = references.reference(OTHER, "digits train", extractors.pixels())
    one, other = (
        protocols.score_images(OTHER, to, ["frechet_distance"])["frechet_distance"] for to in (against, there)
    )
    with pytest.raises(UserError, match=r"differ in protocol \(reference digits train"):
        print(one - other)


def test_real_features_are_extracted_once(cache, monkeypatch, against):
    (file,) = cache.iterdir()
    monkeypatch.setattr(references, "extract", lambda *args, **kw: pytest.fail("extracted again"))
    again = references.reference(PART, "digits train", extractors.pixels())
    np.testing.assert_array_equal(again.real.features, against.real.features)
    pixels = again.real.images.reshape(300, -1) / np.float32(127.5) - 1
    np.testing.assert_allclose(pixels, again.real.features, atol=2e-7)
    for damaged in (b"", file.read_bytes()[:-100]):
        file.write_bytes(damaged)
        monkeypatch.undo()
        monkeypatch.setenv("GAN_JAX_CACHE", str(cache))
        np.testing.assert_array_equal(
            references.reference(PART, "digits train", extractors.pixels()).real.features, against.real.features
        )
    monkeypatch.setenv("GAN_JAX_CACHE", "/dev/null/nowhere")
    assert len(references.reference(PART, "digits train", extractors.pixels(), 100).real) == 100


def test_copies_are_found(against):
    assert references.copied(against.real, PART["x"]) == 1
    assert references.copied(against.real, PART["x"] / np.float32(127.5) - 1) == 1
    assert references.copied(against.real, OTHER["x"]) == 0


@pytest.mark.filterwarnings("ignore:intra_class of:UserWarning")
@pytest.mark.parametrize(
    "names, data, words",
    [
        (["frechet"], OTHER, r"no score 'frechet' \(did you mean 'frechet_distance'\?\)"),
        (["inception_score"], OTHER, "needs a classifier's probabilities: give a classifier as --extractor"),
        (["intra_class"], {"x": OTHER["x"]}, "needs the classes of the generated images, an integer for each: samples"),
        (["prdc"], {"x": OTHER["x"][:8]}, "prdc needs 12 images or more, .* there are 8"),
        (["prdc", "ms_ssim"], {"x": OTHER["x"][:4]}, "prdc needs 12 images or more, .* there are 4"),
        (["ms_ssim"], {"x": OTHER["x"][:4]}, "ms_ssim needs 8 images or more, .* there are 4"),
        (["intra_class"], {name: leaf[:40] for name, leaf in OTHER.items()}, "Halves of the 40 samples.* Class . has"),
        (
            ["prdc"],
            {"x": np.zeros((20, 8, 8, 3), np.uint8)},
            "Samples of 8 x 8 x 3 cannot be scored against .* 8 x 8 x 1",
        ),
        (["sliced_wasserstein"], OTHER, "16"),
    ],
)
def test_what_cannot_be_scored_is_refused(against, names, data, words):
    with pytest.raises(UserError, match=words):
        protocols.score_images(data, against, names)


def test_extractors_by_name():
    assert references.extractor("pixels").name == "pixels" and references.extractor("random").name == "random network 0"
    with pytest.raises(UserError, match="--extractor pixel is none of pixels, random"):
        references.extractor("pixel")
    with pytest.raises(UserError, match="--resize pil_bicubic is for the Inception network"):
        references.extractor("pixels", "pil_bicubic")
    assert [references.stem(s) for s in ("digits", "../a/b.tar.gz", "x/y/", "tfds:mnist", "f.npz")] == [
        "digits", "b", "y", "tfds:mnist", "f"
    ]  # fmt: skip


def test_scores_are_written_as_json(against):
    found = protocols.score_images(OTHER, against, ["prdc"])
    back = json.loads(json.dumps({name: vars(score) for name, score in found.items()}))
    assert {name: metrics.Score(**score) for name, score in back.items()} == found


def wrapped(x, read):
    """The images x as if they lay on disk; `read` collects how many are read at once."""

    def some(rows):
        read.append(len(rows))
        return x[list(rows)]

    return OnDisk(some, x.shape, "digits")


@pytest.mark.filterwarnings("ignore:intra_class of:UserWarning")
def test_images_on_disk_are_read_in_chunks_and_scored_like_those_in_memory(monkeypatch, against):
    monkeypatch.setattr(references, "CHUNK", 50 * 64)
    names, read = (*NAMES, "ms_ssim", "intra_class"), []
    expected = protocols.score_images(OTHER, against, names, n=200)
    real, fake = ({"x": wrapped(data["x"], read), "y": data["y"]} for data in (PART, OTHER))
    on_disk = references.reference(real, "digits train", extractors.pixels())
    assert max(read) == 50 and sum(read) == 300
    found = protocols.score_images(fake, on_disk, ["frechet_distance"], n=200)
    assert max(read) == 50 and sum(read) == 500
    values = lambda scores: {name: (score.value, score.uncertainty) for name, score in scores.items()}
    assert values(protocols.score_images(fake, on_disk, names, n=200)) == values(expected)
    assert found["frechet_distance"].value == expected["frechet_distance"].value
    assert references.copied(on_disk.real, real["x"]) == 1 and references.copied(on_disk.real, OTHER["x"]) == 0


def test_a_limit_reads_no_more_than_it_takes():
    read = []
    data = {"x": wrapped(DIGITS["x"], read)}
    some = references.reference(data, "digits", extractors.pixels(), limit=70)
    assert len(some.real) == sum(read) == 70
    everything = references.reference({"x": DIGITS["x"]}, "digits", extractors.pixels())
    np.testing.assert_array_equal(some.real.features, everything.real.features[:70])


@pytest.mark.filterwarnings("ignore:intra_class of:UserWarning")
def test_samples_are_scored_with_their_labels(against):
    names = ("intra_class", "classification_accuracy")
    samples = {"x": OTHER["x"] / np.float32(127.5) - 1, "y": OTHER["y"]}
    found = protocols.scorer(against, names)(samples)
    x, y = (data["x"].reshape(300, -1) / 127.5 - 1 for data in (PART, OTHER))
    shuffled = np.random.default_rng(0).permutation(300)
    expected = metrics.intra_class_frechet_distance(x[shuffled], PART["y"][shuffled], y, OTHER["y"])
    np.testing.assert_allclose(found["intra_class"].value, expected.value, rtol=1e-5)
    assert found["classification_accuracy"].value > 0.8
    wrong = protocols.scorer(against, names)({"x": samples["x"], "y": np.roll(OTHER["y"], 1)})
    assert wrong["intra_class"].value > 2 * found["intra_class"].value
    assert wrong["classification_accuracy"].value < 0.5
    for without in (samples["x"], {"x": samples["x"]}, {"x": samples["x"], "y": np.zeros((300, 4))}):
        assert (
            protocols.scorer(against, ["prdc"])(without)["recall"]
            == protocols.scorer(against, ["prdc"])(samples)["recall"]
        )
        with pytest.raises(UserError, match="needs the classes of the generated images"):
            protocols.scorer(against, names)(without)


def test_a_biased_distance_warns_once(against):
    with pytest.warns(
        UserWarning, match="^frechet_distance of 64 images with 64 features is biased: take more than 64"
    ) as caught:
        protocols.score_images(OTHER, against, ["frechet_distance", "prdc"], n=64)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="^intra_class of 27 images with 64 features .* of each class"):
        protocols.scorer(against, ["frechet_distance", "intra_class"])(OTHER)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        protocols.scorer(against, ["frechet_distance"])(OTHER["x"][:65])
        protocols.scorer(against, ["prdc", "kernel_distance"])(OTHER["x"][:20])


def test_what_is_no_image_has_no_reference():
    with pytest.raises(UserError, match=r"These scores compare images \[n, h, w, c\]; the data have shape \[9, 2\]"):
        references.reference({"x": np.zeros((9, 2), np.float32)}, "ring", extractors.pixels())
    few = references.reference({"x": DIGITS["x"][:5]}, "five digits", extractors.pixels())
    with pytest.raises(UserError, match="prdc needs 6 real images or more; there are 5"):
        protocols.scorer(few, ["prdc"])(OTHER["x"])
