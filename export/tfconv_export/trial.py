"""Trying in another process what may end it."""

import contextlib
import faulthandler
import os
import signal
import time
import warnings
from collections.abc import Callable

# Of the clock; what takes longer without computing waits for a thread.
_MOST_SECONDS = 100


def crash(run: Callable[[], object], seconds: int) -> str | None:
    """How something would end this process; `None` if it would not.

    Args:
        run: what is tried, in a copy of the process. It may raise what it
            likes: only a signal is a crash, and so is not to end.
        seconds: int, how much of the processor's time it may take.

    Returns:
        The name of the signal, such as `"SIGSEGV"`, or `"SIGXCPU"` for what
        takes longer.
    """
    if not hasattr(os, "fork"):  # as on Windows
        return None
    import resource

    with warnings.catch_warnings():
        # Threads are not copied: what is tried should not need any.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            run()
        os._exit(0)
    status = _status(child)
    if status is not None and os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return None


def _status(child: int) -> int | None:
    """How a process ended; `None` if it waits for a thread without end."""
    deadline = time.monotonic() + _MOST_SECONDS
    try:
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                child = None
                return status
            time.sleep(0.001)
    finally:
        if child is not None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return None
