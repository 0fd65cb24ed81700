"""The CSV files of forms.py: a line for each variant of a cell."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterable

from benchmarks.form_cells import Cell
from tfconv.ops.selection import Form
from tfconv.ops.selection import Workload

FORMAT = 1
_PADDING = "same"


@dataclasses.dataclass(frozen=True)
class Step:
    """A choice on the path that a variant takes.

    Attributes:
        part: string: "y", "dx" or "dw", or "whole" if it is for all of them.
        table: string, a key of `selection.TABLES`.
        work: the workload that was looked up.
        form: what was chosen.
        possible: the forms among which.
    """

    part: str
    table: str
    work: Workload
    form: Form
    possible: tuple[Form, ...]


@dataclasses.dataclass(frozen=True)
class Setup:
    """Where a file was measured. Other figures do not compare with its own."""

    format: int
    tensorflow: str
    keras: str
    numpy: str
    processor: str
    cores: int


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The time of one variant.

    Attributes:
        cell: the convolution.
        lowering: string, "graph" or "xla".
        what: string: "y", "dx", "dw" or "all".
        variant: string, its name.
        path: the choices that it makes, in order; none of what is not tfconv's.
        seconds: float, the median.
        rounds: int, of how many.
    """

    cell: Cell
    lowering: str
    what: str
    variant: str
    path: tuple[Step, ...]
    seconds: float
    rounds: int


_COLUMNS = [
    *(field.name for field in dataclasses.fields(Setup)),
    "seed",
    *(field.name for field in dataclasses.fields(Cell)),
    "padding",
    "lowering",
    "what",
    "variant",
    "choices",
    "seconds",
    "rounds",
]


def append(
    path: pathlib.Path,
    setup: Setup,
    seed: int,
    measurements: Iterable[Measurement],
) -> None:
    """Adds lines at once, so that an interruption leaves none of them out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    if not path.exists():
        writer.writeheader()
    for each in measurements:
        writer.writerow(
            {
                **dataclasses.asdict(setup),
                "seed": seed,
                **dataclasses.asdict(each.cell),
                "padding": _PADDING,
                "lowering": each.lowering,
                "what": each.what,
                "variant": each.variant,
                "choices": _to_text(each.path, each.cell),
                "seconds": f"{each.seconds:.4g}",
                "rounds": each.rounds,
            }
        )
    with path.open("a") as file:
        file.write(text.getvalue())


def read(path: pathlib.Path) -> tuple[list[Setup], list[Measurement]]:
    """The setups of the lines, each once, and what was measured.

    Raises:
        ValueError: if the file is of another format.
    """
    setups = {}
    measurements = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if list(row) != _COLUMNS or row["format"] != str(FORMAT):
                raise ValueError(f"{path} is not of format {FORMAT}.")
            setups[_of_fields(Setup, row)] = None
            cell = _of_fields(Cell, row)
            measurements.append(
                Measurement(
                    cell,
                    row["lowering"],
                    row["what"],
                    row["variant"],
                    _of_text(row["choices"], cell),
                    float(row["seconds"]),
                    int(row["rounds"]),
                )
            )
    return list(setups), measurements


def _of_fields(kind: type, row: dict[str, str]):
    return kind(
        *(field.type(row[field.name]) for field in dataclasses.fields(kind))
    )


def _to_text(path: tuple[Step, ...], cell: Cell) -> str:
    """Such as `whole: graph: : NATIVE *PARTS; y: graph y: steps=3: *NATIVE`.

    That is, the part, the table, how the workload differs from the cell, and
    the forms among which one with an asterisk was chosen.
    """
    same = _workload(cell)
    return "; ".join(
        ": ".join(
            (
                step.part,
                step.table,
                " ".join(
                    f"{name}={value}"
                    for name, value in dataclasses.asdict(step.work).items()
                    if value != getattr(same, name)
                ),
                " ".join(
                    "*" * (form is step.form) + form.name
                    for form in step.possible
                ),
            )
        )
        for step in path
    )


def _of_text(text: str, cell: Cell) -> tuple[Step, ...]:
    """The path; of forms that are no more, none, which no table takes."""
    steps = []
    for item in filter(None, text.split("; ")):
        part, table, changes, names = item.split(": ")
        pairs = (change.split("=") for change in changes.split())
        work = dataclasses.replace(
            _workload(cell),
            **{name: _number(value) for name, value in pairs},
        )
        forms = {
            name.lstrip("*"): name.startswith("*") for name in names.split()
        }
        chosen = next(name for name, is_chosen in forms.items() if is_chosen)
        if chosen not in Form.__members__:
            return ()
        possible = tuple(
            Form[name] for name in forms if name in Form.__members__
        )
        steps.append(Step(part, table, work, Form[chosen], possible))
    return tuple(steps)


def _number(text: str) -> int | None:
    return None if text == "None" else int(text)


def _workload(cell: Cell) -> Workload:
    return Workload(
        cell.kernel_size,
        cell.channels,
        cell.multiplier,
        cell.stride,
        cell.dilation,
        cell.batch,
        cell.steps,
    )
