"""Locks between processes, which end with the process that has them."""

import contextlib
import os
from collections.abc import Iterable
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def lock(descriptor: int, wait: bool = True) -> bool:
    """Locks an open file for this process and its children.

    Args:
        descriptor: of the file or directory.
        wait: whether to wait for whoever has it locked.

    Returns:
        Whether it is locked now; not every file system can.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def alone_in(directories: Iterable[os.PathLike]) -> Iterator[None]:
    """Waits until no other process is in here with one of the directories."""
    with contextlib.ExitStack() as opened:
        found = {}
        for directory in directories:
            with contextlib.suppress(OSError):  # One may write, but not read.
                descriptor = os.open(directory, os.O_RDONLY)
                opened.callback(os.close, descriptor)
                status = os.fstat(descriptor)
                found.setdefault((status.st_dev, status.st_ino), descriptor)
        # In one order everywhere, so that no two wait for each other.
        for _, descriptor in sorted(found.items()):
            lock(descriptor)
        yield
