"""Means over time of tensors with two axes, which kernels compute faster.

TFLite Micro's reduction steps through the input element by element, and its
time grows with the number of axes. The sums, and so the bits, are the same.
"""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.quantization.computed_graph import is_constant

_OPERATORS = schema.BuiltinOperator


def flattened(content: bytes) -> bytes:
    """The file with `(1, t, c)` as `(t, c)` where a MEAN goes over t."""
    model = flatbuffer_edit.read(content)
    main = model.subgraphs[0]
    written = []
    for operator in main.operators:
        if _code(model, operator) == _OPERATORS.MEAN and _is_over_time(
            model, operator
        ):
            written.append(_flatten(model, operator))
        written.append(operator)
    if len(written) == len(main.operators):
        return content
    main.operators = written
    flatbuffer_edit.remove_unused(model)
    return flatbuffer_edit.write(model)


def _code(model, operator) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _is_over_time(model, operator) -> bool:
    tensors = model.subgraphs[0].tensors
    source, axes = operator.inputs
    shape = list(tensors[source].shape)
    if len(shape) != 3 or shape[0] != 1 or not is_constant(model, axes):
        return False
    data = bytes(model.buffers[tensors[axes].buffer].data)
    return (
        np.frombuffer(data, np.int32).tolist() == [1]
        and not operator.builtinOptions.keepDims
    )


def _flatten(model, operator):
    """Changes the MEAN; returns the RESHAPE before it."""
    main = model.subgraphs[0]
    source, axes = operator.inputs
    flat = copy.copy(main.tensors[source])
    flat.shape = list(flat.shape[1:])
    flat.name = (flat.name or b"") + b"_flat"
    main.tensors.append(flat)
    flat_index = len(main.tensors) - 1
    reshape = schema.OperatorT()
    reshape.opcodeIndex = _reshape_code(model)
    reshape.inputs = [source, _constant(model, axes, flat.shape)]
    reshape.outputs = [flat_index]
    operator.inputs = [flat_index, _constant(model, axes, [0])]
    operator.builtinOptions.keepDims = True
    return reshape


def _constant(model, like: int, values: list[int]) -> int:
    main = model.subgraphs[0]
    tensor = copy.copy(main.tensors[like])
    tensor.shape = [len(values)]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.array(values, "<i4").tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    tensor.name = b"flat"
    main.tensors.append(tensor)
    return len(main.tensors) - 1


def _reshape_code(model) -> int:
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == _OPERATORS.RESHAPE:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = _OPERATORS.RESHAPE
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
