"""By which command, of which versions, a file was made."""

import contextlib
import importlib.metadata
import inspect
import os
from collections.abc import Callable
from typing import Any

import tfconv

_OPTIONAL = ("tflite-micro", "ethos-u-vela", "matplotlib")


def as_flags(function: Callable, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that are not their defaults, as a command would say them.

    What is in memory has no flag: it is said in angle brackets.

    Args:
        function: with a flag for each argument.
        given: its arguments by name.
    """
    defaults = inspect.signature(function).parameters
    return {
        name: shown
        for name, shown in ((n, _shown(v)) for n, v in given.items())
        if name not in ("progress", "overwrite")
        and shown != _shown(defaults[name].default)
    }


def _shown(value):
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    if isinstance(value, dict) and not any(
        hasattr(item, "__array__") for item in value.values()
    ):
        return {name: _shown(item) for name, item in value.items()}
    return f"<{type(value).__name__} in memory>"


def versions() -> dict[str, str]:
    """The versions of what an export depends on, by package."""
    found = {"tfconv": tfconv.__version__}
    for name in ("tensorflow", "keras", "ai-edge-litert", *_OPTIONAL):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
