"""Regret of the tables, and the cost of each row and form, for forms.py."""

import dataclasses
import math
import statistics
import textwrap
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

from benchmarks import tables as printed
from benchmarks.form_cells import Cell
from benchmarks.form_data import Measurement
from benchmarks.form_data import Setup
from benchmarks.form_data import Step
from benchmarks.form_variants import KERAS
from benchmarks.form_variants import OP
from benchmarks.form_variants import PARTS
from benchmarks.form_variants import WHATS
from tfconv.ops.selection import Row

Tables = Mapping[str, tuple[Row, ...]]
LOWERINGS = ("graph", "xla")
# A row or a form has to be worth as much.
WORTH = 1.03
_APART = "apart"


@dataclasses.dataclass(frozen=True)
class Regret:
    """Times over those of the fastest.

    Attributes:
        mean: geometric.
        percentile: the 95th.
        worst: of all.
        cell: where it is worst.
        count: how many cells there are.
    """

    mean: float
    percentile: float
    worst: float
    cell: Cell
    count: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """Times without a row or a form over those with it.

    Attributes:
        mean: geometric; `None` if nothing is known.
        cells: how many have a choice that it decides.
        unmeasured: how often the time without it is not known.
    """

    mean: float | None
    cells: int
    unmeasured: int


class Measured:
    """The measurements of one cell in one lowering."""

    def __init__(self, measurements: Iterable[Measurement]):
        measurements = list(measurements)
        self.cell = measurements[0].cell
        self._of = {
            what: [each for each in measurements if each.what == what]
            for what in WHATS
        }

    def best(self, what: str) -> float | None:
        """Seconds of the fastest of all."""
        if what == _APART:
            return _sum(self.best(part) for part in PARTS)
        return min((each.seconds for each in self._of[what]), default=None)

    def of_variant(self, what: str, name: str) -> float | None:
        """Seconds of a variant by its name."""
        if what == _APART:
            return _sum(self.of_variant(part, name) for part in PARTS)
        found = (e.seconds for e in self._of[what] if e.variant == name)
        return next(found, None)

    def of_tables(self, what: str, tables: Tables) -> float | None:
        """Seconds of what the tables choose; `None` if not measured."""
        if what == _APART:
            return _sum(self.of_tables(part, tables) for part in PARTS)
        taken = self._taken(what, tables)
        if taken is not None:
            return taken.seconds
        return self._scaled(tables) if what == "all" else None

    def deciding(self, what: str, tables: Tables) -> list[tuple[str, Row]]:
        """Tables and their rows that decide on what the tables choose."""
        taken = self._taken(what, tables) or self._whole(what, tables)
        if taken is None:
            return []
        return [
            (step.table, _row(tables, step))
            for step in taken.path
            if (step.part == "whole") == (what == "all")
        ]

    def _taken(self, what: str, tables: Tables) -> Measurement | None:
        return _first(
            each
            for each in self._of[what]
            if each.path and all(_follows(tables, s) for s in each.path)
        )

    def _whole(self, what: str, tables: Tables) -> Measurement | None:
        """The one of which the tables choose the whole, if not the parts."""
        return _first(
            each
            for each in self._of[what]
            if each.path
            and all(_follows(tables, s) for s in each.path if s.part == "whole")
        )

    def _scaled(self, tables: Tables) -> float | None:
        """Seconds of other parts, by what the parts take alone."""
        together = self._whole("all", tables)
        if together is None:
            return None
        parts_then = _sum(
            _first(
                each.seconds
                for each in self._of[part]
                if each.path == _part(together.path, part)
            )
            for part in PARTS
        )
        parts_now = _sum(self.of_tables(part, tables) for part in PARTS)
        if parts_then is None or parts_now is None:
            return None
        return together.seconds * parts_now / parts_then


def group(measurements: Iterable[Measurement], lowering: str) -> list[Measured]:
    """The cells of a lowering."""
    cells: dict[Cell, list[Measurement]] = {}
    for each in measurements:
        if each.lowering == lowering:
            cells.setdefault(each.cell, []).append(each)
    return list(map(Measured, cells.values()))


def regret(
    cells: Iterable[Measured],
    what: str,
    seconds: Callable[[Measured], float | None],
) -> Regret | None:
    """The regret of times; `None` if they are of no cell."""
    ratios = []
    for each in cells:
        found, best = seconds(each), each.best(what)
        if found is not None and best is not None:
            ratios.append((found / best, each.cell))
    if not ratios:
        return None
    ratios.sort(key=lambda pair: pair[0])
    values = [value for value, _ in ratios]
    worst, cell = ratios[-1]
    return Regret(
        statistics.geometric_mean(values),
        values[math.ceil(0.95 * len(values)) - 1],
        worst,
        cell,
        len(values),
    )


def cost(
    cells: Iterable[Measured],
    tables: Tables,
    is_deleted: Callable[[str, Row], bool],
) -> Cost:
    """The cost of deleting the rows of which `is_deleted(table, row)`."""
    rest = {
        table: tuple(row for row in rows if not is_deleted(table, row))
        for table, rows in tables.items()
    }
    ratios = []
    decided = set()
    unmeasured = 0
    for each in cells:
        for what in WHATS:
            rows = each.deciding(what, tables)
            if not any(is_deleted(table, row) for table, row in rows):
                continue
            decided.add(each.cell)
            before = each.of_tables(what, tables)
            after = each.of_tables(what, rest)
            if before is None or after is None:
                unmeasured += 1
            else:
                ratios.append(after / before)
    mean = statistics.geometric_mean(ratios) if ratios else None
    return Cost(mean, len(decided), unmeasured)


def show(
    setups: Iterable[Setup],
    measurements: Iterable[Measurement],
    tables: Tables,
) -> None:
    """Prints the regret and the costs of each lowering in one file."""
    measurements = list(measurements)
    for setup in setups:
        print(
            f"\n{setup.processor}, {setup.cores} cores; "
            f"tensorflow {setup.tensorflow}, keras {setup.keras}, "
            f"numpy {setup.numpy}"
        )
    for lowering in LOWERINGS:
        cells = group(measurements, lowering)
        of_lowering = {
            table: rows
            for table, rows in tables.items()
            if table.split()[0] == lowering
        }
        print(f"\n{lowering}, {len(cells)} cells")
        _show_regret(cells, of_lowering)
        _show_noise(cells)
        _show_costs(cells, of_lowering)


def _show_regret(cells: list[Measured], tables: Tables) -> None:
    rows = []
    for what in (*WHATS, _APART):
        for name, seconds in {
            "the tables": lambda each, w=what: each.of_tables(w, tables),
            "always native": lambda each, w=what: each.of_variant(w, OP),
            "keras": lambda each, w=what: each.of_variant(w, KERAS),
        }.items():
            found = regret(cells, what, seconds)
            if found is not None:
                rows.append(
                    [
                        f"{what}, {name}",
                        str(found.count),
                        f"{found.mean:.3f}",
                        f"{found.percentile:.3f}",
                        f"{found.worst:.2f}",
                        str(found.cell),
                    ]
                )
    headers = ["regret of", "cells", "mean", "95 %", "worst", "at"]
    printed.print_table(headers, rows)


def _show_noise(cells: list[Measured]) -> None:
    """Prints how two measurements of nearly the same computation differ."""
    ratios = []
    for each in cells:
        for what in WHATS:
            pair = [each.of_variant(what, name) for name in (OP, KERAS)]
            if None not in pair:
                ratios.append(max(pair) / min(pair))
    if ratios:
        print(
            "Keras's layer is the native op with little around it; they differ "
            f"by a factor of {statistics.geometric_mean(ratios):.3f}."
        )


def _show_costs(cells: list[Measured], tables: Tables) -> None:
    rows = []
    for what, is_deleted in _deletions(tables):
        found = cost(cells, tables, is_deleted)
        rows.append(
            [
                what,
                str(found.cells),
                "-" if found.mean is None else f"{found.mean - 1:+.1%}",
                str(found.unmeasured),
                _verdict(found),
            ]
        )
    headers = ["without", "cells", "cost", "unmeasured", ""]
    printed.print_table(headers, rows)


def _verdict(found: Cost) -> str:
    if not found.cells:
        return "decides nothing"
    if found.mean is None:
        return ""
    return "delete" if found.mean < WORTH else ""


def _deletions(
    tables: Tables,
) -> Iterator[tuple[str, Callable[[str, Row], bool]]]:
    """Names of rows and forms, and a test for what goes with each."""
    for table, rows in tables.items():
        for number, row in enumerate(rows[:-1], start=1):
            reason = textwrap.shorten(row.reason, 40, placeholder="...")
            yield (
                f"{table} {number}, {row.form.name}: {reason}",
                lambda t, r, of=table, one=row: t == of and r is one,
            )
    defaults = {rows[-1].form for rows in tables.values()}
    forms = {row.form: None for rows in tables.values() for row in rows}
    for form in forms:
        if form not in defaults:
            yield f"all {form.name}", lambda _, r, one=form: r.form is one


def _follows(tables: Tables, step: Step) -> bool:
    row = _row(tables, step)
    return row is not None and row.form is step.form


def _row(tables: Tables, step: Step) -> Row | None:
    """The row that decides; `None` if no row or table does."""
    return _first(
        row
        for row in tables.get(step.table, ())
        if row.form in step.possible and row.fits(step.work)
    )


def _part(path: Iterable[Step], part: str) -> tuple[Step, ...]:
    return tuple(step for step in path if step.part in ("whole", part))


def _first(found: Iterable):
    return next(iter(found), None)


def _sum(values: Iterable[float | None]) -> float | None:
    values = list(values)
    return None if None in values else sum(values)
