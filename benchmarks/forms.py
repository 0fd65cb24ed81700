"""The forms of the depthwise convolution: their times, and the tables' choice.

  python -m benchmarks.forms measure
  python -m benchmarks.forms measure --minutes=10 --seed=1
  python -m benchmarks.forms report

From the root of the repository. The tables are those of
`tfconv.ops.selection`, which choose a form for each workload.

`measure` draws random convolutions, off any grid, most of them as networks have
them. It forces every form that can run, in a plain graph and under XLA, and
adds a line for each to a CSV file in --folder that is named after the
processor: for y, dx and dw alone; and for y+dx+dw ("all") with each form of the
whole, whose parts the tables choose. Beside them it measures Keras's layer,
TensorFlow's depthwise operation and, of one channel, `tf.nn.conv1d`; under XLA,
which is slow to compile and to run the depthwise one, in few small cells. It
can be interrupted and started again: what the file has, is not measured again.

`report` measures nothing. It looks up the choices that led to each line in the
tables as they are in the code now, to find which line they take.

Regret is a time over that of the fastest line. "all" compares y+dx+dw as they
were timed together; where the parts that the tables choose now are others than
when it was measured, the time is scaled by the sum of the parts' own.
"apart" is the sum of y, dx and dw, each timed alone, over the sum of the
fastest.

The cost of a row or a form is the time without it over the time with it, a
geometric mean over what it decides: "all" in the tables "graph" and "xla"; in
the others y, dx and dw, each alone. A form is deleted from all tables of a
lowering; the last row of a table, its default, has to stay, and so has its
form. "unmeasured": how often what would be taken then has no line.
"""

import os

# TensorFlow reads both when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import gc
import importlib.metadata
import pathlib
import time

import keras
from absl import flags

from benchmarks import form_cells
from benchmarks import form_data
from benchmarks import form_report
from benchmarks import form_variants
from benchmarks import machine
from benchmarks import program
from benchmarks import report
from benchmarks import timing
from benchmarks.form_cells import Cell
from benchmarks.form_data import Measurement
from tfconv.ops import selection

_FOLDER = flags.DEFINE_string(
    "folder",
    os.path.join(os.path.dirname(__file__), "data"),
    "The folder of the CSV files.",
)
_MINUTES = flags.DEFINE_float(
    "minutes", 30.0, "After this time no further cell begins.", lower_bound=0.0
)
_CELLS = flags.DEFINE_integer(
    "cells", 1000, "How many convolutions, at most.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Other seeds draw other convolutions.")
_USUAL = flags.DEFINE_float(
    "usual",
    0.6,
    "The share of convolutions that networks are made of, of 8 to 256 channels "
    "without a multiplier.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_LOWERINGS = flags.DEFINE_multi_enum(
    "lowerings",
    list(form_report.LOWERINGS),
    list(form_report.LOWERINGS),
    "A plain graph, XLA, or both.",
)
# Of each of y, dx, dw and all, in each lowering.
flags.set_default(program.SECONDS_PER_CELL, 0.3)
flags.set_default(program.ROUNDS, 15)

# Under XLA, what is not tfconv's takes up to a minute to compile.
_XLA_EVERY = 10
_XLA_MAX_OUTPUTS = 64
_XLA_MAX_ELEMENTS = 200_000


def measure() -> None:
    """Adds to the file of this processor.

    Raises:
        program.UsageError: if the file is of another setup.
    """
    setup = form_data.Setup(
        format=form_data.FORMAT,
        tensorflow=importlib.metadata.version("tensorflow"),
        keras=importlib.metadata.version("keras"),
        numpy=importlib.metadata.version("numpy"),
        processor=machine.exact_processor(),
        cores=machine.cores(),
    )
    folder = pathlib.Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"forms-{machine.slug(setup.processor)}.csv"
    done = _done(path, setup)
    deadline = time.monotonic() + 60 * _MINUTES.value
    tasks = [
        (number, cell, lowering)
        for number, cell in enumerate(
            form_cells.draw(_SEED.value, _CELLS.value, _USUAL.value)
        )
        for lowering in form_report.LOWERINGS
        if lowering in _LOWERINGS.value and (cell, lowering) not in done
    ]
    for number, cell, lowering in report.track(tasks, "forms"):
        if time.monotonic() > deadline:
            break
        found = _measure_cell(cell, lowering, number)
        form_data.append(path, setup, _SEED.value, found)
        keras.backend.clear_session()
        gc.collect()


def _done(path: pathlib.Path, setup: form_data.Setup) -> set[tuple[Cell, str]]:
    """Cells and lowerings that the file has."""
    if not path.exists():
        return set()
    setups, measurements = _read(path)
    for other in setups:
        if other != setup:
            raise program.UsageError(
                f"{path} was measured with {other}, not with {setup}: move it "
                "away."
            )
    return {(each.cell, each.lowering) for each in measurements}


def _read(path: pathlib.Path):
    try:
        return form_data.read(path)
    except ValueError as error:
        raise program.UsageError(str(error)) from error


def _measure_cell(cell: Cell, lowering: str, number: int) -> list[Measurement]:
    tensors = form_cells.tensors(cell)
    found = []
    for what in form_variants.WHATS:
        arguments = cell, lowering, what, tensors
        variants = {
            variant.name: variant
            for variant in [
                *form_variants.forms(*arguments),
                *form_variants.others(
                    *arguments, _others(cell, lowering, number)
                ),
            ]
        }
        timings = timing.measure(
            {
                name: timing.Repeated(lambda v=variant: v.function(*tensors))
                for name, variant in variants.items()
            },
            program.ROUNDS.value,
            program.SECONDS_PER_CELL.value,
        )
        found += [
            Measurement(
                cell,
                lowering,
                what,
                name,
                variants[name].path,
                timed.median,
                timed.rounds,
            )
            for name, timed in timings.items()
        ]
    return found


def _others(cell: Cell, lowering: str, number: int) -> list[str]:
    """Names of what is measured beside tfconv's forms."""
    names = [form_variants.OP, form_variants.KERAS]
    if lowering == "xla":
        is_small = (
            cell.channels * cell.multiplier <= _XLA_MAX_OUTPUTS
            and cell.elements <= _XLA_MAX_ELEMENTS
        )
        if number % _XLA_EVERY or not is_small:
            names = []
        if cell.elements > _XLA_MAX_ELEMENTS:
            return names
    return names + [form_variants.CONV1D] * (cell.channels == 1)


def print_report() -> None:
    """Prints what all files say.

    Raises:
        program.UsageError: if there is none.
    """
    paths = sorted(pathlib.Path(_FOLDER.value).glob("forms-*.csv"))
    if not paths:
        raise program.UsageError(
            f"There is no forms-*.csv in {_FOLDER.value}: measure first."
        )
    for path in paths:
        setups, measurements = _read(path)
        form_report.show(setups, measurements, selection.TABLES)


_COMMANDS = {"measure": measure, "report": print_report}


def main(command: str) -> None:
    _COMMANDS[command]()


def run() -> None:
    """The program."""
    program.run(main, list(_COMMANDS))


if __name__ == "__main__":
    run()
