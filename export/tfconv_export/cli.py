"""Turns a trained Keras model into a TFLite file that is proved.

The file is converted at a batch of 1, then run beside the model on LiteRT; it
is written only if it computes what was trained, with TFLite's own operators.

  tfconv-export --model=model.keras --output=model.tflite
  tfconv-export --model=model.keras --output=model.tflite --quantize=int8 \\
      --representative_data=features.npy
  tfconv-export --model=model.keras --output=model.tflite --quantize=int8 \\
      --representative_data=features.npy --target=ethos-u55-128 \\
      --c_array=model.cc --report_dir=report
  tfconv-export --model=model.keras --output=stream.tflite --stream_hop=4 \\
      --quantize=int8 --representative_data=features.npy
  tfconv-export inspect model.tflite

The last but one makes a file that runs frame by frame. The last prints what is
in a TFLite file, whoever made it.

Exit status: 0 written; 1 a check failed, and nothing was written but the
reports that were asked for; 2 wrong usage.
"""

import contextlib
import functools
import os
import sys

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import rich.progress
from absl import app
from absl import flags

from tfconv_export import process
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError

# Its own: a program that imports this module may have flags of these names.
FLAGS = flags.FlagValues()

_bool = functools.partial(flags.DEFINE_bool, flag_values=FLAGS)
_enum = functools.partial(flags.DEFINE_enum, flag_values=FLAGS)
_float = functools.partial(flags.DEFINE_float, flag_values=FLAGS)
_integer = functools.partial(flags.DEFINE_integer, flag_values=FLAGS)
_list = functools.partial(flags.DEFINE_list, flag_values=FLAGS)
_multi_string = functools.partial(flags.DEFINE_multi_string, flag_values=FLAGS)
_string = functools.partial(flags.DEFINE_string, flag_values=FLAGS)

# Every flag is an argument of `exporting.export` of the same name, but those of
# streams: `streaming.export_streaming` has them, without `stream_`.
_ARGUMENTS = [
    _string(
        "model",
        None,
        "The trained model: a .keras file, an .h5 file or a SavedModel "
        "directory.",
    ),
    _string("output", None, "The TFLite file to write."),
    _enum(
        "quantize",
        "none",
        ["none", "float16", "dynamic", "int8", "int16x8", "int4"],
        "none: float32. float16: weights in float16. dynamic: weights in int8. "
        "int8: everything in int8. int16x8: activations in int16, weights in "
        "int8. int4: as int8, with weights of convolutions in 4 bits "
        "(experimental). The last three need --representative_data.",
    ),
    _enum(
        "io_dtype",
        None,
        ["float32", "int8", "uint8", "int16"],
        "The dtype of inputs and outputs. Default: int8 for --quantize=int8, "
        "int16 for int16x8, else float32.",
    ),
    _multi_string(
        "float_layers",
        [],
        "A regular expression; layers whose names it finds stay in float32. "
        "May be given several times.",
    ),
    _bool(
        "auto_float_layers",
        False,
        "Keep the fewest most sensitive layers in float32 until --min_sqnr_db "
        "is reached.",
    ),
    _float(
        "min_sqnr_db",
        None,
        "The signal-to-noise ratio that every output must have, in decibels. "
        "Default: 10, and 40 for float16.",
    ),
    _bool(
        "equalize",
        False,
        "Even out the ranges of channels before quantizing; the float model "
        "computes the same.",
    ),
    _string(
        "representative_data",
        None,
        "Examples like those the model was trained on, preprocessed alike: a "
        ".npy or .npz file whose first axis counts them, a directory of such "
        "files, or TFRecord files. int8 and int16x8 take the ranges of the "
        "activations from it, and every mode is checked on it.",
    ),
    _string(
        "data_function",
        None,
        "In place of --representative_data: module:function or "
        "path.py:function, called without arguments, which yields one example "
        "after the other.",
    ),
    _string(
        "representative_key",
        None,
        "Which array of an .npz file with more than one.",
    ),
    _string(
        "feature_spec",
        None,
        "What is in the TFRecord files: NAME:DTYPE:SHAPE;..., such as "
        "log_mel:float32:98,40;label:int64:",
    ),
    _integer(
        "num_calibration_examples",
        1000,
        "At most how many examples of the representative data to use, chosen "
        "at random.",
    ),
    _integer("seed", 0, "Of that choice."),
    _list(
        "mean", None, "To subtract from the data: one value, or one a channel."
    ),
    _list("stddev", None, "To divide the data by then, likewise."),
    _string(
        "evaluation_data",
        None,
        "Examples with labels, for the accuracy of the model and of the file: "
        "an .npz file with x and y, TFRecord files with a feature label, or "
        "module:function, which yields (x, y).",
    ),
    _integer(
        "num_evaluation_examples", 1000, "At most how many of those to use."
    ),
    _float(
        "max_accuracy_drop",
        5.0,
        "Percentage points of accuracy that the file may lose.",
    ),
    _multi_string(
        "input_shape",
        None,
        "The input shape without the batch, such as 98,40, where the model "
        "leaves it open; NAME:98,40, once for each, if it has several inputs.",
    ),
    _string("signature", None, "Which one of a SavedModel."),
    _string(
        "custom_module",
        None,
        "A Python file to run first, which registers your own layers.",
    ),
    _bool(
        "unsafe_deserialization",
        False,
        "Load a model with Lambda layers, which runs Python code from the "
        "file.",
    ),
    _string(
        "target",
        "litert",
        "What is to run the file, and has to prove that it can: litert, micro "
        "(TFLite Micro), or an NPU such as ethos-u55-128.",
    ),
    _bool(
        "require_npu", False, "Fail if the NPU leaves an operator to the CPU."
    ),
    _string(
        "labels",
        None,
        "A text file with the name of one class a line, for the metadata.",
    ),
    _string("model_version", "", "For the metadata."),
    _bool("overwrite", False, "Replace the files to write if they exist."),
    _string(
        "report", None, "A JSON file to write the result and all checks to."
    ),
    _string(
        "report_dir",
        None,
        "A directory to write report.html, report.json, pictures and data for "
        "Model Explorer to.",
    ),
    _string(
        "golden_dir",
        None,
        "A directory to write golden vectors to: inputs, and what TFLite's "
        "reference kernels compute of them, as .npy and C++.",
    ),
    _string(
        "c_array",
        None,
        "A C++ source file (.cc) to write the bytes that the target runs to, "
        "as an aligned constant array, and its header (.h) beside it.",
    ),
    _integer(
        "stream_hop",
        None,
        "Make a file that goes frame by frame: how many new frames it takes at "
        "once. It gives what the model does of the newest whole window.",
    ),
    _enum(
        "stream_state",
        "external",
        ["external", "internal"],
        "Where such a file has the frames that it looks back on. external: in "
        "inputs and outputs, which the program hands on; internal: in "
        "variables.",
    ),
    _enum(
        "stream_fallback",
        None,
        ["buffer"],
        "buffer: keep the whole window where a layer cannot go frame by frame.",
    ),
    _string(
        "also_whole",
        None,
        "The TFLite file for whole windows, beside the one of --stream_hop.",
    ),
]
_STREAM = {
    "stream_hop": "hop",
    "stream_state": "state",
    "stream_fallback": "fallback",
    "also_whole": "also_whole",
}
_HELP = ("-h", "-help", "--help", "--helpshort", "--helpfull")


def main(argv: list[str]) -> int:
    if argv[1:2] == ["inspect"]:
        return _inspect(argv[2:])
    if len(argv) > 1:
        raise UsageError(f"Unexpected argument: {argv[1]}")
    arguments = {flag.name: flag.value for flag in _ARGUMENTS}
    # Not required in their definitions: those hold for every program that
    # imports this module.
    for name in ("model", "output"):
        if arguments[name] is None:
            raise UsageError(f"--{name} must be given (see --help).")
    arguments["input_shape"] = _parse_shapes(arguments["input_shape"])
    for name in ("mean", "stddev"):
        arguments[name] = _parse_numbers(name, arguments[name])
    arguments |= _stream_arguments(arguments)
    with process.quiet(), _progress() as progress:
        # Not before the flags are known to be right: this imports TensorFlow.
        from tfconv_export.report import terminal

        try:
            result, failure = None, None
            if "hop" in arguments:
                from tfconv_export.streaming import export_streaming as export
            else:
                from tfconv_export.exporting import export
            result = export(**arguments, progress=progress)
        except CheckError as error:
            result, failure = error.result, error
    if result is not None:
        with _printing():
            terminal.print_result(result)
    if failure is not None:
        raise failure
    return 0


def _stream_arguments(arguments: dict) -> dict:
    """Takes them out of the others; none if no stream is wanted."""
    found = {
        argument: arguments.pop(flag) for flag, argument in _STREAM.items()
    }
    if found["hop"] is not None:
        return found
    for flag in _STREAM:
        if FLAGS[flag].present:
            raise UsageError(
                f"--{flag} does nothing without --stream_hop; give that, too, "
                "or leave it out."
            )
    return {}


@contextlib.contextmanager
def _printing():
    """What is printed may go nowhere; what was written is written all the same.

    So `tfconv-export ... | head` succeeds.
    """
    try:
        yield
        sys.stdout.flush()
    except SystemExit:
        pass  # as rich has it, when nobody reads on
    except OSError as error:
        # Python would try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(
                f"tfconv-export: the result cannot be printed: "
                f"{error.strerror}.",
                file=sys.stderr,
            )


def _inspect(paths: list[str]) -> int:
    if len(paths) != 1:
        raise UsageError(
            "inspect takes one TFLite file: tfconv-export inspect FILE. "
            f"Received: {' '.join(paths) or 'none'}"
        )
    with process.quiet():
        from tfconv_export import flatbuffer
        from tfconv_export.report import terminal

        facts = flatbuffer.read_file(paths[0])
    with _printing():
        terminal.print_facts(paths[0], facts)
    return 0


def run() -> None:
    """The command: parses `sys.argv`, and exits."""
    # `bazel run` starts in a folder of its own; paths are the caller's.
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    app.run(
        lambda argv: process.in_a_child(_exit_status, argv),
        flags_parser=_parse_flags,
    )


def _exit_status(argv: list[str]) -> int:
    try:
        return main(argv)
    except UsageError as error:
        print(f"tfconv-export: {error}", file=sys.stderr)
        return 2
    except CheckError as error:
        print(f"tfconv-export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tfconv-export: interrupted; nothing written.", file=sys.stderr)
        return 130


def _parse_flags(argv: list[str]) -> list[str]:
    if set(_HELP) & set(argv[1:]):
        # absl's own shows the flags of the script, which has none when pip
        # has made it, and exits with 1.
        with _printing():
            print(f"{__doc__}\n{FLAGS.get_help()}")
        sys.exit(0)
    try:
        rest = FLAGS(_with_verbosity(argv), known_only=True)
        try:
            return flags.FLAGS(rest)
        except flags.UnrecognizedFlagError:
            return FLAGS(rest)  # It suggests one of ours.
    except flags.Error as error:
        message = " ".join(str(error).split())
        print(f"tfconv-export: {message} (see --help)", file=sys.stderr)
        sys.exit(2)


def _with_verbosity(argv: list[str]) -> list[str]:
    """`-v` alone, as other programs have it, for absl's `-v=1`."""
    followers = [*argv[1:], "-"]
    return [
        "-v=1" if flag == "-v" and follower.startswith("-") else flag
        for flag, follower in zip(argv, followers, strict=True)
    ]


@contextlib.contextmanager
def _progress():
    """A bar on the terminal, if there is one, that goes when it is done."""
    bar = rich.progress.Progress(transient=True)
    tasks = {}

    def update(task: str, done: int, total: int | None) -> None:
        if task not in tasks:
            for other in tasks.values():  # They come one after the other.
                bar.update(other, total=1, completed=1)
            tasks[task] = bar.add_task(task, total=total)
        bar.update(tasks[task], completed=done, total=total)

    with bar if bar.console.is_terminal else contextlib.nullcontext():
        yield update


def _parse_shapes(given: list[str] | None):
    """`98,40` -> a tuple; `audio:98,40`, `motion:50,6` -> a dict of them."""
    if given is None:
        return None
    named = {}
    for text in given:
        name, separator, dims = text.rpartition(":")
        if not separator and len(given) == 1:
            return _parse_shape(text, dims)
        if not separator or name in named:
            raise UsageError(
                f"--input_shape={text} is one of several; write each as "
                "--input_shape=NAME:98,40 with the name of its input."
            )
        named[name] = _parse_shape(text, dims)
    return named


def _parse_shape(text: str, dims: str) -> tuple[int, ...]:
    sizes = [dim.strip() for dim in dims.split(",")]
    if not all(size.isdecimal() for size in sizes):
        raise UsageError(
            f"--input_shape={text} must be sizes separated by commas, such as "
            "98,40."
        )
    shape = tuple(map(int, sizes))
    if 0 in shape:
        raise UsageError(f"--input_shape={text} must hold no dimension of 0.")
    return shape


def _parse_numbers(flag: str, given: list[str] | None):
    if given is None:
        return None
    try:
        return tuple(float(text) for text in given)
    except ValueError as error:
        raise UsageError(
            f"--{flag}={','.join(given)} must be numbers separated by commas, "
            "such as 0.5 or 0.4,0.6."
        ) from error


if __name__ == "__main__":
    run()
