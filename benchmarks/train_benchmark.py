"""Training steps per second of whole networks.

ds_cnn: four separable convolutions; tc_resnet: strided ones with residuals;
wavenet: dilated causal ones with gates. Of tfconv's layers and of Keras's, by
model.fit with jit_compile off and on, and in PyTorch, eager; on the CPU, with
plain SGD.

  python -m benchmarks.train_benchmark
  python -m benchmarks.train_benchmark --torch --floor --json=train.json
  python -m benchmarks.train_benchmark --networks=ds_cnn --kernel_sizes=9 \\
      --inputs=98x40 --nojit --noown_process

From the root of the repository, or `python benchmarks/train_benchmark.py` where
`pip install -e .` was done, or `bazel run //benchmarks:train_benchmark -- ...`.
The default takes about half an hour.
"""

import os

# TensorFlow reads both when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import dataclasses
import gc
import itertools
from collections.abc import Callable

import keras
from absl import flags

from benchmarks import networks
from benchmarks import own_process
from benchmarks import plots
from benchmarks import program
from benchmarks import report
from benchmarks import timing
from benchmarks import training

_NETWORKS = flags.DEFINE_list(
    "networks",
    list(networks.NETWORKS),
    f"Which networks: {', '.join(networks.NETWORKS)}.",
)
_INPUTS = program.define_inputs(
    "inputs",
    [(98, 40), (16000, 1)],
    "Time steps x channels of an input; with 1 channel the networks begin with "
    "a strided convolution.",
)
_KERNEL_SIZES = program.define_integers("kernel_sizes", [9, 31], "Taps.")
_BATCH = flags.DEFINE_integer(
    "batch",
    None,
    "Batch size. Default: 64, or 32 of inputs with 1 channel.",
    lower_bound=1,
)
_TRAIN_STEPS = flags.DEFINE_integer(
    "train_steps", 8, "Training steps in a turn.", lower_bound=1
)
_JIT = flags.DEFINE_bool("jit", True, "Whether to measure under XLA too.")
_TORCH = flags.DEFINE_bool("torch", False, "Whether to measure PyTorch too.")
_FLOOR = flags.DEFINE_bool(
    "floor",
    False,
    "Whether to measure tfconv's networks with kernels of one tap too, whose "
    "depthwise convolutions hardly do more than read and write the tensors.",
)
_OWN_PROCESS = flags.DEFINE_bool(
    "own_process",
    True,
    "Whether to train once more, each variant in a process of its own, for its "
    "first step and its peak of memory.",
)
flags.set_default(program.SECONDS_PER_CELL, 30.0)


def cells() -> list[training.Cell]:
    """What the flags ask for."""
    unknown = set(_NETWORKS.value) - set(networks.NETWORKS)
    if unknown or not _NETWORKS.value:
        raise program.UsageError(
            f"--networks={','.join(_NETWORKS.value)} must be of "
            f"{', '.join(networks.NETWORKS)}."
        )
    return [
        training.Cell(
            network=network,
            kernel_size=kernel_size,
            batch=_BATCH.value or (32 if channels == 1 else 64),
            steps=steps,
            channels=channels,
        )
        for (steps, channels), network, kernel_size in itertools.product(
            _INPUTS.value, _NETWORKS.value, _KERNEL_SIZES.value
        )
    ]


def variants() -> list[str]:
    """Those of `training.VARIANTS` that the flags ask for."""
    return [
        name
        for name in training.VARIANTS
        if (_JIT.value or not name.endswith("_jit"))
        and (_TORCH.value or name != "torch")
        and (_FLOOR.value or not name.startswith("floor"))
    ]


def measure(cell: training.Cell) -> report.Row:
    timings = timing.measure(
        {
            name: training.make_trainer(cell, name, _TRAIN_STEPS.value)
            for name in variants()
        },
        program.ROUNDS.value,
        program.SECONDS_PER_CELL.value,
    )
    extra = {}
    if _OWN_PROCESS.value:
        alone = {name: own_process.train(cell, name) for name in variants()}
        extra["first_step_seconds"] = {
            name: each.first_step for name, each in alone.items()
        }
        extra["peak_memory_mib"] = {
            name: each.peak_memory / 2**20 for name, each in alone.items()
        }
    return report.Row(dataclasses.asdict(cell), timings, extra)


def _columns() -> dict[str, Callable[[report.Row], str]]:
    columns = {
        "network": lambda row: row.cell["network"],
        "b x t x c": lambda row: "{batch}x{steps}x{channels}".format(
            **row.cell
        ),
        "k": lambda row: str(row.cell["kernel_size"]),
        "tfconv": report.per_second("tfconv"),
        "keras": report.per_second("keras"),
        "tfconv : keras": report.times("keras", "tfconv"),
    }
    if _JIT.value:
        columns |= {
            "tfconv jit": report.per_second("tfconv_jit"),
            "keras jit": report.per_second("keras_jit"),
            "tfconv : keras, jit": report.times("keras_jit", "tfconv_jit"),
        }
    if _FLOOR.value:
        columns |= {
            "floor": report.per_second("floor"),
            "floor : keras": report.times("keras", "floor"),
        }
        if _JIT.value:
            columns |= {
                "floor jit": report.per_second("floor_jit"),
                "floor : keras, jit": report.times("keras_jit", "floor_jit"),
            }
    if _TORCH.value:
        columns |= {
            "torch": report.per_second("torch"),
            "tfconv : torch": report.times("torch", "tfconv"),
        }
    if _OWN_PROCESS.value:
        columns |= {
            "first step, s": report.extras("first_step_seconds", variants()),
            "peak memory, MiB": report.extras("peak_memory_mib", variants()),
        }
    return columns


_LEGEND = (
    "Training steps per second, of the median turn, and their ratios. b, t, c: "
    "batch, time steps, channels; k: kernel size. floor: tfconv with one tap. "
    "first step: with tracing and compiling. peak memory: above that of the "
    "imports, compiling included. Both of a process of its own each, in the "
    "order of the columns."
)


def main() -> None:
    result = report.Report(
        "train_benchmark", _columns(), _LEGEND, plots.draw_training
    )
    if _TORCH.value:
        program.require_torch()
    with result:
        for cell in report.track(cells(), "train_benchmark"):
            result.add(measure(cell))
            keras.backend.clear_session()
            gc.collect()


def run() -> None:
    """The program."""
    program.run(main)


if __name__ == "__main__":
    run()
