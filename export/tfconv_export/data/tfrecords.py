"""TFRecord files of tf.train.Example, as NumPy arrays, one example at a time.

A feature specification says which features to read:

  NAME:DTYPE:SHAPE;NAME:DTYPE:SHAPE

such as `audio:float32:98,40;label:int64:`. DTYPE is `float32` or `int64`, the
two kinds of numbers that a tf.train.Example holds, or the word `raw_` and a
NumPy dtype, such as `raw_int16`, for the bytes of an array in little-endian
order, as tf.io.decode_raw reads them. SHAPE is that of one example; nothing for
a single number. The same as JSON, for names with a colon:

  {"audio": {"dtype": "float32", "shape": [98, 40]}, "label": {...}}
"""

import dataclasses
import gzip
import json
import math
import os
import pathlib
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfconv_export.errors import UsageError
from tfconv_export.errors import reason

# Bytes that TFRecord adds to a record: its length and two checksums.
_FRAME = 16
# An example is a protocol buffer, of less than 2 GiB.
_MOST_VALUES = 2**31 - 1
_EXAMPLE = "--feature_spec='audio:float32:98,40;label:int64:'"


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of a specification.

    Attributes:
        dtype: NumPy dtype of its values.
        shape: tuple of ints.
        is_raw: bool, whether it is stored as bytes.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    is_raw: bool

    @property
    def stored(self) -> tf.io.FixedLenFeature:
        """What TensorFlow's parser is told."""
        if self.is_raw:
            return tf.io.FixedLenFeature((), tf.string)
        return tf.io.FixedLenFeature(self.shape, self.dtype)


def parse_spec(
    spec: "os.PathLike | str | dict[str, Any]",
) -> dict[str, Feature]:
    """Reads a feature specification.

    Args:
        spec: one as the module describes it: inline, the path of a JSON file,
            or a dict as in that file, which may hold
            `tf.io.FixedLenFeature`s.

    Raises:
        UsageError: if it is none.
    """
    if isinstance(spec, dict):
        return _parse_entries(spec, "feature_spec")
    text = os.fspath(spec)
    origin = f"--feature_spec={text}"
    if text.endswith(".json") or os.path.isfile(text):
        try:
            entries = json.loads(pathlib.Path(text).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                f"{origin} cannot be read as JSON: {reason(error)}."
            ) from error
        return _parse_entries(entries, origin)
    entries = {}
    for entry in filter(None, map(str.strip, text.split(";"))):
        name, *rest = (part.strip() for part in entry.split(":"))
        if len(rest) not in (1, 2) or not name or name in entries:
            raise UsageError(
                f"{origin} must name each feature once, as NAME:DTYPE:SHAPE, "
                f"such as {_EXAMPLE}, but has {entry!r}."
            )
        dims = [dim.strip() for dim in "".join(rest[1:]).split(",")]
        entries[name] = {
            "dtype": rest[0],
            "shape": [_size_or_word(dim) for dim in dims if dim],
        }
    return _parse_entries(entries, origin)


def _size_or_word(text: str) -> int | str:
    """A size; what is none, or too long to be one, as it is."""
    is_size = text.isdecimal() and len(text) <= len(str(_MOST_VALUES))
    return int(text) if is_size else text


def _parse_entries(entries: Any, origin: str) -> dict[str, Feature]:
    if not isinstance(entries, dict) or not entries:
        raise UsageError(
            f"{origin} must name at least one feature, such as {_EXAMPLE}."
        )
    return {
        name: _parse_feature(name, entry, origin)
        for name, entry in entries.items()
    }


def _parse_feature(name: str, entry: Any, origin: str) -> Feature:
    if not isinstance(name, str) or not _is_text(name):
        raise UsageError(
            f"{origin} names a feature {name!r}; a name is text in UTF-8."
        )
    if isinstance(entry, tf.io.FixedLenFeature):
        dtype = tf.as_dtype(entry.dtype).name
        entry = {"dtype": dtype, "shape": list(tf.TensorShape(entry.shape))}
    if not isinstance(entry, dict) or set(entry) - {"dtype", "shape"}:
        raise UsageError(
            f'{origin} must give feature {name} a "dtype" and a "shape", such '
            f'as {{"dtype": "float32", "shape": [98, 40]}}, not {entry!r}.'
        )
    shape = entry.get("shape", [])
    if not isinstance(shape, (list, tuple)) or not all(
        type(dim) is int and dim > 0 for dim in shape
    ):
        raise UsageError(
            f"{origin} gives feature {name} the shape {shape}; it must hold "
            "sizes greater than 0, such as 98,40."
        )
    if math.prod(shape) > _MOST_VALUES:
        raise UsageError(
            f"{origin} gives feature {name} the shape {shape}, of more than "
            f"the {_MOST_VALUES:,} values that a tf.train.Example can hold."
        )
    word = str(entry.get("dtype"))
    is_raw = word.startswith("raw_")
    try:
        dtype = np.dtype(word.removeprefix("raw_"))
    except Exception:  # NumPy evaluates it, and raises whatever comes of it.
        dtype = np.dtype("O")
    known = dtype.kind in "fiub" if is_raw else word in ("float32", "int64")
    if not known:
        raise UsageError(
            f"{origin} gives feature {name} the dtype {word}; a "
            "tf.train.Example stores float32 and int64, and the bytes of "
            "others: raw_int16, raw_float32, ..."
        )
    return Feature(dtype.newbyteorder("<"), tuple(shape), is_raw)


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def read(
    path: pathlib.Path, spec: dict[str, Feature] | None, origin: str
) -> Iterator[dict[str, np.ndarray]]:
    """The examples of one file, in its order.

    Args:
        path: a TFRecord file; one that ends with `.gz` is of gzip.
        spec: which features to read.
        origin: string, how messages name the file.

    Raises:
        UsageError: without a specification; if the file is damaged, or its
            examples are not as specified.
    """
    records = tf.data.TFRecordDataset(
        str(path), "GZIP" if path.suffix == ".gz" else ""
    )
    if spec is None:
        raise UsageError(
            f"{origin} is read by a --feature_spec, which says what its "
            f"examples hold, such as {_EXAMPLE}{_described(records, 0)}."
        )
    stored = {name: feature.stored for name, feature in spec.items()}
    parsed = records.map(
        lambda record: (
            tf.io.parse_single_example(record, stored),
            tf.strings.length(record),
        )
    ).as_numpy_iterator()
    index = size = 0
    while True:
        try:
            example, length = next(parsed, (None, 0))
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
            # The latter when TensorFlow quotes what is no tf.train.Example.
            raise UsageError(
                f"{origin} does not fit the --feature_spec in record {index}: "
                f"{_brief(error)}{_described(records, index)}."
            ) from error
        except tf.errors.OpError as error:
            raise UsageError(
                f"{origin} cannot be read as a TFRecord file at record "
                f"{index}: {_brief(error)}."
            ) from error
        if example is None:
            break
        yield {
            name: _decode(example[name], feature, name, origin, index)
            for name, feature in spec.items()
        }
        index += 1
        size += int(length) + _FRAME
    # TensorFlow takes some files that were cut off for whole ones.
    if _size(path) != size:
        raise UsageError(
            f"{origin} cannot be read as a TFRecord file: it ends within "
            f"record {index}."
        )


def _size(path: pathlib.Path) -> int | None:
    """How many bytes of records a file holds; `None` if it is damaged."""
    if path.suffix != ".gz":
        return path.stat().st_size
    size = 0
    try:
        with gzip.open(path) as file:
            while chunk := file.read(1 << 20):
                size += len(chunk)
    except (OSError, EOFError, zlib.error):
        return None
    return size


def _decode(value, feature: Feature, name: str, origin: str, index: int):
    if not feature.is_raw:
        return value
    needed = math.prod(feature.shape) * feature.dtype.itemsize
    if len(value) != needed:
        raise UsageError(
            f"{origin} does not fit the --feature_spec in record {index}: "
            f"feature {name} has {len(value)} bytes, not {needed}."
        )
    return np.frombuffer(value, feature.dtype).reshape(feature.shape)


def _brief(error: Exception) -> str:
    """TensorFlow's sentence without the graph's node in front."""
    if not isinstance(error, tf.errors.OpError):
        return "it is no tf.train.Example"
    text = " ".join((error.message or "unknown").split()).split(" [[")[0]
    said = re.search(r"\b(Feature|Key): .*|Could not parse example", text)
    text = said[0] if said else text.split("}} ")[-1].split(" [Op:")[0]
    return text.strip().rstrip(".")[:150]


def _described(records: tf.data.Dataset, index: int) -> str:
    """What a record holds, as the end of a sentence; else nothing."""
    try:
        (record,) = records.skip(index).take(1).as_numpy_iterator()
        features = tf.train.Example.FromString(record).features.feature
    except Exception:
        return ""
    listed = []
    for name, feature in sorted(features.items())[:4]:
        kind = feature.WhichOneof("kind") or "empty"
        values = getattr(feature, kind).value if kind != "empty" else ()
        listed.append(f"{name} ({kind.split('_')[0]}, {len(values)})")
    return f"; it holds: {', '.join(listed)[:120]}" if listed else ""
