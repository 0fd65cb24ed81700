"""Biases in the scale that their operators take them to have.

A kernel adds the bias to sums of products, whose scale is that of the input
times that of the weights, and never looks at the scale of the bias itself. In
int16x8 the converter gives a layer that is called twice one bias for both
calls, in the scale of one of them.
"""

import copy
from collections.abc import Iterator

import numpy as np

from tfconv_export import flatbuffer
from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import OperatorFacts
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.quantization import flatbuffer_edit

# Where each operator has its input, its weights and its bias.
_OPERANDS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}

# The converter multiplies in float32.
_TOLERANCE = 1e-5


def with_own_scales(content: bytes) -> bytes:
    """The file, with a bias of its own wherever one is in another's scale.

    Args:
        content: bytes of a file whose biases are quantized or in float.
    """
    facts = flatbuffer.read(content)
    wrong = [op for op in in_other_scales(facts) if len(_scales(op))]
    if not wrong:
        return content
    model = flatbuffer_edit.read(content)
    operators = flatbuffer_edit.by_facts(facts, model)
    for described in wrong:
        # What is in another subgraph is left to the check.
        if id(described) in operators:
            _requantize(model, operators[id(described)], described)
    flatbuffer_edit.remove_unused(model)
    return flatbuffer_edit.write(model)


def in_other_scales(facts: Facts) -> Iterator[OperatorFacts]:
    """The operators with a bias that is not in their own scale.

    That is the input's scale times the weights', with a zero point of 0.
    """
    for operator in facts.operators:
        bias = _bias(operator)
        if bias is None or not bias.constant or not bias.scales:
            continue
        wanted = _scales(operator)
        is_right = (
            len(wanted) in (1, len(bias.scales))
            and not any(bias.zero_points)
            and np.allclose(bias.scales, wanted, rtol=_TOLERANCE, atol=0)
        )
        if not is_right:
            yield operator


def _bias(operator: OperatorFacts) -> TensorFacts | None:
    *_, place = _OPERANDS.get(operator.name, (len(operator.inputs),))
    return operator.inputs[place] if place < len(operator.inputs) else None


def _scales(operator: OperatorFacts) -> np.ndarray:
    source, weights, _ = _OPERANDS[operator.name]
    source, weights = operator.inputs[source], operator.inputs[weights]
    return np.multiply(source.scales, weights.scales)


def _requantize(model, operator, described: OperatorFacts) -> None:
    """Gives an operator a copy of its bias, in its own scale."""
    place = _OPERANDS[described.name][-1]
    old = model.subgraphs[0].tensors[operator.inputs[place]]
    facts = described.inputs[place]
    data = bytes(model.buffers[old.buffer].data)
    stored = np.frombuffer(data, facts.dtype).astype(np.float64)
    real = (stored - facts.zero_points) * facts.scales
    scales = _scales(described)
    limits = np.iinfo(facts.dtype)
    values = np.clip(np.rint(real / scales), limits.min, limits.max)
    tensor = copy.copy(old)
    tensor.name = f"{flatbuffer_edit.name_of(old)}_rescaled".encode()
    tensor.quantization = copy.copy(old.quantization)
    tensor.quantization.scale = scales.astype(np.float32)
    tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
    flatbuffer_edit.store(model, tensor, values.astype(facts.dtype))
    operator.inputs[place] = flatbuffer_edit.add_tensor(model, tensor)
