"""The one place where whatever went wrong becomes a line and an exit status."""

import sys
import traceback
from collections.abc import Callable

from absl import logging

from tfconv_export import memory
from tfconv_export import process
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason
from tfconv_export.printable import elide

FAILED = 1
USAGE = 2
BUG = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130

# Characters of a line on stderr: more is no sentence, and hides its end.
_LONGEST = 600


def exit_status(run: Callable[[], int]) -> int:
    """Runs what may raise anything, and says on stderr what it raised.

    Args:
        run: gives an exit status.

    Returns:
        That status, or that of what was raised.
    """
    try:
        return run()
    except BaseException as error:
        # Impatient users press Ctrl-C twice.
        process.ignore_interrupts()
        status, sentence = _judged(error)
        if logging.get_verbosity() > 0:
            traceback.print_exception(error)
        say(sentence)
        return status


def say(sentence: str) -> None:
    """Prints a sentence as one line on stderr, if that can be printed to."""
    try:
        print(elide(f"tfconv-export: {sentence}", _LONGEST), file=sys.stderr)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # Nobody listens.


def _judged(error: BaseException) -> tuple[int, str]:
    """The exit status, and what is said."""
    if isinstance(error, UsageError):
        return USAGE, str(error)
    if isinstance(error, CheckError):
        return FAILED, str(error)
    if isinstance(error, process.Expired):
        return FAILED, f"{error}; {process.outcome()}."
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, f"interrupted; {process.outcome()}."
    if isinstance(error, MemoryError) or _is_exhaustion(error):
        return USAGE, f"the machine does not suffice: {_limited(error)}."
    if isinstance(error, OSError):
        return USAGE, f"the system refuses: {reason(error)}."
    if isinstance(error, ImportError) and not _is_ours(error):
        return USAGE, f"what it needs cannot be loaded: {_limited(error)}."
    if isinstance(error, SystemExit):
        return USAGE, "the model's own code, or a module's, ended the program."
    return BUG, (
        f"internal error: {type(error).__name__}: {reason(error)}; please "
        "report this, with what --verbosity=1 shows."
    )


def _limited(error: Exception) -> str:
    """The reason, and the limit that it may have met."""
    limit = memory.limit()
    if limit is None:
        return reason(error)
    return (
        f"{reason(error)}; the memory of a process is limited to {limit:,} "
        "bytes here (ulimit -v), and TensorFlow alone takes some 3 GB"
    )


def _is_exhaustion(error: BaseException) -> bool:
    """Tells whether TensorFlow says that something is used up."""
    return type(error).__name__ == "ResourceExhaustedError"


def _is_ours(error: ImportError) -> bool:
    return (error.name or "").partition(".")[0] in ("tfconv", "tfconv_export")
