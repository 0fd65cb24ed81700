"""Telling a caller how far a long task has come."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

# (what is done, how much of it, of how much; `None` where that is not known)
Progress = Callable[[str, int, "int | None"], None]


def silent(task: str, done: int, total: "int | None") -> None:
    """Tells nobody."""


def tracked(items: Iterable, task: str, progress: Progress) -> Iterator:
    """The items, and after each one a call of `progress`."""
    total = len(items) if hasattr(items, "__len__") else None
    for done, item in enumerate(items, 1):
        yield item
        progress(task, done, total)
