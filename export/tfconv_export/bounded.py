"""Reading files of any bytes, in memory in proportion to their size."""

import contextlib
import os
import pathlib
import stat
import sys
import zipfile
from collections.abc import Iterable

from tfconv_export.errors import UsageError

# Labels, specifications: what people write.
_MAX_TEXT = 1 << 24
# Data that people pack become ten times as small; zeros a thousand times.
_MAX_EXPANSION = 100
_MIN_BOMB = 1 << 26


def check_regular(path: "os.PathLike | str", origin: str) -> int:
    """Makes sure that a path is that of a file with an end.

    Args:
        path: what is to be read.
        origin: string, how messages name it.

    Returns:
        Its size in bytes.

    Raises:
        UsageError: if it is a directory, a pipe or a device, or there is none.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{origin} cannot be read: {_said(error)}.") from error
    if not stat.S_ISREG(status.st_mode):
        is_directory = stat.S_ISDIR(status.st_mode)
        what = "a directory" if is_directory else "a pipe or a device"
        raise UsageError(
            f"{origin} cannot be read: it is {what}, not a file with an end."
        )
    return status.st_size


def read(path: "os.PathLike | str", origin: str) -> bytes:
    """The bytes of a file, if the machine can hold them.

    Args:
        path: of the file.
        origin: string, how messages name it.

    Raises:
        UsageError: if it cannot be read, or is no file.
    """
    size, memory = check_regular(path, origin), machine_memory()
    if size > memory:
        raise UsageError(
            f"{origin} cannot be read: it has {size:,} bytes, and this machine "
            f"can hold {memory:,}."
        )
    try:
        with open(path, "rb") as file:
            # It may grow while it is read.
            return file.read(size)
    except OSError as error:
        raise UsageError(f"{origin} cannot be read: {_said(error)}.") from error


def read_text(path: "os.PathLike | str", origin: str) -> str:
    """The text of a file that people write, in UTF-8.

    Args:
        path: of the file.
        origin: string, how messages name it.

    Raises:
        UsageError: if it cannot be read, or is far too long for such a file.
    """
    size = check_regular(path, origin)
    if size > _MAX_TEXT:
        raise UsageError(
            f"{origin} cannot be read: it has {size:,} bytes, and at most "
            f"{_MAX_TEXT:,} are taken."
        )
    try:
        return read(path, origin).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{origin} is not a text file in UTF-8.") from error


def unzip(archive: zipfile.ZipFile, name: str, limit: int = _MAX_TEXT) -> bytes:
    """The bytes of a member.

    Raises:
        ValueError: if there are more than `limit`.
    """
    info = archive.getinfo(name)
    if info.file_size > limit:
        raise ValueError(f"{name} would unpack to {info.file_size:,} bytes")
    with archive.open(info) as member:
        # Not more than that, whatever there is.
        return member.read(info.file_size)


def most_unpacked(size: int) -> int:
    """How many bytes so many packed ones may make; more are no data."""
    return max(_MIN_BOMB, _MAX_EXPANSION * size)


def product(sizes: Iterable[int], limit: int) -> int:
    """The product of sizes; if it is above a limit, some number above that."""
    found = 1  # The product of very many sizes would be a very long number.
    for size in sizes:
        found = min(found * size, limit + 1)
    return found


def machine_memory() -> int:
    """How many bytes this process could hold, at the very most."""
    if not hasattr(os, "sysconf"):  # as on Windows
        return sys.maxsize
    import resource

    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    # Not there on other systems, or "max".
    with contextlib.suppress(OSError, ValueError):
        limits.append(
            int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text())
        )
    return min(limits)


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
