"""Results and facts as tables on the terminal, and as JSON."""

import dataclasses
import json
import math

import rich.box
import rich.console
import rich.markup
import rich.table

from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import TensorFacts
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


def print_facts(
    path: str, facts: Facts, console: rich.console.Console | None = None
) -> None:
    """Prints what is in a TFLite file."""
    console = console or rich.console.Console()

    def show(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    show(
        f"{path}: {facts.size:,} bytes, {facts.constant_bytes:,} of them "
        f"constants; {len(facts.operators)} operators in {facts.subgraphs} "
        f"subgraph{'s' * (facts.subgraphs != 1)}"
    )
    if facts.description:
        show(f"description: {facts.description}")
    for name, size in facts.metadata.items():
        show(f"metadata: {name}, {size:,} bytes")
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
    for (key, kind), tensors in ends.items():
        for name, tensor in tensors.items():
            table.add_row(
                *map(rich.markup.escape, (key, kind, name)), *_row(tensor)
            )
    console.print(table)
    table = _table("operator", "constants", "output", "dtype", "quantization")
    for operator in facts.operators:
        name = operator.name + " (custom)" * operator.is_custom
        constants = ", ".join(
            _shape(tensor)
            for tensor in operator.inputs
            if tensor is not None and tensor.constant
        )
        for tensor in operator.outputs:
            table.add_row(rich.markup.escape(name), constants, *_row(tensor))
            name = constants = ""
    console.print(table)


def _table(*columns: str) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


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
    return _shape(tensor), tensor.dtype, quantization


def _shape(tensor: TensorFacts) -> str:
    dims = ("?" if dim < 0 else str(dim) for dim in tensor.shape)
    return "x".join(dims) or "scalar"


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
