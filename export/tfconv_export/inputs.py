"""Which files an export reads."""

import os
import pathlib
import sys
from collections.abc import Iterator

from tfconv_export.data import sources
from tfconv_export.files import Named
from tfconv_export.request import Request

_FILES = ("model", "custom_module", "labels")
_DATA = ("representative_data", "evaluation_data", "data_function")


def find(request: Request) -> list[Named]:
    """The files and directories that a request names, and what is in those.

    Raises:
        UsageError: if a pattern or a directory of data cannot be gone through.
    """
    found = []
    for flag in (*_FILES, "feature_spec", *_DATA):
        given = getattr(request, flag)
        if not isinstance(given, (str, os.PathLike)):
            continue
        named = f"--{flag}={os.fspath(given)}"
        # A specification may stand on the command line itself.
        if flag in _FILES or os.path.isfile(given):
            found.append((named, given))
        if flag in _DATA:
            files = sources.find_files(os.fspath(given), named)
            found += [(named, path) for path in files]
            if os.path.isdir(given):
                found.append((named, given))
        if flag == "model":
            found += [(named, path) for path in _members(pathlib.Path(given))]
    return found


def _members(model: pathlib.Path) -> Iterator[pathlib.Path]:
    """Finds what is in the directory of a SavedModel, which may hold links."""
    if os.path.isfile(model / "saved_model.pb"):
        yield from model.rglob("*")


def modules() -> list[Named]:
    """The Python files that are in use, such as those of `--data_function`."""
    found = []
    for name, module in list(sys.modules.items()):
        # Not getattr(): some modules would be loaded by it.
        path = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(path, str):
            found.append((f"the Python module {name}, {path}", path))
    return found
