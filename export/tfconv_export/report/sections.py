"""The sections of the page; one without anything to say is empty."""

import math

from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.printable import elide
from tfconv_export.report import graph
from tfconv_export.report.markup import Markup
from tfconv_export.report.markup import element
from tfconv_export.report.markup import join
from tfconv_export.report.markup import picture
from tfconv_export.report.markup import section
from tfconv_export.report.markup import table
from tfconv_export.report.text import SQNR_BANDS
from tfconv_export.report.text import between
from tfconv_export.report.text import decibels
from tfconv_export.report.text import milliseconds
from tfconv_export.report.text import npu_share
from tfconv_export.report.text import number
from tfconv_export.report.text import percent
from tfconv_export.report.text import positions
from tfconv_export.report.text import shape
from tfconv_export.report.text import size
from tfconv_export.report.text import sqnr_color
from tfconv_export.report.text import tensor_bytes
from tfconv_export.report.text import worst_layers
from tfconv_export.result import RESET_BEFORE_EACH_WINDOW
from tfconv_export.result import Endpoint
from tfconv_export.result import ExportResult
from tfconv_export.result import TargetReport
from tfconv_export.streaming_result import StreamingResult

_LARGEST = 6
_NOTHING = Markup("")


def checks(
    result: ExportResult | StreamingResult, title: str = "Checks"
) -> Markup:
    """Everything that was looked at."""
    rows = [
        (
            element("span", "pass", "pass")
            if check.passed
            else element("span", "FAIL", "fail"),
            check.name,
            check.detail,
        )
        for check in result.checks
    ]
    styles = ["" if check.passed else "failed" for check in result.checks]
    return section(
        title, table(["", "check", "found"], rows, keep=[0], styles=styles)
    )


def accuracy(result: ExportResult) -> Markup:
    """How often the model and the file are right."""
    if not result.accuracies:
        return _NOTHING
    model = {
        item.output: item.correct / item.examples
        for item in result.accuracies
        if item.runtime == "model" and item.examples
    }
    rows = []
    for item in result.accuracies:
        share = item.correct / item.examples if item.examples else None
        trained = model.get(item.output)
        change = ""
        if item.runtime != "model" and None not in (share, trained):
            change = f"{100 * (share - trained):+.2f} points"
        rows.append(
            (
                "trained model" if item.runtime == "model" else item.runtime,
                item.output,
                percent(share, 2),
                change,
                f"{item.correct:,} of {item.examples:,}",
            )
        )
    columns = ["", "output", "accuracy", "against the model", "correct"]
    return section("Accuracy", table(columns, rows, numbers=[2, 3, 4]))


def runtimes(result: ExportResult, pictures: dict[str, bytes]) -> Markup:
    """How close each runtime comes to the trained model."""
    if not result.agreements:
        return _NOTHING
    rows = [
        (
            item.runtime,
            item.output,
            item.data,
            decibels(item.sqnr_db),
            decibels(item.median_sqnr_db),
            "-"
            if item.log_odds_sqnr_db is None
            else decibels(item.log_odds_sqnr_db),
            number(item.max_error, 3),
            number(item.max_error_steps, 3),
            percent(item.relative_error, 2),
            percent(item.same_argmax),
            f"{item.examples:,}" if item.finite else "not finite",
        )
        for item in result.agreements
    ]
    columns = [
        "runtime",
        "output",
        "data",
        "SQNR",
        "median",
        "log-odds",
        "largest error",
        "in steps",
        "of the range",
        "same argmax",
        "examples",
    ]
    return section(
        "Runtimes",
        element(
            "p",
            f"The file on each runtime against the trained model, on "
            f"{result.examples} examples of {result.examples_origin}. SQNR is "
            "the signal-to-quantization-noise ratio; its median is taken over "
            "the examples. Probabilities are judged by that of their log-odds, "
            "which also tells a small one from a smaller one.",
        ),
        table(columns, rows, numbers=range(3, 11)),
        picture(
            pictures.get("runtimes"),
            "Signal to quantization noise on each runtime",
        ),
        picture(
            pictures.get("scatter"),
            "The file's outputs against the trained model's",
            "Each point is one output value. On the dashed line the file "
            "computes what the model does; a flat end is clipping.",
        ),
    )


def operators(result: ExportResult, facts: Facts | None) -> Markup:
    """The graph of the file."""
    if facts is None:
        return _NOTHING
    counts = ", ".join(
        f"{count} {name}" for name, count in result.operators.items()
    )
    legend = [
        "In the order in which they run. Lines at the right pass over "
        "operators, as around a residual block."
    ]
    if result.layers:
        legend.append(
            "The number is the signal-to-quantization-noise ratio of what the "
            "operator computes, with everything before it."
        )
    if npu_share(result) is not None:
        legend.append("CPU: the NPU leaves this operator to it.")
    if facts.subgraphs > 1:
        legend.append(f"They belong to {facts.subgraphs} subgraphs.")
    return section(
        "Operators",
        element("p", counts),
        element("p", " ".join(legend), "legend"),
        _bands() if result.layers else "",
        Markup(graph.draw(result, facts)),
    )


def _bands() -> Markup:
    labels, lower = [], None
    for upper, color in SQNR_BANDS:
        if lower is None:
            label = f"up to {upper:g} dB"
        elif upper == SQNR_BANDS[-1][0]:
            label = f"above {lower:g} dB"
        else:
            label = f"{lower:g} to {upper:g} dB"
        labels.append(element("span", Markup(_dot(color) + label)))
        lower = upper
    return element("p", join(labels), "legend")


def _dot(color: str) -> Markup:
    return Markup(f'<i class="dot" style="background:{color}"></i>')


def layers(
    result: ExportResult, facts: Facts | None, pictures: dict[str, bytes]
) -> Markup:
    """What quantization did to each operator."""
    if not result.layers:
        return _NOTHING
    places = positions(facts)
    worst = {
        id(layer)
        for layer in worst_layers(result, 1)
        if layer.sqnr_db != math.inf
    }
    rows = [
        (
            str(places.get(layer.tensor, "")),
            elide(layer.layer or layer.tensor, 64),
            layer.operator,
            f"{shape(layer.shape)} {layer.dtype}",
            Markup(_dot(sqnr_color(layer.sqnr_db)) + decibels(layer.sqnr_db)),
            between(layer.minimum, layer.maximum),
            between(layer.lowest, layer.highest),
            percent(layer.clipped, 2) if layer.lowest is not None else "-",
            between(layer.weight_minimum, layer.weight_maximum),
        )
        for layer in result.layers
    ]
    columns = [
        "",
        "layer",
        "operator",
        "output",
        "SQNR",
        "float values",
        "can hold",
        "clipped",
        "weights",
    ]
    return section(
        "Layers",
        picture(
            pictures.get("layer_sqnr"),
            "Signal to quantization noise of each operator",
            "How far quantization moved what each operator computes, in their "
            "order; the worst stand out. A sharp drop is where to look.",
        ),
        picture(
            pictures.get("activation_ranges"),
            "Ranges of the activations",
            "The values in the float model (line) within what the "
            "quantization can hold (grey; the notch is zero). A line that "
            "leaves the grey is clipped: the calibration data did not have "
            "such values. A line much shorter than the grey wastes steps.",
        ),
        picture(
            pictures.get("weight_ranges"),
            "Ranges of the weights",
            "One layer that reaches much further than the others often has a "
            "few outliers that cost it its resolution.",
        ),
        table(
            columns,
            rows,
            numbers=[0, 4, 7],
            keep=[2, 3, 5, 6, 8],
            styles=[
                "worst" if id(layer) in worst else "" for layer in result.layers
            ],
        ),
    )


def sizes(result: ExportResult, facts: Facts | None) -> Markup:
    """Where the bytes are."""
    amounts = [
        ("model on disk", result.model_size, "var(--soft)"),
        ("TFLite file", result.size, "var(--accent)"),
    ]
    if facts is not None:
        amounts.append(
            ("constants in it", facts.constant_bytes, "var(--accent)")
        )
    largest = max(amount or 0 for _, amount, _ in amounts) or 1
    bars = join(
        Markup(
            f"<div>{name}</div>"
            f'<div><div class="bar" style="background:{color};'
            f'width:{100 * amount / largest:.2f}%"></div></div>'
            f'<div class="n">{size(amount)}</div>'
        )
        for name, amount, color in amounts
        if amount is not None
    )
    parts = [element("div", bars, "bars")]
    if facts is not None:
        parts.append(element("div", _largest_tensors(facts), "columns"))
    return section("Sizes", *parts)


def _largest_tensors(facts: Facts) -> Markup:
    tensors = {
        tensor.name: tensor
        for operator in facts.operators
        for tensor in (*operator.inputs, *operator.outputs)
        if tensor is not None and tensor_bytes(tensor) is not None
    }
    parts = []
    for title, constant in (
        ("Largest constants", True),
        ("Largest activations", False),
    ):
        chosen = sorted(
            (item for item in tensors.values() if item.constant == constant),
            key=tensor_bytes,
            reverse=True,
        )[:_LARGEST]
        if chosen:
            parts.append(
                element(
                    "div", join([element("h3", title), _tensor_table(chosen)])
                )
            )
    return join(parts)


def _tensor_table(tensors: list[TensorFacts]) -> Markup:
    rows = [
        (
            elide(tensor.name, 64),
            f"{shape(tensor.shape)} {tensor.dtype}",
            f"{tensor_bytes(tensor):,}",
        )
        for tensor in tensors
    ]
    return table(["tensor", "shape", "bytes"], rows, numbers=[2], keep=[1])


def interface(
    result: ExportResult | StreamingResult, title: str = "Inputs and outputs"
) -> Markup:
    """What a program gives to the file and takes from it."""

    def row(kind: str, end: Endpoint) -> tuple[str, ...]:
        quantization = "-"
        if end.scale is not None:
            zero = end.zero_point or 0
            sign = "+" if zero < 0 else "-"
            quantization = f"{end.scale:.6g} * (q {sign} {abs(zero)})"
        return kind, end.name, shape(end.shape), end.dtype, quantization

    rows = [
        *(row("input", end) for end in result.inputs),
        *(row("output", end) for end in result.outputs),
    ]
    if not rows:
        return _NOTHING
    columns = ["", "name", "shape", "dtype", "real value"]
    parts = [table(columns, rows, keep=[2, 4])]
    if isinstance(result, ExportResult) and result.keeps_state:
        parts.append(element("p", f"State: {RESET_BEFORE_EACH_WINDOW}."))
    return section(title, *parts)


def data(result: ExportResult) -> Markup:
    """What the examples cover."""
    if not result.data:
        return _NOTHING
    rows = [
        (
            item.input,
            item.origin,
            f"{item.used:,} of {item.available:,}",
            number(item.minimum),
            number(item.maximum),
            number(item.mean),
            number(item.stddev),
        )
        for item in result.data
    ]
    columns = ["input", "read from", "used", "min", "max", "mean", "std"]
    return section("Data", table(columns, rows, numbers=range(2, 7)))


def target(result: ExportResult | StreamingResult, whose: str = "") -> Markup:
    """What the target's own tools say."""
    found = result.target
    if found is None or found == TargetReport(found.target):
        return _NOTHING
    share, time = npu_share(result), milliseconds(result)
    rows = [("arena", size(found.arena_bytes))] * (
        found.arena_bytes is not None
    )
    if share is not None:
        rows.append(
            (
                "operators on the NPU",
                f"{found.npu_operators} of {found.operators} "
                f"({percent(share)})",
            )
        )
    if found.cycles is not None:
        clock = ""
        if time is not None:
            clock = (
                f", {number(time, 3)} ms at {number(found.clock_hz / 1e6)} MHz"
            )
        rows.append(("one inference", f"{found.cycles:,} cycles{clock}"))
    if found.sram_bytes is not None:
        rows.append(("peak of SRAM", size(found.sram_bytes)))
    if found.flash_bytes is not None:
        rows.append(("constants in flash", size(found.flash_bytes)))
    parts = [table(["", ""], rows)] if rows else []
    if share is not None and found.cycles is not None:
        parts.append(
            element("p", "Cycles are the compiler's estimate.", "legend")
        )
    if found.cpu_operators:
        parts += [
            element("h3", "Left to the CPU"),
            table(
                ["operator", "output", "reason"],
                [(op.name, op.output, op.reason) for op in found.cpu_operators],
                keep=[0],
            ),
        ]
    if found.resolver:
        parts += [
            element("h3", "Operators to register (C++)"),
            element("pre", found.resolver.strip("\n")),
        ]
    title = f"Target {found.target}" + f" of {whose}" * bool(whose)
    return section(title, *parts)


def changes(result: ExportResult) -> list[Markup]:
    """The layers that were left in float, folded and evened out."""
    lists = {
        "Layers left in float": result.float_layers,
        "Batch normalizations folded": result.folded,
        "Channels evened out": result.equalized,
    }
    return [
        section(title, element("ul", join(element("li", n) for n in names)))
        for title, names in lists.items()
        if names
    ]
