"""Weights of 4 bits in an int8 file.

TFLite's converter makes them from fake quantization in training only. Here the
weights of the float32 file are rounded to 4 bits, and take the places of those
of 8; the ranges of the activations stay what they were. Dense layers keep 8
bits, as TFLite Micro takes 4 there with one scale for all outputs only.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfconv_export import flatbuffer
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.quantization.layer_names import matched

# The axis of the weights that counts an operator's outputs.
_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}

# Symmetric: -8 is not used.
_LARGEST = 7

# To clip the largest weights a little leaves finer steps for all others.
_SHARES = np.linspace(0.5, 1.0, 26)


def with_int4_weights(content: bytes, float_content: bytes) -> bytes:
    """The int8 file, with convolutions of 4-bit weights.

    Args:
        content: bytes of the int8 file.
        float_content: bytes of the float32 file of the same model.
    """
    facts = flatbuffer.read(content)
    float_facts = flatbuffer.read(float_content)
    model, float_model = (
        flatbuffer_edit.read(data) for data in (content, float_content)
    )
    operators = flatbuffer_edit.by_facts(facts, model)
    float_operators = flatbuffer_edit.by_facts(float_facts, float_model)
    main, float_main = model.subgraphs[0], float_model.subgraphs[0]
    for ours, theirs in matched(
        _weighty(float_facts, float_main), _weighty(facts, main)
    ):
        operator = operators[id(theirs)]
        twin = float_operators[id(ours)]
        weights = main.tensors[operator.inputs[1]]
        values = _values(float_model, float_main.tensors[twin.inputs[1]])
        axis = _AXES[theirs.name]
        scales = _scales(values, axis)
        shape = [1] * values.ndim
        shape[axis] = -1
        rounded = np.rint(values / scales.reshape(shape))
        rounded = np.clip(rounded, -_LARGEST, _LARGEST).astype(np.int8)
        # Layers of equal weights may share a buffer.
        flatbuffer_edit.store(model, weights, _packed(rounded))
        weights.type = schema.TensorType.INT4
        _set_scales(weights, scales, axis)
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            bias = main.tensors[operator.inputs[2]]
            steps = scales * np.float64(theirs.inputs[0].scales[0])
            real = _real_bias(model, bias)
            limits = np.iinfo(np.int32)
            stored = np.clip(np.rint(real / steps), limits.min, limits.max)
            flatbuffer_edit.store(model, bias, stored.astype(np.int32))
            _set_scales(bias, steps, 0)
    flatbuffer_edit.remove_unused(model)
    return flatbuffer_edit.write(model)


def _weighty(facts, main) -> list[flatbuffer.OperatorFacts]:
    # The facts go on with the operators of other subgraphs.
    return [
        op
        for op in facts.operators[: len(main.operators)]
        if op.name in _AXES and op.inputs[1].constant
    ]


def _values(model, tensor) -> np.ndarray:
    data = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
    return data.reshape(tuple(tensor.shape)).astype(np.float64)


def _real_bias(model, bias) -> np.ndarray:
    data = bytes(model.buffers[bias.buffer].data)
    scales = np.float64(bias.quantization.scale)
    return np.frombuffer(data, np.int32) * scales


def _scales(values: np.ndarray, axis: int) -> np.ndarray:
    """Of each channel, those with the least squared error."""
    channels = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    largest = np.abs(channels).max(axis=1)
    largest = np.where(largest == 0, 1.0, largest)
    tried = np.outer(_SHARES, largest / _LARGEST)[:, :, np.newaxis]
    rounded = np.clip(np.rint(channels / tried), -_LARGEST, _LARGEST) * tried
    errors = np.square(rounded - channels).sum(axis=2)
    best = _SHARES[errors.argmin(axis=0)] * largest / _LARGEST
    return best.astype(np.float32).astype(np.float64)


def _packed(values: np.ndarray) -> np.ndarray:
    """Two to a byte, the first in the lower half."""
    flat = values.reshape(-1)
    flat = np.append(flat, np.zeros(flat.size % 2, np.int8)).view(np.uint8)
    return (flat[::2] & 0xF) | (flat[1::2] << 4)


def _set_scales(tensor, scales: np.ndarray, axis: int) -> None:
    tensor.quantization.scale = np.asarray(scales, np.float32)
    tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
    tensor.quantization.quantizedDimension = axis
