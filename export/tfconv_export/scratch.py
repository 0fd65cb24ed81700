"""Folders for temporary files, which no dead process leaves for long."""

import contextlib
import os
import pathlib
import shutil
import stat
import tempfile
from collections.abc import Iterator

from tfconv_export import locks

_PREFIX = "tfconv-"
# Locked for as long as one of the processes lives whose folder it is.
_LOCK = ".tfconv-lock"


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """A folder for a while, and the end of those of processes that are dead.

    It is removed however the block ends; where the process was killed, the
    next one does so.
    """
    _sweep(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(
        prefix=_PREFIX, ignore_cleanup_errors=True
    ) as path:
        # Locked before it has its name: it would be swept in between.
        unnamed = os.path.join(path, f"{_LOCK}-")
        descriptor = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if locks.lock(descriptor):
                os.rename(unnamed, os.path.join(path, _LOCK))
            yield path
        finally:
            os.close(descriptor)


def _sweep(directory: str) -> None:
    """Removes the folders in here of this user's processes that are dead."""
    if not hasattr(os, "geteuid"):  # Windows, which has no such locks
        return
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with contextlib.suppress(OSError):
                    _remove_if_dead(pathlib.Path(entry.path))


def _remove_if_dead(path: pathlib.Path) -> None:
    """Removes it if it is ours, and nobody has it locked.

    Raises:
        OSError: if it is not ours, or cannot be removed.
    """
    status = path.lstat()  # Links are not followed.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if locks.lock(descriptor, wait=False):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)
