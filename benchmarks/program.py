"""What the benchmark programs share: flags, threads, errors, exit status."""

import logging as standard_logging
import os
import sys
from collections.abc import Callable
from collections.abc import Sequence

from absl import app
from absl import flags
from absl import logging

JSON = flags.DEFINE_string("json", None, "A JSON file for every number.")
PLOT = flags.DEFINE_string(
    "plot", None, "A PNG file for a picture of the table. Needs matplotlib."
)
ROUNDS = flags.DEFINE_integer(
    "rounds",
    30,
    "How often each variant takes its turn, at most.",
    lower_bound=1,
)
SECONDS_PER_CELL = flags.DEFINE_float(
    "seconds_per_cell",
    4.0,
    "After this time no further round of a cell begins, from the fourth on.",
    lower_bound=0.0,
)


class UsageError(Exception):
    """A request that cannot be carried out as it is."""


class _IntegersParser(flags.ArgumentParser):
    syntactic_help = "integers > 0, separated by commas"

    def parse(self, argument) -> list[int]:
        values = argument
        if isinstance(argument, str):
            values = [_to_int(item) for item in argument.split(",")]
        if not values or min(values) < 1:
            raise ValueError(f"must be {self.syntactic_help}")
        return list(values)


def _to_int(item: str) -> int:
    return int(item) if item.strip().isdecimal() else 0


class _InputsParser(flags.ArgumentParser):
    syntactic_help = "shapes such as 98x40, separated by commas"

    def parse(self, argument) -> list[tuple[int, int]]:
        if not isinstance(argument, str):
            return list(argument)
        shapes = [
            tuple(_to_int(size) for size in item.split("x"))
            for item in argument.split(",")
        ]
        if any(len(shape) != 2 or 0 in shape for shape in shapes):
            raise ValueError(f"must be {self.syntactic_help}")
        return shapes


def define_integers(name: str, default: list[int], help: str):
    """A flag of one or more integers > 0, such as `--kernel_sizes=3,9`."""
    return flags.DEFINE(
        _IntegersParser(),
        name,
        default,
        help,
        serializer=flags.CsvListSerializer(","),
    )


def define_inputs(name: str, default: list[tuple[int, int]], help: str):
    """A flag of one or more shapes `(t, c)`, such as `--inputs=98x40`."""
    return flags.DEFINE(_InputsParser(), name, default, help)


def require_matplotlib() -> None:
    """Imports matplotlib now, not after an hour of measuring.

    Raises:
        UsageError: if it is not installed.
    """
    _require("matplotlib", "plot", "matplotlib")


def require_torch() -> None:
    """Imports PyTorch now, not after an hour of measuring.

    Raises:
        UsageError: if it is not installed.
    """
    _require("benchmarks.torch_twins", "torch", "PyTorch")


def _require(module: str, flag: str, package: str) -> None:
    try:
        __import__(module)
    except ImportError as error:
        raise UsageError(
            f"--{flag} needs {package}: pip install -e '.[benchmark]'"
        ) from error


def run(main: Callable[..., None], commands: Sequence[str] = ()) -> None:
    """Parses `sys.argv`, calls `main` and exits.

    Exit status: 0 measured; 2 wrong usage; 130 interrupted.

    Args:
        main: called without arguments or, if there are commands, with the one
            that is the program's only argument besides flags.
        commands: the program's commands, if it has any.
    """
    app.run(
        lambda argv: _exit_status(main, argv[1:], commands),
        flags_parser=lambda argv: _parse_flags(main, argv),
    )


def _exit_status(
    main: Callable[..., None], arguments: list[str], commands: Sequence[str]
) -> int:
    try:
        if commands and (len(arguments) != 1 or arguments[0] not in commands):
            raise UsageError(f"Expected one command: {' or '.join(commands)}.")
        if arguments and not commands:
            raise UsageError(f"Unexpected argument: {arguments[0]}")
        if flags.FLAGS.verbosity <= logging.INFO:
            _hush()
        main(*arguments)
    except UsageError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return 130
    return 0


def _parse_flags(main: Callable[..., None], argv: list[str]) -> list[str]:
    if {"--help", "-help", "-h", "--helpshort"} & set(argv[1:]):
        # Not absl's own list, which has TensorFlow's flags too.
        print(sys.modules[main.__module__].__doc__)
        for module in (main.__module__, __name__):
            print(flags.FLAGS.module_help(module).strip())
        sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(_complain(f"{' '.join(str(error).split())} (see --help)"))


def _hush() -> None:
    """Holds back what TensorFlow logs below an error."""
    logging.set_verbosity(logging.ERROR)
    standard_logging.getLogger("tensorflow").setLevel("ERROR")


def _complain(error: object) -> int:
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    print(f"{name.removesuffix('_main')}: {error}", file=sys.stderr)
    return 2
