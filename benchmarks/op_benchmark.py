"""One depthwise convolution, forward and with both gradients.

tfconv's layer and Keras's, each in a plain tf.function and in one with
jit_compile=True, and PyTorch's operation in its own layout, on the CPU, beside
the copy of the inputs: the least that anything can take.

  python -m benchmarks.op_benchmark
  python -m benchmarks.op_benchmark --torch --json=op.json --plot=op.png
  python -m benchmarks.op_benchmark --grid=full --channels=64 --strides=2 \\
      --kernel_sizes=9,31 --batches=32

From the root of the repository, or `python benchmarks/op_benchmark.py` where
`pip install -e .` was done, or `bazel run //benchmarks:op_benchmark -- ...`.
Each cell takes its turn for `--seconds_per_cell`, and as long again to
compile: the default grid takes the better part of an hour.
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
import numpy as np
import tensorflow as tf
from absl import flags

import tfconv
from benchmarks import plots
from benchmarks import program
from benchmarks import report
from benchmarks import timing

_GRID = flags.DEFINE_enum(
    "grid",
    "axes",
    ["base", "axes", "full"],
    "base: all --channels and --kernel_sizes, with the first of --strides, "
    "--dilations, --multipliers and --batches. axes: also each of the others "
    "of those four alone, at --axes_kernel_sizes. full: all combinations but "
    "those of a stride > 1 with a dilation > 1.",
)
_CHANNELS = program.define_integers(
    "channels", [1, 3, 8, 40, 64, 128, 256], "Channels of the inputs."
)
_KERNEL_SIZES = program.define_integers(
    "kernel_sizes", [3, 5, 9, 15, 31, 63], "Taps."
)
_AXES_KERNEL_SIZES = program.define_integers(
    "axes_kernel_sizes", [9, 31], "Taps of what --grid=axes adds."
)
_STRIDES = program.define_integers("strides", [1, 2, 4], "Strides.")
_DILATIONS = program.define_integers(
    "dilations", [1, 2, 4, 8], "Dilation rates."
)
_MULTIPLIERS = program.define_integers(
    "multipliers", [1, 2, 4], "Depth multipliers."
)
_BATCHES = program.define_integers("batches", [32, 1], "Batch sizes.")
_STEPS = flags.DEFINE_integer(
    "steps",
    None,
    "Time steps. By default as many as make tensors of about equal size.",
    lower_bound=1,
)
_COMPUTES = flags.DEFINE_multi_enum(
    "computes",
    ["y", "y+dx+dw"],
    ["y", "y+dx+dw"],
    "The outputs alone, or also the gradients of inputs and kernel.",
)
_JIT = flags.DEFINE_bool("jit", True, "Whether to measure under XLA too.")
_TORCH = flags.DEFINE_bool("torch", False, "Whether to measure PyTorch too.")

_STEPS_OF_CHANNELS = {1: 16000, 3: 8000, 8: 4000, 40: 800}
_MAX_STEPS = 16000
_ELEMENTS = 64000


@dataclasses.dataclass(frozen=True)
class Cell:
    """One convolution with `padding="same"`."""

    computes: str
    batch: int
    steps: int
    channels: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    multiplier: int = 1

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Batch, time steps, channels and taps."""
        return self.batch, self.steps, self.channels, self.kernel_size

    @property
    def geometry(self) -> tfconv.ops.Geometry:
        return tfconv.ops.Geometry(
            self.kernel_size, self.stride, "same", self.dilation
        )


@dataclasses.dataclass(frozen=True)
class Data:
    """The inputs `(b, t, c)`, a kernel `(k, c, m)` and a gradient of y."""

    inputs: np.ndarray
    kernel: np.ndarray
    upstream: np.ndarray


def cells() -> list[Cell]:
    """What the flags ask for, each once."""
    values = (
        _STRIDES.value,
        _DILATIONS.value,
        _MULTIPLIERS.value,
        _BATCHES.value,
    )
    base = tuple(axis[0] for axis in values)
    if _GRID.value == "full":
        variations = list(itertools.product(*values))
    else:
        variations = [base]
    grid = list(
        itertools.product(variations, _CHANNELS.value, _KERNEL_SIZES.value)
    )
    if _GRID.value == "axes":
        alone = [
            (*base[:axis], value, *base[axis + 1 :])
            for axis, others in enumerate(values)
            for value in others[1:]
        ]
        grid += itertools.product(
            alone, _CHANNELS.value, _AXES_KERNEL_SIZES.value
        )
    return [
        Cell(
            computes=computes,
            batch=batch,
            steps=_STEPS.value or _default_steps(channels),
            channels=channels,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            multiplier=multiplier,
        )
        for (stride, dilation, multiplier, batch), channels, kernel_size in grid
        if stride == 1 or dilation == 1
        for computes in _COMPUTES.value
    ]


def _default_steps(channels: int) -> int:
    steps = max(1, min(_MAX_STEPS, _ELEMENTS // channels))
    return _STEPS_OF_CHANNELS.get(channels, steps)


def make_data(cell: Cell) -> Data:
    random = np.random.default_rng(0)
    outputs_shape = cell.geometry.output_shape(
        (cell.batch, cell.steps, cell.channels),
        cell.channels * cell.multiplier,
        cell.multiplier,
    )
    shapes = (
        (cell.batch, cell.steps, cell.channels),
        (cell.kernel_size, cell.channels, cell.multiplier),
        outputs_shape,
    )
    return Data(*(random.standard_normal(s, dtype=np.float32) for s in shapes))


def layer_variant(
    layer_class: type, cell: Cell, data: Data, jit: bool
) -> Callable[[], list[tf.Tensor]]:
    """A function that returns y, or y, dx and dw, of a layer."""
    layer = layer_class(
        cell.kernel_size,
        strides=cell.stride,
        padding="same",
        depth_multiplier=cell.multiplier,
        dilation_rate=cell.dilation,
        use_bias=False,
    )
    layer.build(data.inputs.shape)
    layer.set_weights([data.kernel])

    @tf.function(jit_compile=jit)
    def run(inputs, upstream):
        if cell.computes == "y":
            return [layer(inputs)]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        sources = [inputs, layer.weights[0].value]
        return [outputs, *tape.gradient(outputs, sources, upstream)]

    inputs = tf.constant(data.inputs)
    upstream = tf.constant(data.upstream)
    return lambda: run(inputs, upstream)


def copy_variant(data: Data) -> Callable[[], tf.Tensor]:
    """A function that reads the inputs once and writes as much."""
    run = tf.function(lambda inputs: -inputs)
    inputs = tf.constant(data.inputs)
    return lambda: run(inputs)


def check(cell: Cell, name: str, found: list, expected: list) -> None:
    """Raises RuntimeError unless two variants compute the same."""
    for what, a, b in zip(
        cell.computes.split("+"), found, expected, strict=True
    ):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or np.abs(a - b).max() > 1e-3 * np.abs(b).max():
            raise RuntimeError(f"{name} and Keras differ in {what} of {cell}.")


def measure(cell: Cell) -> report.Row:
    data = make_data(cell)
    variants = {
        "tfconv": layer_variant(tfconv.DepthwiseConv1D, cell, data, jit=False),
        "keras": layer_variant(
            keras.layers.DepthwiseConv1D, cell, data, jit=False
        ),
    }
    if _JIT.value:
        variants["tfconv_jit"] = layer_variant(
            tfconv.DepthwiseConv1D, cell, data, jit=True
        )
        variants["keras_jit"] = layer_variant(
            keras.layers.DepthwiseConv1D, cell, data, jit=True
        )
    if _TORCH.value:
        from benchmarks import torch_twins

        variants["torch"] = torch_twins.depthwise_variant(cell, data)
    timings = timing.measure(
        {
            name: timing.Repeated(function)
            for name, function in {
                **variants,
                "copy": copy_variant(data),
            }.items()
        },
        program.ROUNDS.value,
        program.SECONDS_PER_CELL.value,
    )
    expected = variants["keras"]()
    for name, function in variants.items():
        outputs = function()
        if name == "torch":
            outputs = torch_twins.channels_last(outputs)
        check(cell, name, outputs, expected)
    return report.Row(dataclasses.asdict(cell), timings)


def _columns() -> dict[str, Callable[[report.Row], str]]:
    columns = {
        "computes": lambda row: row.cell["computes"],
        "b x t x c": lambda row: "{batch}x{steps}x{channels}".format(
            **row.cell
        ),
        "k": lambda row: str(row.cell["kernel_size"]),
        "s": lambda row: str(row.cell["stride"]),
        "d": lambda row: str(row.cell["dilation"]),
        "m": lambda row: str(row.cell["multiplier"]),
        "copy": report.milliseconds("copy"),
        "tfconv": report.milliseconds("tfconv"),
        "keras": report.milliseconds("keras"),
        "keras / tfconv": report.times("keras", "tfconv"),
        "tfconv / copy": report.times("tfconv", "copy"),
    }
    layers = ["tfconv", "keras"]
    if _JIT.value:
        layers += ["tfconv_jit", "keras_jit"]
        columns |= {
            "tfconv jit": report.milliseconds("tfconv_jit"),
            "keras jit": report.milliseconds("keras_jit"),
            "keras / tfconv, jit": report.times("keras_jit", "tfconv_jit"),
            "tfconv jit / copy": report.times("tfconv_jit", "copy"),
        }
    if _TORCH.value:
        columns |= {
            "torch": report.milliseconds("torch"),
            "torch / tfconv": report.times("torch", "tfconv"),
        }
    columns["first call, s"] = report.firsts(layers)
    return columns


_LEGEND = (
    "Medians in ms; ratios of medians. b, t, c: batch, time steps, channels; "
    "k, s, d, m: kernel size, stride, dilation, depth multiplier. copy: reads "
    "the inputs and writes as much. first call: tracing, compiling and "
    "running, in the order of the columns."
)


def main() -> None:
    result = report.Report(
        "op_benchmark", _columns(), _LEGEND, plots.draw_kernel_sizes
    )
    if _TORCH.value:
        program.require_torch()
    with result:
        for cell in report.track(cells(), "op_benchmark"):
            result.add(measure(cell))
            keras.backend.clear_session()
            gc.collect()


def run() -> None:
    """The program."""
    program.run(main)


if __name__ == "__main__":
    run()
