"""A result as a table on the terminal and as JSON."""

import dataclasses
import json
import math

import rich.box
import rich.console
import rich.markup
import rich.table

from tfconv_export.result import ExportResult


def print_table(
    result: ExportResult, console: rich.console.Console | None = None
) -> None:
    """Prints what was made of what, and every check."""
    console = console or rich.console.Console()
    table = rich.table.Table(
        title=rich.markup.escape(f"{result.model} -> {result.output}"),
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
    )
    table.add_column("")
    table.add_column("check")
    table.add_column("found", overflow="fold")
    for check in result.checks:
        mark = "[green]pass[/]" if check.passed else "[bold red]FAIL[/]"
        table.add_row(
            mark,
            rich.markup.escape(check.name),
            rich.markup.escape(check.detail),
        )
    console.print(table)
    before = (
        "" if result.model_size is None else f"{result.model_size:,} bytes -> "
    )
    console.print(
        f"{result.quantize}: {before}{result.size:,} bytes, "
        f"{sum(result.operators.values())} operators, compared on "
        f"{result.examples} examples of {result.examples_origin}",
        highlight=False,
        markup=False,
    )


def to_json(result: ExportResult) -> str:
    """The result as JSON; an infinite or undefined number becomes `null`."""
    return json.dumps(_plain(dataclasses.asdict(result)), indent=2) + "\n"


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
