"""The latency of exported files on LiteRT, one thread, batch 1.

A network of four separable convolutions: of tfconv's layers, exported by
tfconv_export.export, and of Keras's with the same weights, exported as its
users do: in float32 by keras.Model.export(format="litert"), in int8 by
tf.lite.TFLiteConverter with the same representative data.

  python -m benchmarks.latency_benchmark
  python -m benchmarks.latency_benchmark --json=latency.json
  python -m benchmarks.latency_benchmark --cases=causal --quantize=int8 --floor

From the root of the repository, or `python benchmarks/latency_benchmark.py`,
where `pip install -e .` was done, or `bazel run //benchmarks:latency_benchmark
-- ...`. The default takes a few minutes.
"""

import os

# TensorFlow reads both when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import contextlib
import io
import itertools
import pathlib
import tempfile
import warnings
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from ai_edge_litert.interpreter import Interpreter

import tfconv
import tfconv_export
from benchmarks import networks
from benchmarks import plots
from benchmarks import program
from benchmarks import report
from benchmarks import timing

_GEOMETRIES = {
    "plain": {},
    "causal": {"padding": "causal"},
    "dilated": {"dilations": (1, 2, 4, 8)},
    "causal_dilated": {"padding": "causal", "dilations": (1, 2, 4, 8)},
    "strided": {"strides": 2},
}
_QUANTIZE_MODES = ("none", "int8")

_CASES = flags.DEFINE_list(
    "cases",
    list(_GEOMETRIES),
    f"Which convolutions: {', '.join(_GEOMETRIES)}. Dilated: by 1, 2, 4 and 8; "
    "strided: by 2 each.",
)
_QUANTIZE = flags.DEFINE_list(
    "quantize",
    list(_QUANTIZE_MODES),
    f"Which files: {', '.join(_QUANTIZE_MODES)}. none: float32.",
)
_INPUTS = program.define_inputs(
    "inputs",
    [(98, 40), (16000, 1)],
    "Time steps x channels of an input; with 1 channel the network begins with "
    "a strided convolution.",
)
_FLOOR = flags.DEFINE_bool(
    "floor",
    False,
    "Whether to measure a network without any padding, too: the least that a "
    "file of as many convolutions takes. Not for strided ones.",
)
_KERNEL_SIZES = program.define_integers("kernel_sizes", [9], "Taps.")
flags.set_default(program.ROUNDS, 200)

_EXAMPLES = 32


def make_files(
    input_shape: tuple[int, int],
    kernel_size: int,
    geometry: dict,
    quantize: str,
    folder: pathlib.Path,
) -> dict[str, pathlib.Path]:
    """Exports both networks; from "tfconv" and "keras" to their files."""
    paths = {name: folder / f"{name}.tflite" for name in ("tfconv", "keras")}
    data = np.random.default_rng(0).standard_normal(
        (_EXAMPLES, *input_shape), dtype=np.float32
    )
    keras_model = networks.ds_cnn(
        input_shape, kernel_size, keras.layers, **geometry
    )
    model = networks.ds_cnn(input_shape, kernel_size, tfconv, **geometry)
    model.set_weights(keras_model.get_weights())
    # What the converters print.
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        tfconv_export.export(
            model,
            paths["tfconv"],
            quantize=quantize,
            representative_data=data,
        )
        if quantize == "none":
            keras_model.export(paths["keras"], format="litert", verbose=False)
        else:
            paths["keras"].write_bytes(_quantized(keras_model, data))
    return paths


def make_unpadded_file(
    input_shape: tuple[int, int],
    kernel_size: int,
    geometry: dict,
    quantize: str,
    path: pathlib.Path,
) -> None:
    """Exports tfconv's network with inputs long enough to need no padding.

    Its convolutions have as many outputs on average.
    """
    steps, channels = input_shape
    dilations = geometry.get("dilations", networks.NO_DILATIONS)
    lost = np.cumsum([(kernel_size - 1) * dilation for dilation in dilations])
    stem_strides = networks.STEM_STRIDES if channels == 1 else 1
    steps += round(lost.mean()) * stem_strides
    model = networks.ds_cnn(
        (steps, channels),
        kernel_size,
        tfconv,
        **(geometry | {"padding": "valid"}),
    )
    data = np.random.default_rng(0).standard_normal(
        (_EXAMPLES, steps, channels), dtype=np.float32
    )
    # What the converters print.
    with contextlib.redirect_stdout(io.StringIO()):
        tfconv_export.export(
            model, path, quantize=quantize, representative_data=data
        )


def _quantized(model: keras.Model, data: np.ndarray) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [example[np.newaxis]] for example in data
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return converter.convert()


def load(path: pathlib.Path) -> Interpreter:
    """An interpreter that holds an input."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    values = np.random.default_rng(1).standard_normal(details["shape"])
    scale, zero_point = details["quantization"]
    if scale:
        values = np.clip(np.round(values / scale) + zero_point, -128, 127)
    interpreter.set_tensor(details["index"], values.astype(details["dtype"]))
    return interpreter


def output(interpreter: Interpreter) -> np.ndarray:
    """What it computed of its input, as real numbers."""
    (details,) = interpreter.get_output_details()
    values = interpreter.get_tensor(details["index"]).astype(np.float64)
    scale, zero_point = details["quantization"]
    return (values - zero_point) * scale if scale else values


def measure(
    input_shape: tuple[int, int], kernel_size: int, case: str, quantize: str
) -> report.Row:
    with tempfile.TemporaryDirectory() as folder:
        paths = make_files(
            input_shape,
            kernel_size,
            _GEOMETRIES[case],
            quantize,
            pathlib.Path(folder),
        )
        if _FLOOR.value and "strides" not in _GEOMETRIES[case]:
            paths["floor"] = pathlib.Path(folder) / "floor.tflite"
            make_unpadded_file(
                input_shape,
                kernel_size,
                _GEOMETRIES[case],
                quantize,
                paths["floor"],
            )
        interpreters = {name: load(path) for name, path in paths.items()}
        sizes = {
            name: path.stat().st_size / 1024 for name, path in paths.items()
        }
        timings = timing.measure(
            {
                name: timing.Repeated(interpreter.invoke)
                for name, interpreter in interpreters.items()
            },
            program.ROUNDS.value,
            program.SECONDS_PER_CELL.value,
        )
    cell = {
        "case": case,
        "quantize": quantize,
        "steps": input_shape[0],
        "channels": input_shape[1],
        "kernel_size": kernel_size,
    }
    outputs = {name: output(held) for name, held in interpreters.items()}
    error = np.abs(outputs["tfconv"] - outputs["keras"]).max()
    if (
        error
        > (1e-3 if quantize == "none" else 0.2) * np.abs(outputs["keras"]).max()
    ):
        raise RuntimeError(f"The files differ in what they compute: {cell}.")
    return report.Row(cell, timings, {"kib": sizes})


def _check_names(flag: str, values: list[str], known) -> None:
    if not values or set(values) - set(known):
        raise program.UsageError(
            f"--{flag}={','.join(values)} must be of {', '.join(known)}."
        )


_FLOOR_COLUMNS: dict[str, Callable[[report.Row], str]] = {
    "floor": report.milliseconds("floor"),
    "keras / floor": report.times("keras", "floor"),
}
_COLUMNS: dict[str, Callable[[report.Row], str]] = {
    "case": lambda row: row.cell["case"],
    "quantize": lambda row: row.cell["quantize"],
    "t x c": lambda row: "{steps}x{channels}".format(**row.cell),
    "k": lambda row: str(row.cell["kernel_size"]),
    "tfconv": report.milliseconds("tfconv"),
    "keras": report.milliseconds("keras"),
    "keras / tfconv": report.times("keras", "tfconv"),
    "size, KiB": report.extras("kib", ["tfconv", "keras"]),
}
_LEGEND = (
    "Medians in ms, 1 thread, batch 1; ratios of medians. t, c: time steps, "
    "channels; k: kernel size; size: of the files, in their order; "
    "floor: tfconv's file of a network that pads nothing."
)


def main() -> None:
    columns = _COLUMNS | (_FLOOR_COLUMNS if _FLOOR.value else {})
    result = report.Report(
        "latency_benchmark", columns, _LEGEND, plots.draw_latency
    )
    _check_names("cases", _CASES.value, _GEOMETRIES)
    _check_names("quantize", _QUANTIZE.value, _QUANTIZE_MODES)
    cells = list(
        itertools.product(
            _INPUTS.value, _KERNEL_SIZES.value, _CASES.value, _QUANTIZE.value
        )
    )
    with result:
        for cell in report.track(cells, "latency_benchmark"):
            result.add(measure(*cell))
            keras.backend.clear_session()


def run() -> None:
    """The program."""
    program.run(main)


if __name__ == "__main__":
    run()
