"""The time of a hop: of a streaming file, and of whole windows at every hop.

A network of three separable convolutions, tfconv's, exported by
tfconv_export.export_streaming as a streaming file and as the file for whole
windows that it equals. Without the streaming file a device runs the latter at
every hop.

What is timed is invoke() alone, of both interpreters. Left out is what the
caller copies between two hops: of whole windows, the window's frames (t * c
elements), to make room for the new ones; of streaming files, the states from
the outputs to the inputs ("state, B"), or nothing where the file holds them and
updates them in invoke(). In C that takes about as long for the one as for the
other; through Python it would take longer than the hop.

  python -m benchmarks.streaming_benchmark
  python -m benchmarks.streaming_benchmark --json=streaming.json
  python -m benchmarks.streaming_benchmark --networks=98x40x64x2 \\
      --quantize=int8 --runtimes=micro

From the root of the repository, or `python benchmarks/streaming_benchmark.py`,
where `pip install -e .` was done, or
`bazel run //benchmarks:streaming_benchmark -- ...`. The default takes a few
minutes.
"""

import os

# TensorFlow reads both when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import contextlib
import dataclasses
import importlib.util
import io
import itertools
import math
import pathlib
import tempfile
import warnings
from collections.abc import Callable

import keras
import numpy as np
from absl import flags
from ai_edge_litert import interpreter as litert

import tfconv
import tfconv_export
from benchmarks import networks
from benchmarks import program
from benchmarks import report
from benchmarks import timing
from tfconv_export import micro

_STATE_BYTES = {"none": 4, "int8": 1}
_KERNELS = {
    "xnnpack": litert.OpResolverType.AUTO,
    "builtin": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": litert.OpResolverType.BUILTIN_REF,
}
_MICRO = "micro"
_RUNTIMES = (*_KERNELS, _MICRO)

_NETWORKS = flags.DEFINE_list(
    "networks",
    ["49x6x24x2", "98x40x64x2", "98x40x64x4", "196x40x64x2"],
    "Time steps of a window x channels x filters x time steps of a hop.",
)
_QUANTIZE = flags.DEFINE_list(
    "quantize",
    list(_STATE_BYTES),
    f"Which files: {', '.join(_STATE_BYTES)}. none: float32.",
)
_RUNTIME_NAMES = flags.DEFINE_list(
    "runtimes",
    None,
    f"Of {', '.join(_RUNTIMES)}. micro: TFLite Micro's reference kernels; the "
    "others: LiteRT's. By default xnnpack, and micro if it is installed.",
)
_STREAM_STATE = flags.DEFINE_enum(
    "stream_state",
    "external",
    ["external", "internal"],
    "Where the states of the streaming files are.",
)
_HEADS = flags.DEFINE_list(
    "heads",
    [networks.STREAMING_HEADS[0]],
    f"Which ends of the network: {', '.join(networks.STREAMING_HEADS)}. The "
    "mean over the window and then the dense layer, or the other way round.",
)
flags.set_default(program.ROUNDS, 200)

_EXAMPLES = 32
_VARIANTS = ("whole", "streaming")
_SHAPE = "{steps}x{channels}x{filters}, {hop}"


@dataclasses.dataclass(frozen=True)
class Network:
    """The sizes of a network: time steps of a window, channels, and so on."""

    steps: int
    channels: int
    filters: int
    hop: int
    head: str


@dataclasses.dataclass(frozen=True)
class Files:
    """The contents of the files of one network.

    Attributes:
        contents: bytes, of each variant.
        macs: multiply-accumulates of a hop, likewise.
        state_bytes: int, of the streaming file's states.
    """

    contents: dict[str, bytes]
    macs: dict[str, int]
    state_bytes: int


def make_files(network: Network, quantize: str) -> Files:
    """Exports both files, which compute the same, as the export proves.

    Raises:
        program.UsageError: if they cannot be made.
    """
    shape = (network.steps, network.channels)
    keras.utils.set_random_seed(0)
    model = networks.streaming_ds_cnn(
        shape, network.filters, tfconv, network.head
    )
    generator = np.random.default_rng(0)
    # As in trained networks no two biases are alike, which a file would share.
    model.set_weights(
        [
            weight + generator.uniform(0.0, 0.1, weight.shape)
            for weight in model.get_weights()
        ]
    )
    data = generator.standard_normal((_EXAMPLES, *shape), dtype=np.float32)
    options = {}
    if _STREAM_STATE.value != "external":
        options["state"] = _STREAM_STATE.value
    with (
        tempfile.TemporaryDirectory() as folder,
        # What the converter prints.
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        paths = {
            name: pathlib.Path(folder) / f"{name}.tflite" for name in _VARIANTS
        }
        try:
            result = tfconv_export.export_streaming(
                model,
                paths["streaming"],
                network.hop,
                quantize=quantize,
                representative_data=data,
                also_whole=paths["whole"],
                **options,
            )
        except tfconv_export.UsageError as error:
            raise program.UsageError(str(error)) from error
        contents = {name: path.read_bytes() for name, path in paths.items()}
    plan = result.plan
    return Files(
        contents,
        {"whole": plan.macs_per_window, "streaming": plan.macs_per_hop},
        _STATE_BYTES[quantize]
        * sum(math.prod(state.shape) for state in plan.states),
    )


def load_litert(content: bytes, kernels: str) -> Callable[[], None]:
    """LiteRT's `invoke`, of an interpreter with values in all inputs."""
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=_KERNELS[kernels],
        num_threads=1,
    )
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], _values(details))
    return interpreter.invoke


def load_micro(content: bytes) -> tuple[Callable[[], None], int]:
    """TFLite Micro's `invoke`, likewise, and the bytes of its arena."""
    from tflite_micro.python.tflite_micro import runtime

    arena_bytes = micro.TFLiteMicro(content).arena_bytes
    interpreter = runtime.Interpreter.from_bytes(
        content, arena_size=arena_bytes
    )
    count = len(litert.Interpreter(model_content=content).get_input_details())
    for index in range(count):
        values = _values(interpreter.get_input_details(index))
        interpreter.set_input(values, index)
    return interpreter.invoke, arena_bytes


def _values(details: dict) -> np.ndarray:
    dtype = np.dtype(details["dtype"])
    generator = np.random.default_rng(1)
    if dtype.kind == "f":
        return generator.standard_normal(details["shape"]).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(
        limits.min, limits.max, details["shape"], dtype, endpoint=True
    )


def measure(
    network: Network, quantize: str, files: Files, runtime: str
) -> report.Row:
    arenas = {}
    functions = {}
    for name, content in files.contents.items():
        if runtime == _MICRO:
            functions[name], arenas[name] = load_micro(content)
        else:
            functions[name] = load_litert(content, runtime)
    timings = timing.measure(
        {
            name: timing.Repeated(function)
            for name, function in functions.items()
        },
        program.ROUNDS.value,
        program.SECONDS_PER_CELL.value,
    )
    cell = {
        "quantize": quantize,
        "runtime": runtime,
        "state": _STREAM_STATE.value,
        **dataclasses.asdict(network),
    }
    extra = {
        "macs": files.macs,
        "state_bytes": {"streaming": files.state_bytes},
        "arena_bytes": arenas,
        "file_bytes": {
            name: len(content) for name, content in files.contents.items()
        },
    }
    return report.Row(cell, timings, extra)


def _parse_network(text: str, head: str) -> Network:
    sizes = [int(s) if s.isdecimal() else 0 for s in text.strip().split("x")]
    if len(sizes) != 4 or 0 in sizes:
        raise program.UsageError(
            f"--networks={text} must be four integers > 0, such as 98x40x64x2."
        )
    if sizes[0] < networks.STREAMING_MIN_STEPS:
        raise program.UsageError(
            f"--networks={text} has windows of {sizes[0]} steps, and the "
            f"network needs {networks.STREAMING_MIN_STEPS}."
        )
    return Network(*sizes, head)


def _runtimes() -> list[str]:
    installed = importlib.util.find_spec("tflite_micro") is not None
    chosen = _RUNTIME_NAMES.value
    if chosen is None:
        return ["xnnpack", _MICRO] if installed else ["xnnpack"]
    _check_names("runtimes", chosen, _RUNTIMES)
    if _MICRO in chosen and not installed:
        raise program.UsageError(
            "--runtimes=micro needs the package tflite-micro: pip install "
            "'tfconv[micro]'."
        )
    return chosen


def _check_names(flag: str, values: list[str], known) -> None:
    if not values or set(values) - set(known):
        raise program.UsageError(
            f"--{flag}={','.join(values)} must be of {', '.join(known)}."
        )


def mac_ratio(row: report.Row) -> float:
    """How much less there is to multiply: what a hop could gain at most."""
    macs = row.extra["macs"]
    return macs["whole"] / macs["streaming"]


def _time_ratio(row: report.Row) -> float:
    return timing.ratio(row.timings, "whole", "streaming")


def _microseconds(variant: str) -> Callable[[report.Row], str]:
    return lambda row: f"{row.timings[variant].median * 1e6:.1f}"


def _more_bytes(row: report.Row) -> str:
    sizes = row.extra["file_bytes"]
    return f"{100 * (sizes['streaming'] / sizes['whole'] - 1):+.0f}%"


_COLUMNS: dict[str, Callable[[report.Row], str]] = {
    "t x c x f, hop": lambda row: _SHAPE.format(**row.cell),
    "head": lambda row: row.cell["head"],
    "quantize": lambda row: row.cell["quantize"],
    "runtime": lambda row: row.cell["runtime"],
    "whole, us": _microseconds("whole"),
    "hop, us": _microseconds("streaming"),
    "whole / hop": report.times("whole", "streaming"),
    "MACs": lambda row: f"{mac_ratio(row):.1f}x",
    "of MACs": lambda row: f"{100 * _time_ratio(row) / mac_ratio(row):.0f}%",
    "state, B": report.extras("state_bytes", ["streaming"]),
    "arena, B": report.extras("arena_bytes", _VARIANTS),
    "file, B": report.extras("file_bytes", _VARIANTS),
    "file": _more_bytes,
}
_LEGEND = (
    "Medians in us of invoke(), 1 thread, batch 1; ratios of medians. t, c, f: "
    "time steps of a window, channels, filters. hop: the streaming file. MACs: "
    "the ratio of multiply-accumulates; of MACs: how much of it is reached. "
    "arena, file: whole and streaming; the smallest arena of TFLite Micro on "
    "this machine."
)


def draw(path: str, rows: list[report.Row]) -> None:
    """Bars of how much faster a hop is, and marks where the MACs would be."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.5 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    axes.barh(places, [_time_ratio(row) for row in rows], label="time")
    axes.plot(
        [mac_ratio(row) for row in rows],
        places,
        "|",
        color="black",
        markersize=12,
        label="multiply-accumulates",
    )
    label = f"{_SHAPE} {{quantize}} {{runtime}}"
    axes.set_yticks(places, [label.format(**row.cell) for row in rows])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlabel("whole window / hop")
    axes.legend()
    figure.savefig(path)


def main() -> None:
    result = report.Report("streaming_benchmark", _COLUMNS, _LEGEND, draw)
    _check_names("quantize", _QUANTIZE.value, _STATE_BYTES)
    _check_names("heads", _HEADS.value, networks.STREAMING_HEADS)
    runtimes = _runtimes()
    cells = list(
        itertools.product(
            [
                _parse_network(text, head)
                for head in _HEADS.value
                for text in _NETWORKS.value
            ],
            _QUANTIZE.value,
        )
    )
    with result:
        for network, quantize in report.track(cells, "streaming_benchmark"):
            files = make_files(network, quantize)
            for runtime in runtimes:
                result.add(measure(network, quantize, files, runtime))
            keras.backend.clear_session()


def run() -> None:
    """The program."""
    program.run(main)


if __name__ == "__main__":
    run()
