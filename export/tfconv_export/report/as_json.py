"""The result as JSON, in a schema that programs may rely on.

A key is never removed and never changes its meaning without a new
`schema_version`; new keys may come. Numbers that are infinite or undefined are
`null`: an infinite `sqnr_db` is that with a `max_error` of 0. An infinite
`log_odds_sqnr_db` is `null`, and so is that of what is no probability.

| key | value |
|---|---|
| `schema_version` | int, 1 |
| `passed` | bool, whether every check passed |
| `model` | string, where the model came from |
| `output` | string, the path of the file |
| `quantize` | string, the mode |
| `io_dtype` | string, of inputs and outputs |
| `inputs`, `outputs` | list of `Endpoint` |
| `model_size` | int, bytes of the model on disk, or `null` |
| `size` | int, bytes of the file |
| `operators` | object from an operator's name to how many there are |
| `examples` | int, on how many the file was compared |
| `examples_origin` | string, where those came from |
| `agreements` | list of `Agreement` |
| `checks` | list of `Check` |
| `data` | list of `DataSummary` |
| `accuracies` | list of `Accuracy`; runtime `model` is the trained model |
| `layers` | list of `LayerError`, in the order of execution |
| `scatters` | list of `Scatter` |
| `float_layers` | list of strings, the layers left in float |
| `folded` | list of strings, the batch normalizations that became part of \
other layers, or depthwise convolutions |
| `equalized` | list of strings, the layers whose channels were evened out |
| `keeps_state` | bool, whether the file has to be reset before every window |
| `target` | `TargetReport` without `compiled`, or `null` |
| `warnings` | list of strings |
| `arguments` | object from an argument of the export to its value |
| `versions` | object from a package to its version |
| `file` | what is in the file, or `null` if it was not looked into |
| `stream` | a `StreamingResult`, its `facts` as `file`; `null` for an export \
of whole windows |

With a `stream`, everything else is of the file for whole windows, whose
`output` is empty if it was not written; `passed` is of both.

A list of `Endpoint` holds objects whose keys are the attributes of
`tfconv_export.result.Endpoint`, in the units that are said there; the others
alike. Their attributes are part of the schema. `file` has:

| key | value |
|---|---|
| `constant_bytes` | int, of weights and other constants |
| `subgraphs` | int, how many |
| `description` | string |
| `metadata` | object from a name to the size in bytes |
| `operators` | list of `{name, is_custom, inputs, outputs, intermediates}`; \
the operands are `flatbuffer.TensorFacts`, or `null` if left out |"""

import dataclasses
import json
import math
import os

import numpy as np

from tfconv_export.flatbuffer import Facts
from tfconv_export.result import ExportResult
from tfconv_export.streaming_result import StreamingResult

SCHEMA_VERSION = 1


def to_json(
    result: ExportResult,
    facts: Facts | None = None,
    stream: StreamingResult | None = None,
) -> str:
    """The result as JSON, and what is in the file if it is given."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "passed": not result.failed and not (stream and stream.failed),
        **_fields(result),
        "file": None if facts is None else _file(facts),
        "stream": None,
    }
    if stream is not None:
        content["stream"] = _fields(stream) | {"facts": _file(stream.facts)}
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def _file(facts: Facts) -> dict:
    return {
        "constant_bytes": facts.constant_bytes,
        "subgraphs": facts.subgraphs,
        "description": facts.description,
        "metadata": facts.metadata,
        "operators": facts.operators,
    }


def _fields(value) -> dict:
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        # A file of its own, and not JSON's; and what is there already.
        if field.name not in ("compiled", "whole")
    }


def _plain(value):
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return _plain(_fields(value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # An argument given from Python, such as a model or an array.
    return f"<{type(value).__name__}>"
