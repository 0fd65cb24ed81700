"""The machine that a benchmark runs on."""

import os


def cores() -> int:
    """The cores that this process may use, and TensorFlow's threads."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
