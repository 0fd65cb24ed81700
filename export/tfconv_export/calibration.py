"""From data to checked examples, a few of them chosen, one at a time."""

import dataclasses
import math
import operator
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfconv_export import memory
from tfconv_export.data.normalization import normalization
from tfconv_export.data.ranges import Statistics
from tfconv_export.data.ranges import judge_calibration
from tfconv_export.data.readers import Reader
from tfconv_export.data.readers import no_examples
from tfconv_export.errors import UsageError
from tfconv_export.result import DataSummary
from tfconv_export.source import Input

# Chosen examples that take no more are kept, and not read again.
_KEPT_BYTES = 1 << 26

Example = dict[str, np.ndarray]
Progress = Callable[[int, int | None], None]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Examples that a model can be run on, the same ones every time.

    Attributes:
        origin: string, where they come from, for messages and the report.
        indices: array of ints, their numbers in the data, ascending.
        summaries: what was read, for each input.
        warnings: sentences on what may spoil a calibration.
        read: from such numbers to an iterator over `(number, example, label)`,
            with a label of `None` where there are none.
    """

    origin: str
    indices: np.ndarray
    summaries: tuple[DataSummary, ...]
    warnings: tuple[str, ...]
    read: Callable[
        [np.ndarray], Iterator[tuple[int, Example, "int | np.ndarray | None"]]
    ]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Example]:
        """Every example as batches of one, by input, in the model's dtypes."""
        for _, example, _ in self.read(self.indices):
            yield example

    def labelled(self) -> Iterator[tuple[Example, "int | np.ndarray"]]:
        """Every example with its label.

        That is an int of at least 0, or the row of numbers that was given.
        """
        for _, example, label in self.read(self.indices):
            yield example, label

    def sample(self, count: int) -> "Examples":
        """At most `count` of them, evenly spread."""
        chosen = spread(len(self), count)
        return dataclasses.replace(self, indices=self.indices[chosen])


def spread(length: int, count: int) -> np.ndarray:
    """At most `count` of the numbers below `length`, ascending.

    One lies anywhere in each of so many equal parts: every second example may
    be of the same class.
    """
    if length <= count:
        return np.arange(length)
    edges = np.arange(count + 1) * length // count
    return np.random.default_rng(0).integers(edges[:-1], edges[1:])


def choose(
    reader: Reader,
    inputs: tuple[Input, ...],
    *,
    count: int | None = 1000,
    seed: int = 0,
    mean: "float | tuple[float, ...] | None" = None,
    stddev: "float | tuple[float, ...] | None" = None,
    progress: Progress | None = None,
) -> Examples:
    """Chooses examples, and makes sure that the model can be run on them.

    Of NumPy data, only the chosen examples are read; of functions and
    TFRecords all of them, twice. Later passes read the chosen ones again only
    where they take more than 64 MiB.

    Args:
        reader: as from `data.sources.open_data`.
        inputs: the model's inputs, of fixed shapes.
        count: int, how many to choose at most, at random, in the data's
            order; `None` for all.
        seed: int, of that choice.
        mean: float, or one for each channel, to subtract from the data.
        stddev: likewise, to divide by afterwards.
        progress: called with how many examples are done, and of how many, or
            `None` where that is not known.

    Raises:
        UsageError: if the data is empty, of another shape, not finite, or does
            not fit the model's dtypes; or if another argument is wrong.
    """
    is_calibration = reader.wanted.argument != "evaluation_data"
    kind = "calibration" if is_calibration else "evaluation"
    if count is not None and _integer(count, f"num_{kind}_examples") < 1:
        raise UsageError(f"--num_{kind}_examples={count} must be at least 1.")
    if _integer(seed, "seed") < 0:
        raise UsageError(f"--seed={seed} must not be negative.")
    normalize = normalization(inputs, mean, stddev)
    progress = progress or (lambda done, total: None)

    def read(indices: np.ndarray | None):
        for index, arrays, label in reader.read(inputs, indices):
            example = {
                item.name: _example(
                    normalize(item.name, arrays[item.name]),
                    item,
                    f"{reader.origin} holds",
                    index,
                )
                for item in inputs
            }
            if label is not None:
                label = _label(label, reader.origin, index)
            yield index, example, label

    available = reader.count(inputs)
    if available is None:
        available = 0
        for _ in read(None):
            available += 1
            progress(available, None)
    if not available:
        raise no_examples(reader.origin)
    indices = np.arange(available)
    if count is not None and count < available:
        rng = np.random.default_rng(seed)
        indices = np.sort(rng.choice(available, count, replace=False))

    statistics = {item.name: Statistics() for item in inputs}
    size = sum(
        int(np.prod(item.shape, dtype=np.int64)) * item.dtype.size
        for item in inputs
    )
    kept = {} if size * len(indices) <= _KEPT_BYTES else None
    for done, (index, example, label) in enumerate(read(indices), 1):
        for name, value in example.items():
            statistics[name].add(value)
            value.flags.writeable = False
        if kept is not None:
            kept[index] = index, example, label
        progress(done, len(indices))
    summaries = tuple(
        DataSummary(
            input=name,
            origin=reader.origin,
            available=available,
            used=len(indices),
            minimum=found.minimum,
            maximum=found.maximum,
            mean=found.mean,
            stddev=found.stddev,
        )
        for name, found in statistics.items()
    )
    return Examples(
        origin=reader.origin,
        indices=indices,
        summaries=summaries,
        warnings=judge_calibration(summaries) if is_calibration else (),
        read=(
            read
            if kept is None
            else lambda indices: (kept[int(index)] for index in indices)
        ),
    )


def generate(inputs: tuple[Input, ...], count: int = 16) -> Examples:
    """Standard normal examples (integers: 0 or 1), always the same ones."""
    rng = np.random.default_rng(0)
    arrays = {}
    for item in inputs:
        shape = (count, 1, *item.shape)
        memory.check(
            math.prod(shape) * (np.dtype(float).itemsize + item.dtype.size),
            f"Generated data for the input {item.name} of shape {item.shape}",
        )
        if item.dtype.is_floating:
            array = rng.standard_normal(shape)
        else:
            array = rng.integers(0, 2, shape)
        arrays[item.name] = array.astype(item.dtype.as_numpy_dtype)

    def read(indices):
        for index in map(int, indices):
            example = {name: array[index] for name, array in arrays.items()}
            yield index, example, None

    return Examples("generated data", np.arange(count), (), (), read)


def _example(
    value: np.ndarray, item: Input, told: str, index: int
) -> np.ndarray:
    """The value as a batch of one in the input's dtype, a copy."""
    dtype = np.dtype(item.dtype.as_numpy_dtype)
    if not (
        item.dtype.is_floating or item.dtype.is_integer or dtype.kind == "b"
    ):
        raise UsageError(
            f"Input {item.name} takes {item.dtype.name}, of which no data can "
            "be given; export a model of numbers."
        )
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise UsageError(
            f"{told} NaN or infinite values, first in example {index}; remove "
            "or repair such examples."
        )
    with np.errstate(all="ignore"):
        cast = np.array(value, dtype, order="C")[np.newaxis]
    if item.dtype.is_floating:
        bad = ~np.isfinite(cast[0])
        what = "which is infinite as"
    else:
        bad = cast[0] != value
        what = "which is not a value of"
    if bad.any():
        raise UsageError(
            f"{told} {value[bad][0]:g} in example {index}, {what} "
            f"{dtype.name}, the dtype of input {item.name}."
        )
    return cast


def _label(value: Any, origin: str, index: int) -> "int | np.ndarray":
    """A label as an int, or as a row of several numbers."""
    value = np.asarray(value)
    if value.dtype.kind == "O":
        raise UsageError(
            f"{origin} has several arrays as the label of example {index}; "
            "give those of one output, the model's first of shape "
            "[1, classes], as an integer or a row."
        )
    if value.dtype.kind in "fiub" and value.size and value.ndim < 2:
        if value.size > 1 and np.isfinite(value).all():
            return value
        label = value.reshape(-1)[0]
        if value.size == 1 and label >= 0 and label == np.floor(label) < 2**31:
            return int(label)
    shown = f"{value.reshape(-1)[0]}" if value.size == 1 else "an array"
    raise UsageError(
        f"{origin} has {shown} of shape {value.shape} and dtype {value.dtype} "
        f"as the label of example {index}; one integer of at least 0 is "
        "needed, or a row with a number for each class."
    )


def _integer(value: Any, flag: str) -> int:
    try:
        return operator.index(value)
    except TypeError as error:
        raise UsageError(f"--{flag}={value} must be an integer.") from error
