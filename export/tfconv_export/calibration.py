"""Representative data: from a file to checked examples, one at a time."""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Iterator

import numpy as np

from tfconv_export.errors import UsageError
from tfconv_export.source import Input

_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Examples:
    """Examples that a model can be run on.

    Attributes:
        arrays: dict from an input's name to an array of shape `(n, *shape)`,
            of any float or integer dtype.
        origin: string, where they come from, for messages and the report.
        dtypes: dict from an input's name to the NumPy dtype it takes.
    """

    arrays: dict[str, np.ndarray]
    origin: str
    dtypes: dict[str, np.dtype]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Every example as batches of one, by input, in the model's dtypes."""
        for index in range(len(self)):
            yield {
                name: np.asarray(array[index], self.dtypes[name])[np.newaxis]
                for name, array in self.arrays.items()
            }

    def sample(self, count: int) -> "Examples":
        """At most `count` of them, evenly spread."""
        step = -(-len(self) // count)
        arrays = {name: array[::step] for name, array in self.arrays.items()}
        return dataclasses.replace(self, arrays=arrays)


def load(
    data: "os.PathLike | str | np.ndarray", key: str | None = None
) -> tuple[np.ndarray, str]:
    """Reads representative data.

    Args:
        data: path of a `.npy` file (memory-mapped) or a `.npz` file, or an
            array.
        key: string, the name of the array in a `.npz` file that holds more
            than one.

    Returns:
        `(array, origin)`.

    Raises:
        UsageError: if there is nothing to read, or it is not numbers.
    """
    if not isinstance(data, (str, os.PathLike)):
        array, origin = np.asarray(data), "the given array"
    else:
        origin = f"--representative_data={os.fspath(data)}"
        array = _read(pathlib.Path(data), key, origin)
    if array.dtype.kind not in "fiub":
        raise UsageError(
            f"{origin} must hold floats or integers, but its dtype is "
            f"{array.dtype}."
        )
    return array, origin


def check(
    array: np.ndarray, origin: str, inputs: tuple[Input, ...]
) -> Examples:
    """Makes sure that a model of these inputs can be run on the data.

    Args:
        array: as from `load`.
        origin: as from `load`.
        inputs: the model's inputs, of fixed shapes.

    Raises:
        UsageError: if the data is empty, of another shape, or not finite.
    """
    (item,) = inputs
    shape, dtype = item.shape, item.dtype.as_numpy_dtype
    if array.ndim == 0 or len(array) == 0:
        raise UsageError(
            f"{origin} holds no examples: its shape is {array.shape}; the "
            "first axis counts the examples."
        )
    if array.shape[1:] != tuple(shape):
        raise UsageError(
            f"{origin} holds an array of shape {array.shape}, but the model "
            f"takes examples of shape {tuple(shape)}: an array of shape "
            f"{('n', *shape)} is needed, the first axis counting the "
            "examples.".replace("'", "")
        )
    for start in range(0, len(array), _CHUNK):
        chunk = array[start : start + _CHUNK]
        with np.errstate(over="ignore"):
            finite = np.isfinite(chunk.astype(dtype, copy=False))
        if not finite.all():
            index = start + int(np.argwhere(~finite)[0][0])
            raise UsageError(
                f"{origin} holds NaN or infinite values, first in example "
                f"{index}; remove or repair such examples."
            )
    return Examples({item.name: array}, origin, {item.name: np.dtype(dtype)})


def generate(inputs: tuple[Input, ...], count: int = 16) -> Examples:
    """Standard normal examples (integers: 0 or 1), always the same ones."""
    rng = np.random.default_rng(0)
    arrays, dtypes = {}, {}
    for item in inputs:
        dtype = np.dtype(item.dtype.as_numpy_dtype)
        if item.dtype.is_floating:
            array = rng.standard_normal((count, *item.shape))
        else:
            array = rng.integers(0, 2, (count, *item.shape))
        arrays[item.name], dtypes[item.name] = array.astype(dtype), dtype
    return Examples(arrays, "generated data", dtypes)


def _read(path: pathlib.Path, key: str | None, origin: str) -> np.ndarray:
    if not path.is_file():
        raise UsageError(f"{origin} is not a file.")
    if path.suffix not in (".npy", ".npz"):
        raise UsageError(f"{origin} must be a .npy or a .npz file.")
    try:
        # Never pickles: loading one would run what is in it.
        if not zipfile.is_zipfile(path):
            return np.lib.format.open_memmap(path, mode="r")
        with (
            open(path, "rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            return arrays[_choose_key(arrays.files, key, origin)]
    except UsageError:
        raise
    except Exception as error:
        # NumPy raises whatever its parsers do, SyntaxError and zlib.error too.
        reason = str(error).splitlines()[:1] or [type(error).__name__]
        raise UsageError(
            f"{origin} cannot be read as a NumPy file of numbers: {reason[0]}"
        ) from error


def _choose_key(names: list[str], key: str | None, origin: str) -> str:
    listed = ", ".join(names) or "none"
    if key is None:
        if len(names) == 1:
            return names[0]
        raise UsageError(
            f"{origin} holds {len(names)} arrays ({listed}); choose one with "
            "--representative_key."
        )
    if key not in names:
        raise UsageError(
            f"{origin} holds no array named {key}; it holds: {listed}."
        )
    return key
