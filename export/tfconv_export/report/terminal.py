"""Results and facts as tables on the terminal."""

import itertools
from collections.abc import Iterable
from collections.abc import Iterator

import rich.box
import rich.console
import rich.markup
import rich.table

from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import OperatorFacts
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.metadata import Metadata
from tfconv_export.printable import clean
from tfconv_export.printable import elide
from tfconv_export.report import streaming
from tfconv_export.report.as_json import to_json
from tfconv_export.report.text import between
from tfconv_export.report.text import decibels
from tfconv_export.report.text import milliseconds
from tfconv_export.report.text import npu_share
from tfconv_export.report.text import number
from tfconv_export.report.text import percent
from tfconv_export.report.text import shape
from tfconv_export.report.text import size
from tfconv_export.report.text import worst_layers
from tfconv_export.result import RESET_BEFORE_EACH_WINDOW
from tfconv_export.result import Check
from tfconv_export.result import ExportResult
from tfconv_export.streaming_result import StreamingResult

__all__ = ["print_facts", "print_table", "to_json"]

_WORST_LAYERS = 3
# Nobody reads more of a file that someone else made.
_MOST_ROWS = 2_000
_MOST_CONSTANTS = 20
_LONGEST_NAME = 1_000
_LONGEST_LINE = 50_000


def print_result(result: ExportResult | StreamingResult) -> None:
    """Prints what an export made, on standard output."""
    if isinstance(result, StreamingResult):
        print_table(result.whole, stream=result)
    else:
        print_table(result)


def print_table(
    result: ExportResult,
    console: rich.console.Console | None = None,
    stream: StreamingResult | None = None,
) -> None:
    """Prints what was made of what, every check, and what it costs.

    Args:
        result: of the file, or of that for whole windows beside a stream.
        console: where to; standard output by default.
        stream: of the streaming file, or `None`.
    """
    console = console or rich.console.Console()
    output = result.output or "whole windows (not written)"
    _print_checks(console, f"{result.model} -> {output}", result.checks)
    before = (
        "" if result.model_size is None else f"{result.model_size:,} bytes -> "
    )
    _show(
        console,
        f"{result.quantize}: {before}{result.size:,} bytes, "
        f"{sum(result.operators.values())} operators, compared on "
        f"{result.examples} examples of {result.examples_origin}",
    )
    for item in result.data:
        _show(
            console,
            f"data for {item.input}: {item.used:,} of {item.available:,} "
            f"examples of {item.origin}, {number(item.minimum)} to "
            f"{number(item.maximum)}, mean {number(item.mean)}, standard "
            f"deviation {number(item.stddev)}",
        )
    _print_accuracies(result, console)
    _print_layers(result, console)
    if result.float_layers:
        _show(console, f"left in float: {', '.join(result.float_layers)}")
    if result.folded:
        _show(console, f"folded: {', '.join(result.folded)}")
    if result.equalized:
        _show(console, f"equalized: {', '.join(result.equalized)}")
    if result.keeps_state:
        _show(console, f"state: {RESET_BEFORE_EACH_WINDOW}")
    if result.target is not None:
        _print_target(result, console)
    for warning in result.warnings:
        _show(console, f"warning: {warning}", "yellow")
    checks, failed, outputs = result.checks, result.failed, [result.output]
    if stream is not None:
        console.print()
        title = f"{result.model} -> {stream.output}"
        _print_checks(console, title, stream.checks)
        _print_stream(stream, console)
        checks, failed = checks + stream.checks, failed + stream.failed
        outputs = [stream.output, result.output]
    names = [output for output in outputs if output] or ["the file"]
    verb = f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'}"
    if failed:
        found = f"{len(failed)} of {len(checks)} checks failed"
        _show(console, f"{found}: {verb} not written", "bold red")
    else:
        found = f"all {len(checks)} checks passed"
        _show(console, f"{found}: {verb} written", "bold green")


def _print_checks(
    console: rich.console.Console, title: str, checks: tuple[Check, ...]
) -> None:
    table = _table("", "check", "found")
    table.title = _escape(title)
    table.title_justify = "left"
    for check in checks:
        mark = "[green]pass[/]" if check.passed else "[bold red]FAIL[/]"
        table.add_row(mark, _escape(check.name), _escape(check.detail))
    console.print(table)


def _print_stream(
    stream: StreamingResult, console: rich.console.Console
) -> None:
    for name, found in streaming.summary(stream):
        _show(console, f"{name}: {found}")
    if stream.states:
        table = _table("state", "from output", "layer", "shape", "at first")
        for state in stream.states:
            table.add_row(
                *map(_escape, (state.name, state.output_name, state.layer)),
                f"{shape(state.shape)} {state.dtype}",
                str(state.initial_value),
            )
        console.print(table)
    if stream.target is not None:
        _print_target(stream, console)


def _print_accuracies(
    result: ExportResult, console: rich.console.Console
) -> None:
    if not result.accuracies:
        return
    table = _table("accuracy", "output", "", "correct")
    for item in result.accuracies:
        share = item.correct / item.examples if item.examples else None
        table.add_row(
            "trained model"
            if item.runtime == "model"
            else _escape(item.runtime),
            _escape(item.output),
            percent(share, 2),
            f"{item.correct:,} of {item.examples:,}",
        )
    console.print(table)


def _print_layers(result: ExportResult, console: rich.console.Console) -> None:
    layers = worst_layers(result, _WORST_LAYERS)
    if not layers:
        return
    table = _table("worst layers", "operator", "SQNR", "values", "clipped")
    for layer in layers:
        table.add_row(
            _escape(layer.layer or layer.tensor),
            _escape(layer.operator),
            decibels(layer.sqnr_db),
            between(layer.minimum, layer.maximum),
            percent(layer.clipped) if layer.lowest is not None else "-",
        )
    console.print(table)


def _print_target(
    result: ExportResult | StreamingResult, console: rich.console.Console
) -> None:
    target, parts = result.target, []
    if target.arena_bytes is not None:
        parts.append(f"arena {size(target.arena_bytes)}")
    if npu_share(result) is not None:
        parts.append(
            f"{target.npu_operators} of {target.operators} operators on the "
            f"NPU ({percent(npu_share(result))})"
        )
    if target.cycles is not None:
        parts.append(f"{target.cycles:,} cycles for one inference")
    if milliseconds(result) is not None:
        parts[-1] += (
            f", {number(milliseconds(result), 3)} ms at "
            f"{number(target.clock_hz / 1e6)} MHz"
        )
    if target.sram_bytes is not None:
        parts.append(f"SRAM {size(target.sram_bytes)}")
    if target.flash_bytes is not None:
        parts.append(f"flash {size(target.flash_bytes)}")
    if parts:
        _show(console, f"{target.target}: {'; '.join(parts)}")
    for operator in target.cpu_operators:
        _show(
            console,
            f"  {operator.name} ({operator.output}) runs on the CPU: "
            f"{operator.reason}",
        )
    if target.resolver:
        # Lines of C++ are not broken: they are there to be copied.
        resolver = clean(target.resolver.strip("\n"))
        console.print(resolver, highlight=False, markup=False, soft_wrap=True)


def _show_metadata(console, described: Metadata) -> None:
    version = f", version {described.version}" * bool(described.version)
    _show_line(console, f"model: {described.name}{version}")
    if described.stddev:
        mean, stddev = (
            ", ".join(f"{value:.6g}" for value in values)
            for values in (described.mean, described.stddev)
        )
        _show_line(console, f"normalisation: (x - [{mean}]) / [{stddev}]")
    if described.labels:
        _show_line(
            console,
            f"labels of {described.labelled}: {', '.join(described.labels)}",
        )


def print_facts(
    path: str, facts: Facts, console: rich.console.Console | None = None
) -> None:
    """Prints what is in a TFLite file."""
    console = console or rich.console.Console()
    _show(
        console,
        f"{path}: {facts.size:,} bytes, {facts.constant_bytes:,} of them "
        f"constants; {len(facts.operators)} operators in {facts.subgraphs} "
        f"subgraph{'s' * (facts.subgraphs != 1)}",
    )
    if facts.keeps_state:
        _show(console, f"state: {RESET_BEFORE_EACH_WINDOW}")
    if facts.description:
        _show_line(console, f"description: {facts.description}")
    for name, count in itertools.islice(facts.metadata.items(), _MOST_ROWS):
        _show_line(console, f"metadata: {name}, {count:,} bytes")
    if facts.described is not None:
        _show_metadata(console, facts.described)
    ends = {
        ("", "input"): {tensor.name: tensor for tensor in facts.inputs},
        ("", "output"): {tensor.name: tensor for tensor in facts.outputs},
    }
    if facts.signatures:
        ends = {
            (signature.key, kind): tensors
            for signature in facts.signatures
            for kind, tensors in (
                ("input", signature.inputs),
                ("output", signature.outputs),
            )
        }
    table = _table("signature", "", "name", "shape", "dtype", "quantization")
    _add_rows(
        table,
        (
            row
            for (key, kind), tensors in ends.items()
            for row in (
                [
                    (key, kind, name, *_row(tensor))
                    for name, tensor in tensors.items()
                ]
                or [(key, kind, "(none)")]  # as those that reset a stream
            )
        ),
    )
    console.print(table)
    table = _table("operator", "constants", "output", "dtype", "quantization")
    _add_rows(
        table, (row for op in facts.operators for row in _operator_rows(op))
    )
    console.print(table)


def _operator_rows(operator: OperatorFacts) -> Iterator[tuple[str, ...]]:
    constants = [x for x in operator.inputs if x is not None and x.constant]
    shapes = ", ".join(shape(x.shape) for x in constants[:_MOST_CONSTANTS])
    if len(constants) > _MOST_CONSTANTS:
        shapes += ", ..."
    name = operator.name + " (custom)" * operator.is_custom
    if not operator.outputs:  # as CALL_ONCE and ASSIGN_VARIABLE
        yield name, shapes
    for tensor in operator.outputs:
        yield name, shapes, *_row(tensor)
        name = shapes = ""


def _add_rows(table: rich.table.Table, rows: Iterable[tuple[str, ...]]) -> None:
    for place, row in enumerate(rows):
        if place == _MOST_ROWS:
            table.add_row("... and more")
            return
        table.add_row(*(_escape(elide(cell, _LONGEST_NAME)) for cell in row))


def _table(*columns: str) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _on_one_line(text: str) -> str:
    """The text, clean; a line break in a name would begin a line of its own."""
    return " ".join(clean(text).splitlines())


def _escape(text: str) -> str:
    return rich.markup.escape(_on_one_line(text))


def _show(
    console: rich.console.Console, text: str, style: str | None = None
) -> None:
    console.print(
        _on_one_line(text), style=style, highlight=False, markup=False
    )


def _show_line(console: rich.console.Console, text: str) -> None:
    _show(console, elide(text, _LONGEST_LINE))


def _row(tensor: TensorFacts) -> tuple[str, str, str]:
    if not tensor.scales:
        quantization = ""
    elif len(tensor.scales) == 1:
        zero_point = tensor.zero_points[0]
        sign = "-" if zero_point >= 0 else "+"
        quantization = f"{tensor.scales[0]:.6g}*(q{sign}{abs(zero_point)})"
    else:
        quantization = (
            f"{len(tensor.scales)} scales on axis {tensor.quantized_dimension}"
        )
    return shape(tensor.shape), tensor.dtype, quantization
