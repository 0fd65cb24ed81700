"""Measurements as a table on the terminal, as JSON and as a picture."""

import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import shlex
import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

import rich.box
import rich.console
import rich.progress
import rich.table

from benchmarks import machine
from benchmarks import program
from benchmarks import tables
from benchmarks import timing
from benchmarks.timing import Timing

_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "torch")


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured in one cell.

    Attributes:
        cell: what the cell is, from a name to a number or a string.
        timings: from a variant's name to its times.
        extra: from a name to other numbers of each variant.
    """

    cell: Mapping[str, object]
    timings: Mapping[str, Timing]
    extra: Mapping[str, Mapping[str, float | None]] = dataclasses.field(
        default_factory=dict
    )


class Report:
    """Rows as they come; shown and written when its `with` block is left.

    That includes leaving it early: an interrupted benchmark reports what it
    has.
    """

    def __init__(
        self,
        name: str,
        columns: Mapping[str, Callable[[Row], str]],
        legend: str,
        draw: Callable[[str, list[Row]], None],
    ):
        """Checks the flags `--json` and `--plot`.

        Args:
            name: the program's name.
            columns: from a header to the text of a row's cell.
            legend: what the columns mean.
            draw: writes rows to a PNG file.

        Raises:
            program.UsageError: if a file cannot be written.
        """
        self._name = name
        self._columns = columns
        self._legend = legend
        self._draw = draw
        self._rows: list[Row] = []
        if program.PLOT.value:
            program.require_matplotlib()
        for holder in (program.JSON, program.PLOT):
            _check_target(holder.name, holder.value)

    def add(self, row: Row) -> None:
        self._rows.append(row)

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_) -> None:
        if not self._rows:
            return
        self._print()
        if program.JSON.value:
            pathlib.Path(program.JSON.value).write_text(self._to_json())
        if program.PLOT.value:
            self._draw(program.PLOT.value, self._rows)

    def _print(self) -> None:
        console = tables.print_table(
            self._columns,
            (
                [text(row) for text in self._columns.values()]
                for row in self._rows
            ),
        )
        console.print(self._legend, soft_wrap=True)
        machine = _machine()
        versions = ", ".join(
            f"{package} {version}"
            for package, version in machine["versions"].items()
        )
        console.print(
            f"{machine['cpu']}, {machine['cores']} cores; Python "
            f"{machine['python']}, {versions}; {_command(self._name)}",
            soft_wrap=True,
        )

    def _to_json(self) -> str:
        contents = {
            "benchmark": self._name,
            "command": _command(self._name),
            "machine": _machine(),
            "rows": [
                {
                    "cell": dict(row.cell),
                    "seconds": {
                        name: dataclasses.asdict(timing)
                        for name, timing in row.timings.items()
                    },
                    **row.extra,
                }
                for row in self._rows
            ],
        }
        return json.dumps(contents, indent=2) + "\n"


def track(cells: Iterable, name: str) -> Iterator:
    """The cells, with a bar on stderr that shows the time to go."""
    console = rich.console.Console(stderr=True)
    return rich.progress.track(
        cells,
        description=name,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def milliseconds(variant: str) -> Callable[[Row], str]:
    """A column's text: the median in ms."""
    return lambda row: _number(
        row.timings[variant].median * 1e3 if variant in row.timings else None
    )


def per_second(variant: str) -> Callable[[Row], str]:
    """A column's text: calls per second, of the median."""
    return lambda row: _number(
        1 / row.timings[variant].median if variant in row.timings else None
    )


def times(slower: str, faster: str) -> Callable[[Row], str]:
    """A column's text: the ratio of two medians."""

    def text(row: Row) -> str:
        ratio = timing.ratio(row.timings, slower, faster)
        return "-" if ratio is None else f"{_number(ratio)}x"

    return text


def firsts(variants: Iterable[str]) -> Callable[[Row], str]:
    """A column's text: the seconds of the variants' first calls."""
    return lambda row: " ".join(
        _number(row.timings[variant].first) if variant in row.timings else "-"
        for variant in variants
    )


def extras(name: str, variants: Iterable[str]) -> Callable[[Row], str]:
    """A column's text: another number of the variants."""
    return lambda row: " ".join(
        _number(row.extra.get(name, {}).get(variant)) for variant in variants
    )


def _number(value: float | None) -> str:
    """Three digits, and no exponent."""
    if value is None:
        return "-"
    magnitude = math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{max(0, 2 - magnitude)}f}"


def _check_target(flag: str, value: str | None) -> None:
    if value is None:
        return
    path = pathlib.Path(value)
    if path.is_dir() or not path.parent.is_dir():
        raise program.UsageError(
            f"--{flag}={value} is not a file in a folder that exists."
        )


def _command(name: str) -> str:
    return shlex.join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]])


def _machine() -> dict:
    versions = {}
    for package in _PACKAGES:
        if package.replace("-", "_") in sys.modules:
            versions[package] = importlib.metadata.version(package)
    if "torch" in versions:
        # It decides how fast PyTorch is where cores are few or shared.
        policy = os.environ.get("OMP_WAIT_POLICY", "unset")
        versions["torch"] += f" (OMP_WAIT_POLICY={policy})"
    return {
        "cpu": machine.processor(),
        "cores": machine.cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }
