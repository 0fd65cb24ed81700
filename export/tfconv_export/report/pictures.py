"""The pictures of a report, as PNG."""

import io
import math
import warnings

import numpy as np

from tfconv_export.errors import UsageError
from tfconv_export.flatbuffer import Facts
from tfconv_export.printable import elide
from tfconv_export.report.text import between
from tfconv_export.report.text import decibels
from tfconv_export.report.text import number
from tfconv_export.report.text import percent
from tfconv_export.report.text import positions
from tfconv_export.report.text import shown_db
from tfconv_export.report.text import worst_layers
from tfconv_export.result import ExportResult
from tfconv_export.result import LayerError
from tfconv_export.result import Scatter

_WIDTH = 9.0  # inches: 900 pixels of a page at 100 to the inch
_DPI = 160
_ROW = 0.23  # inches
_MAX_LAYERS = 120
_MAX_PANELS = 9

# Of the palette of Okabe and Ito, made for every kind of colour blindness.
_BLUE = "#0072b2"
_VERMILLION = "#d55e00"
_BAND = "#d4dce4"
_GREY = "#6b7480"
_INK = "#22272e"

# Not the caller's own style: labels are measured for this one.
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#b8c0c8",
    "axes.labelcolor": _INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e8ecf0",
    "grid.linewidth": 0.8,
    "text.color": _INK,
    "text.parse_math": False,  # a name may hold dollar signs
    "xtick.color": _GREY,
    "ytick.color": _INK,
    "ytick.major.size": 0,
    "figure.facecolor": "white",
}


def require_matplotlib() -> None:
    """Says early that pictures cannot be drawn.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "A report directory has pictures, which need matplotlib: pip "
            "install 'tfconv[report]'."
        ) from error


NAMES = (
    "layer_sqnr",
    "activation_ranges",
    "weight_ranges",
    "scatter",
    "runtimes",
)


def draw(result: ExportResult, facts: Facts | None = None) -> dict[str, bytes]:
    """Draws what there is to draw.

    Args:
        result: an `ExportResult`.
        facts: of the file; numbers its operators.

    Returns:
        dict from a name of `NAMES` to a PNG, 1440 pixels wide.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figures = (
            _layer_sqnr(result, facts),
            _activation_ranges(result, facts),
            _weight_ranges(result, facts),
            _scatter(result),
            _runtimes(result),
        )
        return {
            name: _png(figure)
            for name, figure in zip(NAMES, figures, strict=True)
            if figure is not None
        }


def _png(figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return stream.getvalue()


def _rows(names: list[str], xlabel: str, right: float = 0.25):
    """A figure of one row for each name, the first on top, and its axes.

    Args:
        names: list of strings.
        xlabel: string.
        right: float, inches to the right of the axes.
    """
    from matplotlib.figure import Figure

    left = 0.3 + 0.072 * max(map(len, names))
    above, below = 0.15, 0.55
    height = len(names) * _ROW + above + below
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_axes(
        (
            left / _WIDTH,
            below / height,
            1 - (left + right) / _WIDTH,
            len(names) * _ROW / height,
        )
    )
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(xlabel)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    return figure, axes


def _at_right(axes, row: int, text: str, color: str, points: int = 6) -> None:
    """A note beside the axes."""
    axes.annotate(
        text,
        (1, row),
        xycoords=("axes fraction", "data"),
        xytext=(points, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=color,
        annotation_clip=False,
    )


def _names(layers: list[LayerError], facts: Facts | None) -> list[str]:
    places = positions(facts)
    return [_name(layer, places) for layer in layers]


def _name(layer: LayerError, places: dict[str, int]) -> str:
    place = places.get(layer.tensor)
    number = "" if place is None else f"{place}  "
    operator = elide(layer.operator, 22)
    room = 41 - len(operator) - len(number)
    return f"{number}{elide(layer.layer or layer.tensor, room)}  {operator}"


def _shown(result: ExportResult) -> list[LayerError]:
    """The operators in their order; of very many the worst ones."""
    if len(result.layers) <= _MAX_LAYERS:
        return list(result.layers)
    worst = {id(layer) for layer in worst_layers(result, _MAX_LAYERS)}
    return [layer for layer in result.layers if id(layer) in worst]


def _note(result: ExportResult) -> str:
    count = len(result.layers)
    if count <= _MAX_LAYERS:
        return ""
    return f" (the worst {_MAX_LAYERS} of {count} operators)"


def _layer_sqnr(result: ExportResult, facts: Facts | None):
    layers = _shown(result)
    if not layers:
        return None
    figure, axes = _rows(
        _names(layers, facts),
        "signal to quantization noise, dB" + _note(result),
        0.75,
    )
    values = [layer.sqnr_db for layer in layers]
    _bars(axes, values, worst=3 if len(layers) > 5 else len(layers) > 1)
    return figure


def _bars(axes, values: list[float], worst: int) -> None:
    """Bars of decibels: the `worst` highlighted, infinite ones to the edge."""
    finite = [value for value in values if math.isfinite(value)]
    top = 1.08 * max([*finite, 10.0])
    lengths = [
        0.0 if math.isnan(value) else min(max(value, min([*finite, 0.0])), top)
        for value in values
    ]
    order = sorted(
        (index for index, value in enumerate(values) if value != math.inf),
        key=lambda index: (not math.isnan(values[index]), lengths[index]),
    )
    marked = set(order[:worst])
    colors = [
        _VERMILLION if index in marked else _BLUE
        for index in range(len(values))
    ]
    axes.barh(range(len(values)), lengths, height=0.62, color=colors)
    axes.set_xlim(1.05 * min(0.0, *lengths, 0.0), top)
    axes.axvline(0, color="#b8c0c8", linewidth=0.8)
    for row, (value, length) in enumerate(zip(values, lengths, strict=True)):
        same = value == math.inf
        axes.annotate(
            "no difference" if same else decibels(value),
            (max(length, 0.0), row),
            xytext=(-4 if same else 4, 0),
            textcoords="offset points",
            va="center",
            ha="right" if same else "left",
            color="white" if same else _VERMILLION if row in marked else _GREY,
            fontsize=8,
            fontweight="bold" if row in marked else "normal",
        )


def _activation_ranges(result: ExportResult, facts: Facts | None):
    layers = [
        layer
        for layer in _shown(result)
        if layer.lowest is not None
        and math.isfinite(layer.minimum)
        and math.isfinite(layer.maximum)
        and layer.highest > layer.lowest
    ]
    if not layers:
        return None
    figure, axes = _rows(
        _names(layers, facts),
        "float values, as a share of what the quantization can hold (grey)"
        + _note(result),
        2.75,
    )
    axes.set_xlim(-0.32, 1.32)
    axes.set_xticks([0, 0.5, 1], ["lowest", "", "highest"])
    for row, layer in enumerate(layers):
        _range(axes, row, layer)
    return figure


def _range(axes, row: int, layer: LayerError) -> None:
    width = layer.highest - layer.lowest
    # A value that is quantized moves by half a step, which is no clipping.
    slack = width / 255
    outside = (
        layer.minimum < layer.lowest - slack
        or layer.maximum > layer.highest + slack
    )
    clipped = layer.clipped > 0 and outside
    color = _VERMILLION if clipped else _BLUE
    axes.barh(row, 1, height=0.7, color=_BAND)
    if layer.lowest <= 0 <= layer.highest:
        zero = -layer.lowest / width
        axes.plot([zero, zero], [row - 0.35, row + 0.35], color="white", lw=1.2)
    ends = [
        (value - layer.lowest) / width
        for value in (layer.minimum, layer.maximum)
    ]
    shown = np.clip(ends, -0.27, 1.27)
    axes.plot(shown, [row, row], color=color, lw=2.4, solid_capstyle="butt")
    for end, at, arrow in zip(ends, shown, "<>", strict=True):
        axes.plot(
            at,
            row,
            marker="|" if end == at else arrow,
            color=color,
            markersize=7 if end == at else 5,
            markeredgewidth=1.6 if end == at else 0,
        )
    text = between(layer.minimum, layer.maximum)
    if clipped:
        text += f", {percent(layer.clipped)} clipped"
    _at_right(axes, row, text, _VERMILLION if clipped else _GREY)


def _weight_ranges(result: ExportResult, facts: Facts | None):
    layers = [
        layer
        for layer in _shown(result)
        if layer.weight_minimum is not None
        and math.isfinite(layer.weight_minimum)
        and math.isfinite(layer.weight_maximum)
    ]
    if not layers:
        return None
    figure, axes = _rows(
        _names(layers, facts),
        "smallest to largest weight" + _note(result),
        1.65,
    )
    extents = [
        max(abs(layer.weight_minimum), abs(layer.weight_maximum))
        for layer in layers
    ]
    smallest = min((extent for extent in extents if extent), default=1.0)
    largest = max(*extents, smallest)
    if largest > 30 * smallest:
        low, high = (
            10.0 ** math.floor(math.log10(extent))
            for extent in (smallest, largest)
        )
        axes.set_xscale("symlog", linthresh=low)
        ticks = [-high, -low, 0.0, low, high]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    axes.set_xlim(-1.15 * largest, 1.15 * largest)
    axes.axvline(0, color="#b8c0c8", linewidth=0.8)
    for row, layer in enumerate(layers):
        low, high = layer.weight_minimum, layer.weight_maximum
        axes.plot(
            [low, high],
            [row, row],
            color=_BLUE,
            lw=5,
            alpha=0.35,
            solid_capstyle="butt",
        )
        axes.plot([low, high], [row, row], "|", color=_BLUE, markersize=8)
        _at_right(axes, row, between(low, high), _GREY)
    return figure


def _scatter(result: ExportResult):
    from matplotlib.figure import Figure

    chosen = list(result.scatters)
    if len(chosen) > 3:
        first = chosen[0].runtime
        chosen = [s for s in chosen if s.runtime == first][:_MAX_PANELS]
    if not chosen:
        return None
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(
        figsize=(_WIDTH, 3.5 * rows if columns > 1 else 4.6),
        layout="constrained",
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, scatter in zip(panels, chosen, strict=False):
        _panel(axes, scatter)
    for axes in panels[len(chosen) :]:
        axes.set_axis_off()
    return figure


def _panel(axes, scatter: Scatter) -> None:
    pairs = np.array([scatter.expected, scatter.found], np.float64)
    finite = np.isfinite(pairs).all(axis=0)
    left_out = int((~finite).sum())
    expected, found = pairs[:, finite]
    title = f"{elide(scatter.output, 26)}\n{elide(scatter.runtime, 26)}"
    if left_out:
        title += f" ({left_out} not finite)"
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("trained model")
    axes.set_ylabel("file")
    axes.set_box_aspect(1)
    low, high = (
        (pairs[:, finite].min(), pairs[:, finite].max())
        if expected.size
        else (0.0, 1.0)
    )
    margin = 0.05 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    axes.set(xlim=limits, ylim=limits)
    axes.locator_params(nbins=5)
    axes.plot(limits, limits, color=_GREY, lw=0.9, ls="--", zorder=1)
    axes.scatter(
        expected, found, s=9, color=_BLUE, alpha=0.45, linewidths=0, zorder=2
    )


def _runtimes(result: ExportResult):
    agreements = result.agreements[:_MAX_LAYERS]
    if not agreements:
        return None
    outputs = {agreement.output for agreement in agreements}
    names = []
    for agreement in agreements:
        name = elide(agreement.runtime, 40 if len(outputs) == 1 else 24)
        if len(outputs) > 1:
            name += f"  {elide(agreement.output, 40 - len(name))}"
        if agreement.data != "representative":
            name += f"  {elide(agreement.data, 12)}"
        names.append(name)
    figure, axes = _rows(names, "signal to quantization noise, dB", 2.1)
    values = list(map(shown_db, agreements))
    _bars(axes, values, worst=0)
    for row, agreement in enumerate(agreements):
        error = f"largest error {number(agreement.max_error, 3)}"
        if not agreement.finite:
            error = "not finite"
        _at_right(axes, row, error, _GREY, 56)
    return figure
