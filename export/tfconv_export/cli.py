"""Turns a trained Keras model into a TFLite file that is proved.

The file is converted at a batch of 1, then run beside the model on LiteRT; it
is written only if it computes what was trained, with TFLite's own operators.

  tfconv-export --model=model.keras --output=model.tflite
  tfconv-export --model=model.keras --output=model.tflite --quantize=int8 \\
      --representative_data=features.npy
  tfconv-export inspect model.tflite

The last prints what is in a TFLite file, whoever made it.

Exit status: 0 written; 1 a check failed, nothing written; 2 wrong usage.
"""

import contextlib
import os
import signal
import sys
import tempfile
import traceback

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app
from absl import flags

from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError

_MODEL = flags.DEFINE_string(
    "model",
    None,
    "The trained model: a .keras file, an .h5 file or a SavedModel directory.",
)
_OUTPUT = flags.DEFINE_string("output", None, "The TFLite file to write.")
_QUANTIZE = flags.DEFINE_enum(
    "quantize",
    "none",
    ["none", "float16", "dynamic", "int8", "int16x8"],
    "none: float32. float16: weights in float16. dynamic: weights in int8. "
    "int8: everything in int8. int16x8: activations in int16, weights in "
    "int8. The last two need --representative_data.",
)
_REPRESENTATIVE_DATA = flags.DEFINE_string(
    "representative_data",
    None,
    "A .npy or .npz file of examples like those the model was trained on, "
    "preprocessed alike; the first axis counts them. int8 and int16x8 take "
    "the ranges of the activations from it, and every mode is checked on it.",
)
_REPRESENTATIVE_KEY = flags.DEFINE_string(
    "representative_key",
    None,
    "Which array of an .npz file with more than one.",
)
_IO_DTYPE = flags.DEFINE_enum(
    "io_dtype",
    None,
    ["float32", "int8", "uint8", "int16"],
    "The dtype of input and outputs. Default: int8 for --quantize=int8, int16 "
    "for int16x8, else float32.",
)
_INPUT_SHAPE = flags.DEFINE_list(
    "input_shape",
    None,
    "The input shape without the batch, such as 98,40, where the model leaves "
    "it open.",
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace the files to write if they exist."
)
_REPORT = flags.DEFINE_string(
    "report", None, "A JSON file to write the result and all checks to."
)
_C_ARRAY = flags.DEFINE_string(
    "c_array",
    None,
    "A C++ source file (.cc) to write the same bytes to, as an aligned "
    "constant array, and its header (.h) beside it.",
)
_UNSAFE_DESERIALIZATION = flags.DEFINE_bool(
    "unsafe_deserialization",
    False,
    "Load a model with Lambda layers, which runs Python code from the file.",
)


def main(argv: list[str]) -> int:
    if argv[1:2] == ["inspect"]:
        return _inspect(argv[2:])
    if len(argv) > 1:
        raise UsageError(f"Unexpected argument: {argv[1]}")
    # Not required in their definitions: those hold for every program that
    # imports this module.
    for flag in (_MODEL, _OUTPUT):
        if flag.value is None:
            raise UsageError(f"--{flag.name} must be given (see --help).")
    input_shape = _parse_shape(_INPUT_SHAPE.value)
    verbose = flags.FLAGS.verbosity > 0
    with contextlib.nullcontext() if verbose else _quiet():
        # Not before the flags are known to be right: this imports TensorFlow.
        from tfconv_export import report
        from tfconv_export.exporting import export

        try:
            result, failure = None, None
            result = export(
                _MODEL.value,
                _OUTPUT.value,
                quantize=_QUANTIZE.value,
                representative_data=_REPRESENTATIVE_DATA.value,
                representative_key=_REPRESENTATIVE_KEY.value,
                io_dtype=_IO_DTYPE.value,
                input_shape=input_shape,
                overwrite=_OVERWRITE.value,
                report=_REPORT.value,
                c_array=_C_ARRAY.value,
                unsafe_deserialization=_UNSAFE_DESERIALIZATION.value,
            )
        except CheckError as error:
            result, failure = error.result, error
    if result is not None:
        report.print_table(result)
    if failure is not None:
        raise failure
    return 0


def _inspect(paths: list[str]) -> int:
    if len(paths) != 1:
        raise UsageError(
            "inspect takes one TFLite file: tfconv-export inspect FILE. "
            f"Received: {' '.join(paths) or 'none'}"
        )
    with contextlib.nullcontext() if flags.FLAGS.verbosity > 0 else _quiet():
        from tfconv_export import flatbuffer
        from tfconv_export import report

        facts = flatbuffer.read_file(paths[0])
    report.print_facts(paths[0], facts)
    return 0


def run() -> None:
    """The command: parses `sys.argv`, and exits."""
    # `bazel run` starts in a folder of its own; paths are the caller's.
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    app.run(_exit_status_of_child, flags_parser=_parse_flags)


def _exit_status_of_child(argv: list[str]) -> int:
    """Runs `main` in a process of its own: the converter may crash."""
    if not hasattr(os, "fork") or "tensorflow" in sys.modules:
        # Forking is safe only before TensorFlow starts its threads.
        return _exit_status(argv)
    with tempfile.TemporaryDirectory(prefix="tfconv-") as scratch:
        child = os.fork()
        if not child:
            os.environ["TMPDIR"] = tempfile.tempdir = scratch
            os._exit(_flushed_exit_status(argv))
        status = _wait(child)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        print(
            f"tfconv-export: the conversion crashed with {name}; nothing was "
            "written. --verbosity=1 shows what TensorFlow said last.",
            file=sys.stderr,
        )
        return 1
    return os.WEXITSTATUS(status)


def _flushed_exit_status(argv: list[str]) -> int:
    try:
        status = _exit_status(argv)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    return status


def _wait(child: int) -> int:
    while True:
        try:
            return os.waitpid(child, 0)[1]
        except KeyboardInterrupt:
            continue  # Ctrl-C reaches the child too, which says so and ends.


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


@contextlib.contextmanager
def _quiet():
    """Holds back what TensorFlow's C++ writes to stderr, unless we crash."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (UsageError, CheckError, KeyboardInterrupt):
            raise
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def _parse_flags(argv: list[str]) -> list[str]:
    if {"--help", "-help", "-h", "--helpshort"} & set(argv[1:]):
        # absl's own shows the flags of the script, which has none when pip
        # has made it, and exits with 1.
        module = flags.FLAGS.find_module_defining_flag("model")
        print(f"{__doc__}\n{flags.FLAGS.module_help(module)}")
        sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        message = " ".join(str(error).split())
        print(f"tfconv-export: {message} (see --help)", file=sys.stderr)
        sys.exit(2)


def _parse_shape(dims: list[str] | None) -> tuple[int, ...] | None:
    if dims is None:
        return None
    if not dims or not all(dim.strip().isdecimal() for dim in dims):
        raise UsageError(
            f"--input_shape={','.join(dims)} must be sizes separated by "
            "commas, such as 98,40."
        )
    shape = tuple(int(dim) for dim in dims)
    if 0 in shape:
        raise UsageError(
            f"--input_shape={','.join(dims)} must hold no dimension of 0."
        )
    return shape


if __name__ == "__main__":
    run()
