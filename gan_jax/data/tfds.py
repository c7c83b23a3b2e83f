"""TensorFlow Datasets (TFDS), read without TensorFlow."""

import io
import json
import re

import numpy as np

from gan_jax import limits
from gan_jax.data.disk import CHUNK, OnDisk
from gan_jax.data.images import Fit, stack
from gan_jax.errors import UserError


def read_tfds(source: str, split: str, fit: Fit, resident: int) -> dict[str, np.ndarray | OnDisk]:
    """A prepared set of images, `tfds:NAME` or `tfds:NAME@DATA_DIR`, in its own order.

    Labels are read at once; pictures too, unless they take more than `resident` bytes when decoded.
    """
    builder = _builder(source)
    from tensorflow_datasets import features

    x_name, y_name = builder.info.supervised_keys or ("image", "label")
    kinds = dict(builder.info.features)
    if not isinstance(kinds.get(x_name), features.Image):
        raise UserError(f"'{source}' has no images: its features are {', '.join(kinds)}.")
    records = _records(builder, source, split, x_name)
    n, read = range(len(records)), lambda rows: _examples(records, rows, source)
    opened = lambda rows: [io.BytesIO(example[x_name]) for example in read(rows)]
    identity = lambda: f"{builder.info.full_name} {split}"
    data = {"x": stack([f"{split} {i}" for i in n], opened, source, fit, resident, identity)}
    if isinstance(kinds.get(y_name), features.ClassLabel):
        chunks = (n[start : start + CHUNK] for start in n[::CHUNK])
        data["y"] = np.array([example[y_name] for rows in chunks for example in read(rows)])
    return data


def _records(builder, source, split, x_name):
    """The records of a split, with random access, their pictures still encoded."""
    from tensorflow_datasets import decode

    try:
        return builder.as_data_source(split=split, decoders={x_name: decode.SkipDecoding()})
    except ValueError as error:
        raise UserError(f"'{source}' has no split '{split}', only {', '.join(builder.info.splits)}.") from error
    except NotImplementedError as error:
        raise UserError(f"'{source}' is not prepared for random access: prepare it as array_record.") from error


def _examples(records, rows, source):
    try:
        return records.__getitems__(rows)
    except RuntimeError as error:  # array_record raises it for bad and for missing files
        raise UserError(f"'{source}' is truncated or corrupt ({error}): prepare it again.") from error


def _builder(source):
    """The TFDS builder of a set that is prepared in DATA_DIR, or in TFDS's default folder."""
    name, _, folder = source.removeprefix("tfds:").partition("@")
    data_dir = limits.path(folder) if folder else None
    if not re.fullmatch(
        r"\w+(/\w[\w.-]*)?(:[\d*][\d.*]*)?", name
    ):  # a namespace would be downloaded, arguments run as code
        raise UserError(f"'{source}' has no name of a set: give tfds:NAME, NAME/CONFIG or NAME:VERSION.")
    for depth in ("*", "*/*"):
        for path in data_dir.glob(f"{re.split('[/:]', name)[0]}/{depth}/features.json") if data_dir else ():
            _check_features(path)
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(f"'{source}' needs TFDS: pip install tensorflow-datasets importlib_resources.") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError) as error:  # an unknown name; an unknown version
        raise UserError(f"'{source}': TFDS knows no set '{name}', see its catalogue for the names.") from error
    if not builder.is_prepared():
        raise UserError(
            f"'{source}' is not prepared in '{builder.data_dir}': prepare it once, with TensorFlow and"
            f" file_format='array_record', or say where it is with tfds:{name}@DATA_DIR."
        )
    return builder


def _check_features(path):
    """UserError for features that are not TFDS's own: TFDS would import any module that their file names."""
    try:
        named = set(_classes(json.loads(limits.text(path))))
    except UserError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is truncated or corrupt ({error}): prepare the set again.") from error
    if foreign := [name for name in named if not str(name).startswith("tensorflow_datasets.core.features.")]:
        raise UserError(f"'{path}' names {foreign[0]!r}, no feature of TFDS: only TFDS's own are loaded.")


def _classes(node):
    """The names of classes anywhere in features.json, including the JSON that it holds as text."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("pythonClassName", "python_class_name", "type") if key in node)
        yield from _classes(list(node.values()))
        yield from _classes(json.loads(node["json"])) if isinstance(node.get("json"), str) else ()
    elif isinstance(node, list):
        for child in node:
            yield from _classes(child)
