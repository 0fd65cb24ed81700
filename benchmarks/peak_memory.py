"""The peak memory of training, each variant in a process of its own.

`train_benchmark` runs this file with what to train as JSON, and reads from its
last line how many bytes that took at its peak, above what the imports took.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys

_TRAIN_STEPS = 2


def of_training(cell, variant: str) -> int:
    """Bytes that training takes, the compilation of its step included.

    Args:
        cell: a `training.Cell`.
        variant: one of `training.VARIANTS`.
    """
    request = json.dumps([dataclasses.asdict(cell), variant])
    path = [folder for folder in sys.path if folder]
    process = subprocess.run(
        [sys.executable, os.path.abspath(__file__), request],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise RuntimeError(f"{variant} of {cell} failed:\n{process.stderr}")
    return int(process.stdout.splitlines()[-1])


def _peak() -> int:
    """The process's peak of resident memory, in bytes."""
    # Unlike `ru_maxrss` it does not begin at what the parent had.
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _main() -> None:
    from benchmarks import program
    from benchmarks import training

    cell, variant = json.loads(sys.argv[1])
    if variant == "torch":
        program.require_torch()
    before = _peak()
    train = training.make_trainer(training.Cell(**cell), variant, _TRAIN_STEPS)
    train()
    train()
    print(_peak() - before)


if __name__ == "__main__":
    _main()
