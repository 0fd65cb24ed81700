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

Exit status: 0 written; 1 a check failed, or the conversion crashed or took too
long, and nothing was written but the reports that were asked for;
2 wrong usage, or a machine that cannot do it; 70 a fault of this program;
130 interrupted.
"""

import contextlib
import os
import sys
from collections.abc import Callable

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import rich.progress
from absl import app
from absl import flags

from tfconv_export import boundary
from tfconv_export import files
from tfconv_export import process
from tfconv_export.command_flags import ARGUMENTS
from tfconv_export.command_flags import FLAGS
from tfconv_export.command_flags import STREAM
from tfconv_export.command_flags import TIMEOUT
from tfconv_export.command_flags import flag_files
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError

_MOST_DIGITS = 10  # of sizes of 32 bits; of thousands, `int` makes none
_HELP = ("-h", "-help", "--help", "--helpshort", "--helpfull")


def main(argv: list[str]) -> int:
    if argv[1:2] == ["inspect"]:
        return _inspect(argv[2:])
    if len(argv) > 1:
        raise UsageError(f"Unexpected argument: {argv[1]}")
    arguments = {flag.name: flag.value for flag in ARGUMENTS}
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
        import tfconv  # noqa: F401, first: it says which backend Keras needs
        from tfconv_export.report import terminal

        try:
            result, failure = None, None
            if "hop" in arguments:
                from tfconv_export.streaming import export_streaming as export
            else:
                from tfconv_export.exporting import export
            read = [(f"--flagfile={p}", p) for p in flag_files(sys.argv)]
            with files.also_read(read):
                result = export(**arguments, progress=progress)
        except CheckError as error:
            result, failure = error.result, error
    if result is not None:
        # What was written is written, whether or not it can be told.
        _can_print(lambda: terminal.print_result(result))
    if failure is not None:
        raise failure
    return 0


def _stream_arguments(arguments: dict) -> dict:
    """Takes them out of the others; none if no stream is wanted."""
    found = {argument: arguments.pop(flag) for flag, argument in STREAM.items()}
    if found["hop"] is not None:
        return found
    for flag in STREAM:
        if FLAGS[flag].present:
            raise UsageError(
                f"--{flag} does nothing without --stream_hop; give that, too, "
                "or leave it out."
            )
    return {}


def _can_print(show: Callable[[], None]) -> bool:
    """Shows something on stdout, and whether it could.

    It also could if nobody reads on, as in `tfconv-export ... | head`.
    """
    try:
        show()
        sys.stdout.flush()
    except SystemExit:
        pass  # as rich has it, when nobody reads on
    except OSError as error:
        # Python would try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            boundary.say(f"the result cannot be printed: {error.strerror}.")
            return False
    return True


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
    if not _can_print(lambda: terminal.print_facts(paths[0], facts)):
        return boundary.USAGE
    return 0


def run() -> None:
    """The command: parses `sys.argv`, and exits."""
    process.open_streams()
    sys.exit(boundary.exit_status(_run))


def _run() -> int:
    _go_where_the_caller_is()
    try:
        app.run(
            lambda argv: process.in_a_child(
                lambda: boundary.exit_status(lambda: main(argv)), TIMEOUT.value
            ),
            flags_parser=_parse_flags,
        )
    except SystemExit as ended:  # as absl's `run` always has it
        return ended.code


def _go_where_the_caller_is() -> None:
    """Paths are the caller's; `bazel run` starts in a folder of its own.

    Raises:
        UsageError: if there is no such folder.
    """
    folder = os.environ.get("BUILD_WORKING_DIRECTORY", ".")
    try:
        os.chdir(folder)
        os.getcwd()
    except OSError as error:
        named = "the current directory"
        if folder != ".":
            named = f"BUILD_WORKING_DIRECTORY={folder}"
        raise UsageError(
            f"{named} cannot be worked in: {error.strerror}; change to "
            "another directory."
        ) from error


def _parse_flags(argv: list[str]) -> list[str]:
    if set(_HELP) & set(argv[1:]):
        # absl's own shows the flags of the script, which has none when pip
        # has made it, and exits with 1.
        shown = _can_print(lambda: print(f"{__doc__}\n{FLAGS.get_help()}"))
        sys.exit(0 if shown else boundary.USAGE)
    try:
        rest = FLAGS(_with_verbosity(argv), known_only=True)
        try:
            return flags.FLAGS(rest)
        except flags.UnrecognizedFlagError:
            return FLAGS(rest)  # It suggests one of ours.
    except flags.Error as error:
        raise UsageError(f"{error} (see --help)") from error
    except UnicodeError as error:
        raise UsageError(f"--flagfile is not a text file: {error}.") from error


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
    if any(len(size) > _MOST_DIGITS for size in sizes):
        raise UsageError(
            f"--input_shape={text} must hold no size of more than "
            f"{_MOST_DIGITS} digits."
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
