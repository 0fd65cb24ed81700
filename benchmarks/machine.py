"""The machine that a benchmark runs on."""

import os
import platform
import re


def cores() -> int:
    """The cores that this process may use, and TensorFlow's threads."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The name that the processor gives itself."""
    return _cpuinfo().get(
        "model name", platform.processor() or platform.machine()
    )


def exact_processor() -> str:
    """The name with what tells processors of the same name apart."""
    numbers = [
        f"{key} {value}"
        for key, value in _cpuinfo().items()
        if key in ("cpu family", "model")
    ]
    return " ".join([processor(), *numbers])


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _cpuinfo() -> dict[str, str]:
    """Facts that Linux has of the first core; none elsewhere."""
    if not os.path.exists("/proc/cpuinfo"):
        return {}
    with open("/proc/cpuinfo") as file:
        first, _, _ = file.read().partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
