"""The operators of a file as a drawing (SVG): who feeds whom."""

import dataclasses
import math

from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.printable import elide
from tfconv_export.report.markup import text as escape
from tfconv_export.report.text import decibels
from tfconv_export.report.text import shape
from tfconv_export.report.text import sqnr_color
from tfconv_export.result import ExportResult

_NODE_WIDTH = 800
_NODE_HEIGHT = 30
_GAP = 14
_MARGIN = 8
_LANE = 13
_PITCH = _NODE_HEIGHT + _GAP


@dataclasses.dataclass(frozen=True)
class Edge:
    """A tensor that goes from one row to a later one, in a lane beside them.

    Attributes:
        source: int, the row.
        target: int, the row.
        lane: int, counted from 1; 0 goes straight down to the next row.
    """

    source: int
    target: int
    lane: int


@dataclasses.dataclass(frozen=True)
class _Row:
    kind: str
    label: str
    tensor: TensorFacts | None
    place: str = ""


def rows_and_edges(facts: Facts) -> tuple[list[_Row], list[Edge]]:
    """The graph in rows, one below the other: inputs, operators, outputs."""
    rows = [_Row("end", "input", tensor) for tensor in facts.inputs]
    maker = {tensor.name: row for row, tensor in enumerate(facts.inputs)}
    links = []

    def link(tensor: TensorFacts | None) -> None:
        if tensor is None or tensor.constant or tensor.name not in maker:
            return
        pair = (maker[tensor.name], len(rows))
        if pair not in links:
            links.append(pair)

    for place, operator in enumerate(facts.operators, 1):
        for tensor in operator.inputs:
            link(tensor)
        for tensor in operator.outputs:
            maker[tensor.name] = len(rows)
        output = operator.outputs[0] if operator.outputs else None
        rows.append(_Row("operator", operator.name, output, str(place)))
    for tensor in facts.outputs:
        link(tensor)
        rows.append(_Row("end", "output", tensor))
    return rows, _in_lanes(links)


def _in_lanes(links: list[tuple[int, int]]) -> list[Edge]:
    """Gives every edge that passes a row a lane that is free beside it."""
    edges = []
    ends = []  # of each lane, the row where its last edge ends
    for source, target in sorted(links):
        lane = 0
        if target != source + 1:
            free = (i for i, end in enumerate(ends) if end <= source)
            index = next(free, len(ends))
            ends[index : index + 1] = [target]
            lane = index + 1
        edges.append(Edge(source, target, lane))
    return edges


def draw(result: ExportResult, facts: Facts) -> str:
    """The graph as an SVG element; its colours are those of the page.

    Args:
        result: an `ExportResult`; says how far each operator is off, and
            which ones an NPU leaves to the CPU.
        facts: of the file.
    """
    rows, edges = rows_and_edges(facts)
    lanes = max((edge.lane for edge in edges), default=0)
    width = 2 * _MARGIN + _NODE_WIDTH + (lanes + 1) * _LANE * bool(lanes)
    height = 2 * _MARGIN + len(rows) * _PITCH - _GAP
    layers = {layer.tensor: layer for layer in result.layers}
    on_cpu = {}
    has_npu = result.target is not None and (
        result.target.npu_operators is not None
    )
    if has_npu:
        on_cpu = {op.output: op.reason for op in result.target.cpu_operators}
    parts = [_edge(edge) for edge in edges]
    for index, row in enumerate(rows):
        shown = row.kind == "operator" and row.tensor is not None
        name = row.tensor.name if shown else None
        parts.append(
            _node(
                row,
                _MARGIN + index * _PITCH,
                layers.get(name),
                on_cpu.get(name),
            )
        )
    return (
        f'<svg class="graph" role="img" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" '
        f'aria-label="The operators of the file, in their order">'
        + "".join(parts)
        + "</svg>"
    )


def _node(row: _Row, top: int, layer, cpu_reason: str | None) -> str:
    middle = top + _NODE_HEIGHT / 2 + 4
    tooltip = "" if row.tensor is None else row.tensor.name
    stripe = ratio = ""
    name = tooltip
    if layer is not None:
        name = layer.layer or tooltip
        color = sqnr_color(layer.sqnr_db)
        stripe = (
            f'<rect x="{_MARGIN}" y="{top}" width="7" '
            f'height="{_NODE_HEIGHT}" rx="2" fill="{color}"/>'
        )
        label = decibels(layer.sqnr_db)
        if layer.sqnr_db == math.inf:
            label = "same"
        ratio = _text(_NODE_WIDTH - 4, middle, label, "ratio end")
    badge = ""
    if cpu_reason is not None:
        tooltip += f" - left to the CPU: {cpu_reason}"
        badge = (
            f'<rect x="{_NODE_WIDTH - 110}" y="{top + 7}" width="34" '
            f'height="16" rx="3" class="badge"/>'
            + _text(_NODE_WIDTH - 93, middle - 0.5, "CPU", "badge-text")
        )
    kind = "" if row.tensor is None else row.tensor.dtype
    dims = "" if row.tensor is None else shape(row.tensor.shape)
    return (
        f"<g><title>{escape(tooltip)}</title>"
        f'<rect x="{_MARGIN}" y="{top}" width="{_NODE_WIDTH}" '
        f'height="{_NODE_HEIGHT}" rx="4" class="node {row.kind}"/>'
        + stripe
        + _text(_MARGIN + 34, middle, row.place, "place end")
        + _text(_MARGIN + 42, middle, elide(row.label, 25), "label")
        + _text(_MARGIN + 236, middle, elide(name, 36), "name")
        + _text(_MARGIN + 505, middle, elide(f"{dims} {kind}", 26), "shape")
        + badge
        + ratio
        + "</g>"
    )


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x}" y="{y}" class="{style}">{escape(text)}</text>'


def _edge(edge: Edge) -> str:
    start = _MARGIN + edge.source * _PITCH + _NODE_HEIGHT
    end = _MARGIN + edge.target * _PITCH
    if not edge.lane:
        x = _MARGIN + 60
        return (
            f'<path class="edge" d="M{x} {start}V{end - 5}"/>'
            f'<path class="tip" d="M{x - 4} {end - 6}h8l-4 6z"/>'
        )
    right = _MARGIN + _NODE_WIDTH
    lane = right + edge.lane * _LANE
    # Into the upper half of a row come edges, out of the lower half they go.
    start, end = start - 8, end + 9
    return (
        f'<path class="edge" d="M{right} {start}H{lane - 5}q5 0 5 5V{end - 5}'
        f'q0 5 -5 5H{right + 6}"/>'
        f'<path class="tip" d="M{right + 7} {end - 4}v8l-7 -4z"/>'
    )
