"""What training did to the data before the model saw it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfconv_export.errors import UsageError
from tfconv_export.source import Input


@dataclasses.dataclass(frozen=True)
class Normalization:
    """`(x - mean) / stddev`, in float64.

    Attributes:
        input: string, the name of the input.
        mean: array of floats, one, or one for each channel: the last axis.
        stddev: likewise, greater than 0.
    """

    input: str
    mean: np.ndarray
    stddev: np.ndarray

    def __call__(self, name: str, value: np.ndarray) -> np.ndarray:
        if name != self.input:
            return value
        return (np.asarray(value, np.float64) - self.mean) / self.stddev


def normalization(
    inputs: tuple[Input, ...], mean: Any, stddev: Any
) -> Callable[[str, np.ndarray], np.ndarray]:
    """What is done to the data of an input, given its name and an example.

    Raises:
        UsageError: if the numbers, or how many there are, do not fit.
    """
    if mean is None and stddev is None:
        return lambda name, value: value
    floats = [item for item in inputs if item.dtype.is_floating]
    if len(floats) != 1:
        names = ", ".join(item.name for item in floats) or "none"
        raise UsageError(
            "--mean and --stddev need a model of one float input, but this one "
            f"has {len(floats)}: {names}."
        )
    (item,) = floats
    mean = _channels(0.0 if mean is None else mean, item, "mean")
    stddev = _channels(1.0 if stddev is None else stddev, item, "stddev")
    if not (stddev > 0).all():
        raise UsageError(f"--stddev={_listed(stddev)} must be greater than 0.")
    return Normalization(item.name, mean, stddev)


def _channels(values: Any, item: Input, flag: str) -> np.ndarray:
    try:
        array = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise UsageError(f"--{flag}={values} must be numbers.") from error
    if not np.isfinite(array).all():
        raise UsageError(f"--{flag}={_listed(array)} must be finite.")
    channels = item.shape[-1] if item.shape else 1
    if array.ndim > 1 or len(array) not in (1, channels):
        raise UsageError(
            f"--{flag}={_listed(array)} has {array.size} values; one is "
            f"needed, or one for each of the {channels} channels of input "
            f"{item.name}."
        )
    return array if item.shape else array[0]


def _listed(values: np.ndarray) -> str:
    shown = ",".join(f"{value:g}" for value in values.flat[:8])
    return shown + (",..." if values.size > 8 else "")
