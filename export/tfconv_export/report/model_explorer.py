"""Colours the graph of the file in Google's Model Explorer.

`model-explorer model.tflite` shows the graph; the file made here is loaded
there as custom node data, and gives every operator its figure and its colour.
"""

import json
import math

from tfconv_export.flatbuffer import Facts
from tfconv_export.report.text import SQNR_BANDS
from tfconv_export.result import ExportResult

# What Model Explorer calls the main subgraph of a TFLite file, and what the
# converter names it.
_GRAPH = "main"

# Stands for an infinite ratio, which JSON cannot hold: more than 16 bits have.
_NO_DIFFERENCE_DB = 200.0

_TEXT_COLORS = {"#0072b2": "#ffffff"}


def node_data(result: ExportResult, facts: Facts | None = None) -> str:
    """The signal-to-noise ratio of each operator as custom node data.

    Args:
        result: an `ExportResult`.
        facts: of the file; names that it does not hold are left out.

    Returns:
        string, JSON: by graph the results, keyed by the name of an operator's
        output, in decibels (200 where nothing differs; undefined ones are
        left out), and the colours of their ranges.
    """
    names = None
    if facts is not None:
        names = {
            tensor.name
            for operator in facts.operators
            for tensor in operator.outputs
        }
    results = {
        layer.tensor: {"value": _decibels(layer.sqnr_db)}
        for layer in result.layers
        if (names is None or layer.tensor in names)
        and not math.isnan(layer.sqnr_db)
    }
    thresholds = [
        {
            "value": min(upper, _NO_DIFFERENCE_DB),
            "bgColor": color,
            "textColor": _TEXT_COLORS.get(color, "#000000"),
        }
        for upper, color in SQNR_BANDS
    ]
    graph = {"results": results, "thresholds": thresholds}
    return json.dumps({_GRAPH: graph}, indent=2, allow_nan=False) + "\n"


def _decibels(value: float) -> float:
    bound = _NO_DIFFERENCE_DB
    return round(min(max(value, -bound), bound), 2)
