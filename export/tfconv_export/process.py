"""The command as a process: in a child, and without TensorFlow's noise."""

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator

from absl import logging

from tfconv_export import scratch
from tfconv_export.errors import CheckError

# Seconds between being asked to end and being ended.
_GRACE = 5
# Seconds within which a second signal is the first one's echo: a terminal
# sends Ctrl-C to both processes, and the parent hands it on.
_ECHO = 0.5

_ENDING = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM")
    if hasattr(signal, name)
]


# How a process ends that gets no memory: by the system, or by C++.
_OUT_OF_MEMORY = [
    getattr(signal, name)
    for name in ("SIGKILL", "SIGABRT", "SIGBUS")
    if hasattr(signal, name)
]


class Expired(KeyboardInterrupt):
    """The time is over."""


def in_a_child(run: Callable[[], int], timeout_s: int = 0) -> int:
    """Runs a program in a process of its own: the converter may crash.

    However either process ends, even by SIGKILL, so does the other one; their
    temporary files are removed then or by the next export. SIGTERM and SIGHUP
    come to the program as Ctrl-C does, as a `KeyboardInterrupt`.

    Args:
        run: from nothing to an exit status; it raises nothing.
        timeout_s: seconds after which to end the program; 0 for never.

    Returns:
        The exit status.

    Raises:
        CheckError: if the program ended without one, as in a crash.
        Expired: if it had to be killed when its time was over.
    """
    if not hasattr(os, "fork") or "tensorflow" in sys.modules:
        # Forking is safe only before TensorFlow starts its threads.
        _outcome.is_written = False
        return run()
    expired = (
        f"the export has taken the {timeout_s:,} seconds of --timeout_s, "
        "after which it ends; give more, or 0 for no limit"
    )
    with scratch.folder() as directory:
        reading, writing = os.pipe()
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        child = os.fork()
        if not child:
            status = None
            try:
                os.close(reading)
                _die_with(parent)
                os.environ["TMPDIR"] = tempfile.tempdir = directory
                _outcome.pipe = writing
                _raise_interrupts(expired)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                status = run()
            finally:
                _end(status, writing)
        os.close(writing)
        ended, was_expired = _wait(child, timeout_s, before)
        # Not until its end: processes that the child has left may have it.
        os.set_blocking(reading, False)
        told = b""
        with contextlib.suppress(BlockingIOError):
            told = os.read(reading, 2)
        os.close(reading)
    _outcome.is_written = _WRITTEN in told
    status = told.removeprefix(_WRITTEN)
    if status:
        return status[0]
    if was_expired:
        raise Expired(expired)
    if not os.WIFSIGNALED(ended):
        raise CheckError(
            "the program was ended, with exit status "
            f"{os.WEXITSTATUS(ended)}, by code that the model, the data or "
            f"TensorFlow runs; {outcome()}."
        )
    signum = os.WTERMSIG(ended)
    if signum in _ENDING:
        raise KeyboardInterrupt
    hint = ", as where memory runs out" if signum in _OUT_OF_MEMORY else ""
    raise CheckError(
        f"the conversion crashed with {signal.Signals(signum).name}{hint}; "
        f"{outcome()}. --verbosity=1 shows what TensorFlow said last."
    )


def _end(status: int | None, writing: int) -> None:
    """Ends the child, and tells its parent with which status, if it has one.

    It has none when it was interrupted before the program began; it ends as
    from a signal then.
    """
    try:
        _handle(signal.SIG_IGN)
        if status is None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os.write(writing, bytes([status]))
    finally:
        os._exit(status or 0)


class _Outcome:
    """Record of what was written, as far as this process knows.

    Attributes:
        is_written: bool, whether files were.
        pipe: int, the descriptor by which the parent learns of it, or `None`.
    """

    is_written = False
    pipe = None


_outcome = _Outcome()
_WRITTEN = b"\xff"  # no exit status


def note_written() -> None:
    """To be called when files are where they belong."""
    if not _outcome.is_written and _outcome.pipe is not None:
        os.write(_outcome.pipe, _WRITTEN)
    _outcome.is_written = True


def outcome() -> str:
    """Says what is to be found after an export that did not end well."""
    if _outcome.is_written:
        return "what was to be written is written"
    return "nothing was written"


def _die_with(parent: int) -> None:
    """Ends this process when its parent ends, where the system can do that."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            set_death_signal = 1  # PR_SET_PDEATHSIG
            ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # It has ended in between.
        os.kill(os.getpid(), signal.SIGKILL)


_interrupts = []


def _raise_interrupts(expired: str = "") -> None:
    """Makes exceptions of signals, as Python does of Ctrl-C.

    They are noted, too: Python drops an exception that is raised in a callback
    of C++.
    """
    last = -_ECHO

    def interrupt(signum, frame):
        nonlocal last
        now = time.monotonic()
        if now - last >= _ECHO:
            last = now
            _interrupts.append(signum)
            if signum == getattr(signal, "SIGALRM", None):
                raise Expired(expired)
            raise KeyboardInterrupt

    _handle(interrupt)


def _handle(handler) -> None:
    for signum in _ENDING:
        # Under nohup, SIGHUP is ignored, and stays so.
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


def ignore_interrupts() -> None:
    """From now on, if they are ours, as the process is about to end."""
    if _outcome.pipe is not None:
        _handle(signal.SIG_IGN)


def end_if_interrupted() -> None:
    """To be called before what cannot be taken back.

    Raises:
        KeyboardInterrupt: if there was one that was lost on its way.
    """
    if _interrupts:
        raise KeyboardInterrupt


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds interrupts back until the block has been gone through."""
    if threading.current_thread() is not threading.main_thread():
        yield  # They never come to it.
        return
    held, handlers = [], {}
    try:
        for signum in _ENDING:
            if callable(signal.getsignal(signum)):
                handlers[signum] = signal.signal(
                    signum, lambda *signalled: held.append(signalled)
                )
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        for signum, frame in held[:1]:
            handlers[signum](signum, frame)


def _wait(child: int, timeout_s: int, before: set) -> tuple[int, bool]:
    """The child's status when it has ended, and whether it was for the time."""
    expirations = []

    def hand_on(signum, frame):
        if signum == getattr(signal, "SIGALRM", None):
            if expirations:
                signum = signal.SIGKILL
            expirations.append(signum)
            signal.setitimer(signal.ITIMER_REAL, _GRACE)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signum)

    _handle(hand_on)
    if timeout_s:
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    # Handlers that raise nothing: what it returns cannot be lost.
    status = os.waitpid(child, 0)[1]
    signal.setitimer(signal.ITIMER_REAL, 0)
    _handle(signal.SIG_IGN)
    return status, signal.SIGKILL in expirations


def open_streams() -> None:
    """Makes sure that the three standard streams are open.

    Where one is closed, the next file to be opened would be in its place, and
    get what is printed. What is printed then fails as before.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w", closefd=False))
    if hasattr(sys.stdout, "reconfigure"):
        # Not every terminal can show every name.
        sys.stdout.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def quiet():
    """Keeps what TensorFlow's C++ writes to stderr from the user.

    With `--verbosity=1`, or `absl.logging.set_verbosity(1)`, it does not.
    """
    if logging.get_verbosity() > 0:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
