"""Where in a file quantization loses precision, operator by operator."""

import dataclasses

import numpy as np

from tfconv_export.calibration import Examples
from tfconv_export.errors import UsageError
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.quantization.activations import ActivationRun
from tfconv_export.quantization.layer_names import layer_of
from tfconv_export.quantization.layer_names import matched
from tfconv_export.result import LayerError
from tfconv_export.sqnr import decibels

_MAX_EXAMPLES = 64

_INPUT = "INPUT"

# They hand on what they are given, and its error with it.
_MOVES = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "PAD", "PADV2")


def compare(
    float_content: bytes,
    quantized_content: bytes,
    examples: Examples,
    scopes: dict[str, str] | None = None,
) -> tuple[LayerError, ...]:
    """Runs two files of one model side by side.

    Both run on LiteRT's builtin kernels, whose int8 arithmetic is that of the
    reference kernels to 1 step.

    Args:
        float_content: bytes of the float32 file.
        quantized_content: bytes of the quantized file of the same model.
        examples: what to run them on; at most 64, evenly spread, are used.
        scopes: `Conversion.scopes`, by which the layers get their own names.

    Returns:
        One for each quantized input (its operator is `"INPUT"`) and for each
        output of an operator that computes something, in their order; none
        if LiteRT does not run one of the files.

    Raises:
        UsageError: if the files are not of the same model.
    """
    try:
        expected, found = (
            ActivationRun(float_content),
            ActivationRun(quantized_content),
        )
    except (RuntimeError, ValueError):
        return ()
    pairs = _pairs(expected, found, scopes or {})
    try:
        for example in examples.sample(_MAX_EXAMPLES):
            expected.run(example)
            found.run(example)
            for pair in pairs:
                pair.add(
                    expected.value(pair.float_tensor), found.value(pair.tensor)
                )
    except RuntimeError:  # An operator that does not take such values.
        return ()
    return tuple(pair.error() for pair in pairs)


def _pairs(
    expected: ActivationRun, found: ActivationRun, scopes
) -> list["_Pair"]:
    pairs = [
        _Pair(
            float_tensor=tensor,
            tensor=found.inputs()[name],
            layer=name,
            operator=_INPUT,
        )
        for name, tensor in expected.inputs().items()
        if name in found.inputs() and found.inputs()[name].scales
    ]
    operators = matched(expected.operators(), found.operators())
    if expected.operators() and not operators:
        raise UsageError(
            "The two files have no operators in common: are they of the same "
            "model?"
        )
    for ours, theirs in operators:
        if ours.name in _MOVES:
            continue
        weights = ours.inputs[1] if len(ours.inputs) > 1 else None
        span = {}
        if weights is not None and weights.constant:
            values = expected.value(weights)
            if weights.dtype == "float32" and values.size:
                span["weight_minimum"] = float(values.min())
                span["weight_maximum"] = float(values.max())
        for float_tensor, tensor in zip(
            ours.outputs, theirs.outputs, strict=True
        ):
            if float_tensor.dtype == "float32":
                layer = layer_of(ours, expected.facts, scopes)
                pairs.append(
                    _Pair(float_tensor, tensor, layer, ours.name, span)
                )
    return pairs


@dataclasses.dataclass
class _Pair:
    """The same tensor in both files, and sums over the examples seen."""

    float_tensor: TensorFacts
    tensor: TensorFacts
    layer: str
    operator: str
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    signal: float = 0.0
    noise: float = 0.0
    minimum: float = np.inf
    maximum: float = -np.inf
    values: int = 0
    outside: int = 0

    def limits(self) -> tuple[float, float] | None:
        if not self.tensor.scales:
            return None
        held = np.iinfo(self.tensor.dtype)
        scale, zero_point = self.tensor.scales[0], self.tensor.zero_points[0]
        return (held.min - zero_point) * scale, (held.max - zero_point) * scale

    def add(self, expected: np.ndarray, found: np.ndarray) -> None:
        self.signal += float(np.square(expected).sum())
        self.noise += float(np.square(expected - found).sum())
        self.minimum = min(self.minimum, float(expected.min()))
        self.maximum = max(self.maximum, float(expected.max()))
        self.values += expected.size
        limits = self.limits()
        if limits is not None:
            # Up to half a step outside, a value is rounded, not clipped.
            slack = self.tensor.scales[0] / 2
            outside = (expected < limits[0] - slack) | (
                expected > limits[1] + slack
            )
            self.outside += int(outside.sum())

    def error(self) -> LayerError:
        lowest, highest = self.limits() or (None, None)
        return LayerError(
            tensor=self.tensor.name,
            layer=self.layer,
            operator=self.operator,
            shape=self.tensor.shape,
            sqnr_db=float(decibels(self.signal, self.noise)),
            dtype=self.tensor.dtype,
            minimum=self.minimum,
            maximum=self.maximum,
            lowest=lowest,
            highest=highest,
            clipped=self.outside / self.values if self.values else 0.0,
            **self.weights,
        )
