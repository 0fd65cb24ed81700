"""How much memory there is, and refusing what it cannot hold."""

import contextlib
import os
import pathlib

from tfconv_export.errors import UsageError

# Of Linux, in a container whose memory is limited.
_CGROUP = pathlib.Path("/sys/fs/cgroup/memory.max")


def available() -> int | None:
    """The bytes that this process may ever use; `None` if that is not known."""
    found = [limit() or 0]
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):
        found.append(int(_CGROUP.read_text()))
    return min(filter(None, found), default=None)


def limit() -> int | None:
    """The bytes that `ulimit -v` leaves a process; `None` for no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def check(size: int, what: str) -> None:
    """Makes sure that something could be held.

    Args:
        size: int, its bytes.
        what: string, how the message calls it.

    Raises:
        UsageError: if it is more than there is.
    """
    most = available()
    if most is not None and size > most:
        raise UsageError(
            f"{what} would take {size:,} bytes of memory, and there are "
            f"{most:,}; give a smaller --input_shape, or use a larger machine."
        )
