"""Arrays of numbers in .npy and .npz files: mapped, never unpickled."""

import dataclasses
import io
import math
import pathlib
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from typing import IO

import numpy as np

from tfconv_export import bounded
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason

# NumPy's own limit is less; a longer one would be read into memory first.
_MAX_HEADER = 1 << 16
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Column:
    """One array of a file.

    Attributes:
        shape: tuple of ints.
        dtype: NumPy dtype.
        order: string, `"C"` or `"F"`.
        offset: int, in bytes, where its values start.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    order: str = "C"
    offset: int = 0

    @property
    def end(self) -> int:
        """Where its values end, in bytes."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


class NumpyFile:
    """A `.npy` or a `.npz` file; what it is called does not matter.

    Attributes:
        origin: string, how messages name it.
        columns: dict of its arrays by name; `""` names that of a `.npy` file.
    """

    def __init__(self, path: pathlib.Path, origin: str):
        self.origin = origin
        self._path = path
        bounded.check_regular(path, origin)
        self._is_zip = self._try(lambda: zipfile.is_zipfile(path))
        self.columns = self._try(
            self._zip_columns if self._is_zip else self._npy_columns
        )

    def open(self, names: list[str]) -> dict[str, np.ndarray]:
        """The arrays of these names, mapped into memory.

        A compressed one is first unpacked to a temporary file.

        Raises:
            UsageError: if one is damaged, or the disk cannot hold it.
        """
        if not self._is_zip:
            return {
                name: self._try(lambda: _map(self._path, self.columns[""]))
                for name in names
            }
        return {
            name: self._try(lambda name=name: self._open_member(name))
            for name in names
        }

    def _npy_columns(self) -> dict[str, Column]:
        with open(self._path, "rb") as file:
            return {"": _read_header(file, self._path.stat().st_size)}

    def _zip_columns(self) -> dict[str, Column]:
        columns = {}
        with zipfile.ZipFile(self._path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    with archive.open(info) as file:
                        columns[info.filename.removesuffix(".npy")] = (
                            _read_header(file, info.file_size)
                        )
        return columns

    def _open_member(self, name: str) -> np.ndarray:
        column = self.columns[name]
        with zipfile.ZipFile(self._path) as archive:
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as member:
                if info.compress_type == zipfile.ZIP_STORED:
                    # To the end, where the checksum is compared.
                    while member.read(_CHUNK):
                        pass
                    start = _start_of_stored(self._path, info)
                    return _map(self._path, column, start)
                self._check_disk(name, info.file_size)
                # It has no name: the system removes it when it is closed.
                with tempfile.TemporaryFile() as file:
                    shutil.copyfileobj(member, file, _CHUNK)
                    file.flush()
                    return _map(file, column)

    def _check_disk(self, name: str, size: int) -> None:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if size > free // 2:
            raise UsageError(
                f"{self.origin} unpacks to {size / 1e9:.1f} GB in array "
                f"{name}, more than half of the {free / 1e9:.1f} GB free in "
                f"{folder}; give it as a .npy file, which is not unpacked, or "
                "set TMPDIR to a larger disk."
            )

    def _try(self, read: Callable):
        try:
            return read()
        except UsageError:
            raise
        except Exception as error:
            # The parsers raise whatever they do: SyntaxError, zlib.error, ...
            raise UsageError(
                f"{self.origin} cannot be read as a NumPy file of numbers: "
                f"{reason(error)}."
            ) from error


def _read_header(file: IO[bytes], size: int) -> Column:
    """What the header of a `.npy` file of `size` bytes says."""
    start = file.read(12)
    long = start[6:7] != b"\x01"
    length = int.from_bytes(start[8 : 12 if long else 10], "little")
    if length > _MAX_HEADER:
        raise ValueError(f"its header claims {length} bytes")
    header = io.BytesIO(start + file.read(length + (0 if long else -2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.lib.format.read_magic(header)
        parse = (
            np.lib.format.read_array_header_2_0
            if long
            else np.lib.format.read_array_header_1_0
        )
        shape, is_fortran, dtype = parse(header)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not loaded")
    if any(dim < 0 for dim in shape):
        raise ValueError(f"its header claims the shape {shape}")
    column = Column(shape, dtype, "F" if is_fortran else "C", header.tell())
    if column.end != size:
        raise ValueError(
            f"its header announces {column.end} bytes, but it has {size}"
        )
    return column


def _map(file, column: Column, start: int = 0) -> np.ndarray:
    if not math.prod(column.shape):
        return np.empty(column.shape, column.dtype)
    return np.memmap(
        file,
        column.dtype,
        mode="r",
        offset=start + column.offset,
        shape=column.shape,
        order=column.order,
    )


def _start_of_stored(path: pathlib.Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member that is not compressed start."""
    with open(path, "rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = file.read(2), file.read(2)
    lengths = int.from_bytes(name, "little") + int.from_bytes(extra, "little")
    return info.header_offset + 30 + lengths
