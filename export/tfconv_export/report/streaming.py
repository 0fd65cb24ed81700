"""What the page says of a file that goes frame by frame."""

from tfconv_export.report import sections
from tfconv_export.report.markup import Markup
from tfconv_export.report.markup import element
from tfconv_export.report.markup import section
from tfconv_export.report.markup import table
from tfconv_export.report.text import shape
from tfconv_export.report.text import size
from tfconv_export.streaming_result import StreamingResult


def all_sections(stream: StreamingResult) -> list[Markup]:
    """The sections on the streaming file; the others are on whole windows."""
    return [
        _overview(stream),
        section(
            "Layers of the stream",
            element("pre", str(stream.plan)),
            element("p", "Bytes are those of the float model.", "legend"),
        ),
        sections.interface(stream, "Inputs and outputs of the stream"),
        _states(stream),
        sections.checks(stream, "Checks of the stream"),
        sections.target(stream, "the stream"),
        element(
            "p",
            "Everything below is of the file for whole windows, which the "
            "stream was compared with.",
        ),
    ]


def summary(stream: StreamingResult) -> list[tuple[str, str]]:
    """What a hop costs, by what it is called.

    Args:
        stream: the result.
    """
    plan = stream.plan
    rows = [("hop", f"{plan.hop} new frames, of windows of {plan.window}")]
    if plan.macs_per_hop:
        rows.append(
            (
                "multiply-accumulates",
                f"{plan.macs_per_hop:,} a hop, {plan.macs_per_window:,} a "
                f"window: {plan.macs_per_window / plan.macs_per_hop:.1f} "
                "times fewer",
            )
        )
    whole = stream.whole
    beside = ""
    if whole is not None:
        more = 100 * (stream.size / whole.size - 1)
        beside = f", {more:+.1f} % of the {whole.size:,} for whole windows"
    rows.append(("file", f"{stream.size:,} bytes{beside}"))
    held = state_bytes(stream)
    kept = {
        "external": "in inputs and outputs, which the program hands on",
        "internal": "in variables of the file",
    }[stream.state]
    rows.append(("state", f"{size(held)} {kept}"))
    rows.append(
        (
            "first full window",
            f"at hop {plan.hops_until_full} after a reset"
            + ("" if plan.every_hop else ", and there only"),
        )
    )
    return rows


def state_bytes(stream: StreamingResult) -> int:
    """What the file's states take, in its own dtype."""
    width = {"none": 4, "int8": 1, "int16x8": 2}[stream.quantize]
    return sum(width * _elements(state.shape) for state in stream.plan.states)


def _elements(dims: tuple[int, ...]) -> int:
    count = 1
    for dim in dims:
        count *= dim
    return count


def _overview(stream: StreamingResult) -> Markup:
    counts = ", ".join(
        f"{count} {name}" for name, count in stream.operators.items()
    )
    return section(
        "Frame by frame",
        table(["", ""], summary(stream)),
        element("p", f"Operators: {counts}."),
    )


def _states(stream: StreamingResult) -> Markup:
    if not stream.states:
        return Markup("")
    rows = [
        (
            state.name,
            state.output_name,
            state.layer,
            f"{shape(state.shape)} {state.dtype}",
            str(state.initial_value),
        )
        for state in stream.states
    ]
    columns = ["input", "from output", "layer", "shape", "at first, all"]
    return section(
        "States",
        element(
            "p",
            "Give the bytes of each output, as they are, to its input at the "
            "next hop.",
        ),
        table(columns, rows, numbers=[4], keep=[3]),
    )
