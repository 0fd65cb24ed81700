"""What can go wrong in an export, as exceptions with one clear sentence."""

import re

from tfconv_export.printable import clean
from tfconv_export.printable import elide

# Characters, of what others' exceptions say.
_LONGEST = 250


class UsageError(ValueError):
    """The request cannot be carried out: the caller has to change it.

    The command exits with status 2.

    Args:
        message: string; what it quotes of the user's files may hold line
            breaks, which become spaces.
    """

    def __init__(self, message: str):
        super().__init__(_on_one_line(message))


class CheckError(RuntimeError):
    """The converted model failed a check, and nothing was written.

    The command exits with status 1.

    Attributes:
        result: the `ExportResult` that failed, or `None` when the converter
            made no file to check.
    """

    def __init__(self, message: str, result=None):
        super().__init__(_on_one_line(message))
        self.result = result


def _on_one_line(message: str) -> str:
    return re.sub(r"[\n\t]+", " ", clean(message))


def reason(error: Exception) -> str:
    """What an exception says first, on one line, without terminal colors."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    # Keras says in which layer first, with all its config, or last.
    text = text.rpartition("\nException encountered: ")[2]
    text = text.partition(" Full object config: ")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Keras puts where it happened before what happened.
    while len(lines) > 1 and (
        lines[0].startswith("Exception encountered when")
        or lines[0].endswith(":")
    ):
        lines = lines[1:]
    said = (lines or [type(error).__name__])[0].rstrip(".")
    return elide(said, _LONGEST)
