"""The forms of the convolution, measured at toy size and judged by hand."""

import csv
import dataclasses

import keras
import pytest

from benchmarks import form_cells
from benchmarks import form_data
from benchmarks import form_report
from benchmarks import form_variants
from benchmarks.form_cells import Cell
from benchmarks.form_data import Measurement
from benchmarks.form_data import Step
from tests.benchmarks.command import run as run_program
from tfconv.ops.selection import Form
from tfconv.ops.selection import Row
from tfconv.ops.selection import Workload

SETUP = form_data.Setup(form_data.FORMAT, "2", "3", "1", "Some CPU", 2)
# A native op for many channels; parts otherwise, of which segments for one.
TABLES = {
    "graph": (
        Row(Form.NATIVE, "many channels", channels=(9, 99)),
        Row(Form.PARTS, "few"),
    ),
    "graph y": (
        Row(Form.SEGMENTS, "one channel", channels=(1, 1)),
        Row(Form.SEGMENTS, "long", taps=(9, 99), channels=(1, 4)),
        Row(Form.NATIVE, "others"),
    ),
    "graph dw": (Row(Form.HEIGHT, "always"),),
}
POSSIBLE = {
    "graph": (Form.NATIVE, Form.PARTS),
    "graph y": (Form.NATIVE, Form.SEGMENTS),
    "graph dw": (Form.NATIVE, Form.HEIGHT),
}
SHORT = Cell(2, 100, 1, 3)
LONG = Cell(2, 100, 4, 9)
MANY = Cell(2, 100, 10, 9)


def step(cell, part, table, form):
    work = Workload(
        cell.kernel_size, cell.channels, batch=cell.batch, steps=cell.steps
    )
    return Step(part, table, work, form, POSSIBLE[table])


def path(cell, whole, **parts):
    tables = {"y": "graph y", "dx": "graph y", "dw": "graph dw"}
    return (
        step(cell, "whole", "graph", whole),
        *(step(cell, name, tables[name], form) for name, form in parts.items()),
    )


def measured(cell):
    """The native op takes 8 s for all, the parts 1 s each and 4 s together.

    Segments make y twice as fast and dx four times as slow.
    """
    seconds = {
        ("y", Form.NATIVE): 1.0,
        ("y", Form.SEGMENTS): 0.5,
        ("dx", Form.NATIVE): 1.0,
        ("dx", Form.SEGMENTS): 4.0,
        ("dw", Form.NATIVE): 3.0,
        ("dw", Form.HEIGHT): 1.0,
    }
    lines = [
        (what, form.name, path(cell, Form.PARTS, **{what: form}), each)
        for (what, form), each in seconds.items()
    ]
    parts = {"y": Form.NATIVE, "dx": Form.NATIVE, "dw": Form.HEIGHT}
    lines.append(("all", "table", path(cell, Form.PARTS, **parts), 4.0))
    for what, each in {"y": 2.0, "dx": 2.0, "dw": 4.0, "all": 8.0}.items():
        lines.append((what, "NATIVE", path(cell, Form.NATIVE), each))
        lines.append((what, "op", (), each))
        lines.append((what, "keras", (), each * 2))
    return [
        Measurement(cell, "graph", what, name, steps, each, 3)
        for what, name, steps, each in lines
    ]


def grouped(*cells):
    lines = [line for cell in cells for line in measured(cell)]
    return form_report.group(lines, "graph")


def without(row):
    return lambda table, each: each is row


def test_times_of_the_tables_are_those_of_the_path_that_they_take():
    (short,) = grouped(SHORT)
    assert short.of_tables("y", TABLES) == 0.5
    assert short.of_tables("dx", TABLES) == 4.0
    assert short.of_tables("dw", TABLES) == 1.0
    assert short.of_tables("apart", TABLES) == 5.5
    # Measured with parts of 3 s, that are 5.5 s now.
    assert short.of_tables("all", TABLES) == pytest.approx(4 * 5.5 / 3)
    (many,) = grouped(MANY)
    assert many.of_tables("y", TABLES) == 2.0
    assert many.of_tables("all", TABLES) == 8.0


def test_regret_is_over_the_fastest():
    cells = grouped(SHORT, MANY)
    dx = form_report.regret(
        cells, "dx", lambda each: each.of_tables("dx", TABLES)
    )
    assert dx == form_report.Regret(
        pytest.approx(8**0.5), 4.0, 4.0, SHORT, count=2
    )
    keras = form_report.regret(
        cells, "all", lambda each: each.of_variant("all", "keras")
    )
    assert keras.mean == pytest.approx(16 / 4)


def test_a_cost_is_of_what_is_decided_alone():
    cells = grouped(SHORT, LONG, MANY)
    one_channel, long, _ = TABLES["graph y"]
    # Without it the next row takes its place only if the kernel is long.
    assert form_report.cost(
        cells, TABLES, without(one_channel)
    ) == form_report.Cost(pytest.approx((2 * 1 / 4) ** 0.5), 1, 0)
    assert form_report.cost(
        cells, TABLES, lambda _, row: row.form is Form.SEGMENTS
    ) == form_report.Cost(pytest.approx((2 * 1 / 4) ** 0.5), 2, 0)
    assert form_report.cost(cells, TABLES, without(long)).cells == 1


def test_the_whole_is_judged_by_times_together():
    many, _ = TABLES["graph"]
    assert form_report.cost(
        grouped(SHORT, MANY), TABLES, without(many)
    ) == form_report.Cost(pytest.approx(4 / 8), 1, 0)


def test_what_was_not_measured_is_counted():
    lines = [
        each
        for each in measured(SHORT)
        if (each.what, each.variant) != ("dx", "NATIVE")
    ]
    (cells,) = [form_report.group(lines, "graph")]
    (row, *_) = TABLES["graph y"]
    assert form_report.cost(cells, TABLES, without(row)) == form_report.Cost(
        pytest.approx(2.0), 1, unmeasured=1
    )


def test_a_file_keeps_what_was_measured(tmp_path):
    file = tmp_path / "forms.csv"
    lines = measured(SHORT)
    work = dataclasses.replace(lines[0].path[1].work, batch=None, steps=7)
    other = dataclasses.replace(lines[0].path[1], work=work)
    lines[0] = dataclasses.replace(lines[0], path=(lines[0].path[0], other))
    form_data.append(file, SETUP, 0, lines[:2])
    form_data.append(file, SETUP, 0, lines[2:])
    assert form_data.read(file) == ([SETUP], lines)


def test_cells_are_within_bounds_and_of_every_kind():
    cells = form_cells.draw(3, 300)
    assert cells[:20] == form_cells.draw(3, 20)
    assert cells[:20] != form_cells.draw(4, 20)
    assert len(set(cells)) == 300
    for cell in cells:
        assert 4_000 <= cell.elements <= 4_000_000
        assert cell.stride == 1 or cell.dilation == 1
        assert cell.span <= 2 * cell.steps
    usual = [c for c in cells if c.multiplier == 1 and 8 <= c.channels <= 256]
    assert 0.5 < len(usual) / 300 < 0.7
    for kind in (
        lambda cell: cell.stride > 1,
        lambda cell: cell.dilation > 1,
        lambda cell: cell.multiplier > 1,
        lambda cell: cell.channels == 1,
        lambda cell: cell.channels > 256,
    ):
        assert any(map(kind, cells))


def test_every_form_that_can_run_is_a_variant_and_all_compute_the_same():
    cell = Cell(1, 40, 3, 3, dilation=2)
    tensors = form_cells.tensors(cell)
    arguments = cell, "graph", "dw", tensors
    variants = form_variants.forms(*arguments)
    paths = [variant.path for variant in variants]
    assert len(set(paths)) == len(paths)
    reached = {steps[-1].form for steps in paths}
    possible = {form for steps in paths for form in steps[-1].possible}
    assert reached - {Form.NATIVE} == possible - {Form.NATIVE, Form.PARTS}
    (native,) = form_variants.others(*arguments, [form_variants.OP])
    (expected,) = native.function(*tensors)
    for variant in variants:
        (found,) = variant.function(*tensors)
        assert abs(found - expected).numpy().max() < 1e-3


def run(folder, command, status=0):
    """Runs the program on one small cell; returns what it prints."""
    process = run_program(
        "-m",
        "benchmarks.forms",
        command,
        f"--folder={folder}",
        "--cells=1",
        "--seed=8",
        "--rounds=1",
        "--seconds_per_cell=0",
        "--lowerings=graph",
        folder=folder,
    )
    assert process.returncode == status, process.stderr
    return process.stdout if not status else process.stderr


def test_it_measures_once_and_reports(tmp_path):
    message = run(tmp_path, "report", status=2)
    assert "forms-*.csv" in message and "measure first" in message
    run(tmp_path, "measure")
    (path,) = tmp_path.glob("forms-*.csv")
    text = path.read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["what"] for row in rows} == {"y", "dx", "dw", "all"}
    assert {"table", "op", "keras"} <= {row["variant"] for row in rows}
    run(tmp_path, "measure")
    assert path.read_text() == text
    table = run(tmp_path, "report")
    assert "graph, 1 cells" in table
    for line in ("all, the tables", "y, always native", "dw, keras"):
        assert f" {line} " in table
    assert " graph y 1, " in table or " graph 1, " in table
    path.write_text(text.replace(keras.__version__, "3.0"))
    assert "move it away" in run(tmp_path, "measure", status=2)
