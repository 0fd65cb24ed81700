"""Figures, shapes and names as every part of a report writes them."""

import math

from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.result import Agreement
from tfconv_export.result import ExportResult
from tfconv_export.result import LayerError

# From here down an operator computes: noise, little, usable, good; above the
# last one its quantization cannot be told from float in practice. The lowest
# is what an export demands of int8 outputs. Colours from vermillion to blue
# stay apart for every kind of colour blindness.
SQNR_BANDS = (
    (10.0, "#d55e00"),
    (20.0, "#e69f00"),
    (30.0, "#f0d98c"),
    (40.0, "#8cc3e6"),
    (math.inf, "#0072b2"),
)


def sqnr_color(sqnr_db: float) -> str:
    """The colour of a ratio in decibels; an undefined one has the lowest's."""
    for upper, color in SQNR_BANDS:
        if sqnr_db <= upper:
            return color
    return SQNR_BANDS[0][1]


def number(value: float | None, digits: int = 4) -> str:
    """A number in `digits` significant ones."""
    if value is None:
        return "-"
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.{digits}g}"


def decibels(value: float) -> str:
    """A ratio in decibels; infinite if nothing differs."""
    if math.isnan(value):
        return number(value)
    return f"{value:.1f} dB" if math.isfinite(value) else f"{number(value)} dB"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share as a percentage; a small one that is not zero is not "0"."""
    if share is None or not math.isfinite(share):
        return number(share)
    if not share:
        return "0 %"
    smallest = 0.1**decimals
    if 0 < 100 * share < smallest:
        return f"< {smallest:.{decimals}f} %"
    return f"{100 * share:.{decimals}f} %"


def size(count: int | None) -> str:
    """A number of bytes."""
    return "-" if count is None else f"{count:,} bytes"


def shape(dims: tuple[int, ...]) -> str:
    """A shape such as `1x40x4`; `?` is an unknown dimension."""
    return "x".join("?" if dim < 0 else str(dim) for dim in dims) or "scalar"


def between(low: float | None, high: float | None) -> str:
    """A range of values."""
    return "-" if low is None else f"{number(low, 3)} to {number(high, 3)}"


def positions(facts: Facts | None) -> dict[str, int]:
    """From an output's name to its operator's place, counted from 1."""
    if facts is None:
        return {}
    return {
        tensor.name: place
        for place, operator in enumerate(facts.operators, 1)
        for tensor in operator.outputs
    }


def shown_db(item: Agreement | LayerError) -> float:
    """The one ratio that says the most: of probabilities, the log-odds'."""
    log_odds = getattr(item, "log_odds_sqnr_db", None)
    return item.sqnr_db if log_odds is None else log_odds


def badness(item: Agreement | LayerError) -> float:
    """Sorts by the ratio, the worst first: an undefined one is the worst."""
    ratio = shown_db(item)
    return -math.inf if math.isnan(ratio) else ratio


def worst_layers(result: ExportResult, count: int) -> list[LayerError]:
    """The operators that quantization moved the most, the worst first."""

    return sorted(result.layers, key=badness)[:count]


def npu_share(result: ExportResult) -> float | None:
    """The share of the operators that the NPU runs; `None` without one."""
    target = result.target
    if target is None or target.npu_operators is None or not target.operators:
        return None
    return target.npu_operators / target.operators


def milliseconds(result: ExportResult) -> float | None:
    """The time of one inference as the NPU's compiler estimates it."""
    target = result.target
    if target is None or target.cycles is None or not target.clock_hz:
        return None
    return 1e3 * target.cycles / target.clock_hz


def tensor_bytes(tensor: TensorFacts) -> int | None:
    """What a tensor takes; `None` if its dtype or shape is not known."""
    bits = _BITS.get(tensor.dtype)
    if bits is None or any(dim < 0 for dim in tensor.shape):
        return None
    return -(-math.prod(tensor.shape) * bits // 8)


_BITS = {
    "bool": 8,
    "int2": 2,
    "int4": 4,
    "uint4": 4,
    "int8": 8,
    "uint8": 8,
    "int16": 16,
    "uint16": 16,
    "float16": 16,
    "bfloat16": 16,
    "int32": 32,
    "uint32": 32,
    "float32": 32,
    "int64": 64,
    "uint64": 64,
    "float64": 64,
    "complex64": 64,
    "complex128": 128,
}
