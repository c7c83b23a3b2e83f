"""TensorFlow Datasets as a source, read without TensorFlow."""

import io

import numpy as np

from gan_jax.data.images import stack
from gan_jax.errors import UserError


def read_tfds(source: str, split: str, size: int | None, channels: int | None) -> dict[str, np.ndarray]:
    """A prepared set of images, `tfds:NAME` or `tfds:NAME@DATA_DIR`, in its own order, decoded once into bytes."""
    builder = _builder(source)
    from tensorflow_datasets import features

    x_name, y_name = builder.info.supervised_keys or ("image", "label")
    kinds = dict(builder.info.features)
    if not isinstance(kinds.get(x_name), features.Image):
        raise UserError(f"'{source}' has no images: its features are {', '.join(kinds)}.")
    examples = _examples(builder, source, split, x_name)
    files = {f"{split} {i}": io.BytesIO(example[x_name]) for i, example in enumerate(examples)}
    data = {"x": stack(files, source, size, channels)}
    if isinstance(kinds.get(y_name), features.ClassLabel):
        data["y"] = np.array([example[y_name] for example in examples])
    return data


def _examples(builder, source, split, x_name):
    """The examples of a split, their pictures still encoded."""
    from tensorflow_datasets import decode

    try:
        records = builder.as_data_source(split=split, decoders={x_name: decode.SkipDecoding()})
        return records.__getitems__(range(len(records)))
    except ValueError as error:
        raise UserError(f"'{source}' has no split '{split}', only {', '.join(builder.info.splits)}.") from error
    except NotImplementedError as error:
        raise UserError(f"'{source}' is not prepared for random access: prepare it as array_record.") from error
    except RuntimeError as error:  # what array_record raises for a bad file; NotImplementedError is one, so it is last
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
