"""TensorFlow Datasets as a source, read without TensorFlow."""

import io

import numpy as np

from gan_jax.data.disk import CHUNK, OnDisk
from gan_jax.data.images import stack
from gan_jax.errors import UserError


def read_tfds(
    source: str, split: str, size: int | None, channels: int | None, resident: int
) -> dict[str, np.ndarray | OnDisk]:
    """A prepared set of images, `tfds:NAME` or `tfds:NAME@DATA_DIR`, in its own order.

    Labels are read at the beginning, and pictures too where they take no more than `resident` bytes when decoded.
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
    data = {"x": stack([f"{split} {i}" for i in n], opened, source, size, channels, resident, identity)}
    if isinstance(kinds.get(y_name), features.ClassLabel):
        chunks = (n[start : start + CHUNK] for start in n[::CHUNK])
        data["y"] = np.array([example[y_name] for rows in chunks for example in read(rows)])
    return data


def _records(builder, source, split, x_name):
    """The records of a split, to be read in any order, their pictures still encoded."""
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
    except RuntimeError as error:  # what array_record raises for a bad file, and for none
        raise UserError(f"'{source}' is truncated or corrupt ({error}): prepare it again.") from error


def _builder(source):
    """TFDS's builder of a set that lies prepared in DATA_DIR, or in TFDS's own folder."""
    name, _, data_dir = source.removeprefix("tfds:").partition("@")
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(f"'{source}' needs TFDS: pip install tensorflow-datasets importlib_resources.") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
    except (ValueError, AssertionError) as error:  # an unknown name; an unknown version
        raise UserError(f"'{source}': TFDS knows no set '{name}', see its catalogue for the names.") from error
    if not builder.is_prepared():
        raise UserError(
            f"'{source}' is not prepared in '{builder.data_dir}': prepare it once, with TensorFlow and"
            f" file_format='array_record', or say where it is with tfds:{name}@DATA_DIR."
        )
    return builder
