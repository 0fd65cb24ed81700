"""The flags of the command."""

import functools
import os
import re

from absl import flags

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
ARGUMENTS = [
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
        None,
        "Percentage points of accuracy that the file may lose. Default: 5, and "
        "2 where chance does not explain them.",
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
        "file, or a SavedModel that does more than compute.",
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
        "A directory to write golden vectors to: inputs, and what reference "
        "kernels compute of them, as .npy and C++.",
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
# Of the command alone: it ends its child.
TIMEOUT = _integer(
    "timeout_s",
    4 * 60 * 60,
    "Seconds after which an export that has not ended is ended, as a model "
    "with an endless loop never does; 0 for no limit.",
    lower_bound=0,
    upper_bound=1_000_000_000,  # The system counts them in nanoseconds.
)
# Of `export_streaming`, by their flags.
STREAM = {
    "stream_hop": "hop",
    "stream_state": "state",
    "stream_fallback": "fallback",
    "also_whole": "also_whole",
}


def flag_files(arguments: list[str]) -> list[str]:
    """The files that `--flagfile` names in these arguments, and those in them.

    Args:
        arguments: that were parsed, so that all of the files can be read.
    """
    waiting, found = list(arguments), []
    while waiting:
        argument = waiting.pop(0)
        named = re.fullmatch(r"--?flagfile(?:=(.*))?\s*", argument)
        if named is None:
            continue
        path = named[1]
        if path is None:
            path = waiting.pop(0) if waiting else ""
        path = os.path.expanduser(path.strip())
        # Not twice, which a pipe cannot be read.
        if path not in found and os.path.isfile(path):
            found.append(path)
            with open(path) as file:
                waiting = [*file, *waiting]
    return found
