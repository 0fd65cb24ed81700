"""The command as a process: in a child, and without TensorFlow's noise."""

import contextlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable

from absl import logging

from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError


def in_a_child(run: Callable[[list[str]], int], argv: list[str]) -> int:
    """Runs a program in a process of its own: the converter may crash.

    Whatever ends either process but SIGKILL to this one, its temporary files
    are removed. SIGTERM and SIGHUP come to the program as Ctrl-C does, as a
    `KeyboardInterrupt`.

    Args:
        run: from the arguments to an exit status.
        argv: the arguments.

    Returns:
        The exit status; 1, and a sentence on stderr, after a crash.
    """
    if not hasattr(os, "fork") or "tensorflow" in sys.modules:
        # Forking is safe only before TensorFlow starts its threads.
        return run(argv)
    _end_by_exception()
    with tempfile.TemporaryDirectory(prefix="tfconv-") as scratch:
        child = os.fork()
        if not child:
            os.environ["TMPDIR"] = tempfile.tempdir = scratch
            _remember_interrupts()
            os._exit(_flushed(run, argv))
        status = _wait(child)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        print(
            f"tfconv-export: the conversion crashed with {name}; nothing was "
            "written. --verbosity=1 shows what TensorFlow said last.",
            file=sys.stderr,
        )
        return 1
    return os.WEXITSTATUS(status)


class _Ended(KeyboardInterrupt):
    """Someone wants the process to end."""


def _end_by_exception() -> None:
    def end(signum, frame):
        # Once: cleaning up is not to be interrupted.
        signal.signal(signum, signal.SIG_IGN)
        raise _Ended

    for signum in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup, SIGHUP is ignored, and stays so.
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, end)


_interrupts = []


def _remember_interrupts() -> None:
    """Python drops an exception that is raised in a callback of C++."""

    def interrupt(signum, frame):
        _interrupts.append(signum)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def end_if_interrupted() -> None:
    """To be called before what cannot be taken back.

    Raises:
        KeyboardInterrupt: if there was one that was lost on its way.
    """
    if _interrupts:
        raise KeyboardInterrupt


def _flushed(run: Callable[[list[str]], int], argv: list[str]) -> int:
    try:
        status = run(argv)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    return status


def _wait(child: int) -> int:
    while True:
        try:
            return os.waitpid(child, 0)[1]
        except _Ended:
            os.kill(child, signal.SIGTERM)
        except KeyboardInterrupt:
            continue  # Ctrl-C reaches the child too, which says so and ends.


@contextlib.contextmanager
def quiet():
    """Holds back what TensorFlow's C++ writes to stderr, unless we crash.

    With `--verbosity=1`, or `absl.logging.set_verbosity(1)`, it does not.
    """
    if logging.get_verbosity() > 0:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (UsageError, CheckError, KeyboardInterrupt):
            raise
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
