"""The first step of training and its memory, in a process of its own.

In one with other variants, the first of them is slow, since it is what loads
and warms the compiler, and they share their memory. `train_benchmark` runs this
file with what to train as JSON, and reads a `Training` as JSON from its last
line.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys

_TRAIN_STEPS = 2


@dataclasses.dataclass(frozen=True)
class Training:
    """What training took, the compilation of its step included.

    Attributes:
        first_step: seconds of it.
        peak_memory: bytes at the peak, above what the imports took.
    """

    first_step: float
    peak_memory: int


def train(cell, variant: str) -> Training:
    """Trains for a few steps, in a new process.

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
    return Training(**json.loads(process.stdout.splitlines()[-1]))


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
    from benchmarks import training

    cell, variant = json.loads(sys.argv[1])
    if variant == "torch":
        # So that its memory is not counted.
        from benchmarks import torch_twins  # noqa: F401
    before = _peak()
    step = training.make_trainer(training.Cell(**cell), variant, _TRAIN_STEPS)
    first_step = step()
    step()
    print(
        json.dumps(dataclasses.asdict(Training(first_step, _peak() - before)))
    )


if __name__ == "__main__":
    _main()
