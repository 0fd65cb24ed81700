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

from tfconv_export import bounded
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason

# Bytes around a record: its length and two checksums.
_BEFORE, _BEHIND = 12, 4
# Protocol buffers are no longer; an integer in one has a byte or more.
_MAX_RECORD = (1 << 31) - 1
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
        content = bounded.read_text(text, origin)
        try:
            entries = json.loads(content)
        except (ValueError, RecursionError) as error:
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
    is_size = text.isdecimal() and len(text) <= len(str(_MAX_RECORD))
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
    itemsize = dtype.itemsize if is_raw else 1
    if bounded.product([*shape, itemsize], _MAX_RECORD) > _MAX_RECORD:
        raise UsageError(
            f"{origin} gives feature {name} the shape {shape}, which no "
            "tf.train.Example can hold: it has at most 2 GB."
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
    count = _count(path, origin)
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
        lambda record: tf.io.parse_single_example(record, stored)
    ).as_numpy_iterator()
    index = 0
    while True:
        try:
            example = next(parsed, None)
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
    if index != count:  # as of a gzip file in parts
        raise _ends_within(index, origin)


def _count(path: pathlib.Path, origin: str) -> int:
    """How many records a file has, which may be damaged inside.

    TensorFlow believes their lengths: it ends the process at one that is far
    too large, and takes some files that were cut off for whole ones.

    Raises:
        UsageError: if the lengths do not add up to that of the file.
    """
    size = bounded.check_regular(path, origin)
    is_packed = path.suffix == ".gz"
    longest = bounded.most_unpacked(size) if is_packed else size
    count = 0
    try:
        with (gzip.open if is_packed else open)(path, "rb") as file:
            while before := file.read(_BEFORE):
                length = int.from_bytes(before[:8], "little")
                if length > min(longest, _MAX_RECORD):
                    raise _ends_within(count, origin)
                # Seeking goes past the end; reading does not.
                file.seek(length + _BEHIND - 1, os.SEEK_CUR)
                if not file.read(1):
                    raise _ends_within(count, origin)
                if not length:  # as of zeros, which take very long to count
                    raise UsageError(
                        f"{origin} does not fit the --feature_spec in record "
                        f"{count}: it is empty."
                    )
                if file.tell() > longest:
                    raise UsageError(
                        f"{origin} is not packed data: its {size:,} bytes "
                        f"unpack to more than {longest:,}; unpack it, and give "
                        "the .tfrecord file."
                    )
                count += 1
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"{origin} cannot be read as a TFRecord file: {reason(error)}."
        ) from error
    return count


def _ends_within(index: int, origin: str) -> UsageError:
    return UsageError(
        f"{origin} cannot be read as a TFRecord file: it ends within record "
        f"{index}."
    )


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
