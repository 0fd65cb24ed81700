"""Concatenations of at most ten tensors, as TFLite Micro runs them.

Nested ones compute the same bits. TFLite Micro has no TILE either, of
UpSampling1D and RepeatVector: the concatenation of a tensor with itself.
"""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.quantization.computed_graph import is_constant

_MOST = 10

# Dtypes that can be concatenated, and the first version that takes them.
_VERSIONS = {
    schema.TensorType.FLOAT32: 1,
    schema.TensorType.UINT8: 1,
    schema.TensorType.INT32: 1,
    schema.TensorType.INT64: 1,
    schema.TensorType.INT8: 2,
    schema.TensorType.INT16: 3,
}


def nested(content: bytes) -> bytes:
    """The file with small concatenations for large ones, and for TILE."""
    model = flatbuffer_edit.read(content)
    editor = _Editor(model)
    for operator in model.subgraphs[0].operators:
        editor.add(operator)
    if not editor.is_changed:
        return content
    model.subgraphs[0].operators = editor.written
    flatbuffer_edit.remove_unused(model)
    return flatbuffer_edit.write(model)


class _Editor:
    """Writes the operators of a model anew.

    Attributes:
        written: the operators.
        is_changed: bool, whether they are others than before.
    """

    def __init__(self, model):
        self._model = model
        self._tensors = model.subgraphs[0].tensors
        self.written = []
        self.is_changed = False
        # From operands and an axis to their concatenation.
        self._known = {}

    def add(self, operator) -> None:
        """Writes an operator, in another form if it has to have one."""
        kind = flatbuffer_edit.kind_of(self._model, operator)
        repeats = self._repeats(kind, operator)
        if kind == "CONCATENATION" and len(operator.inputs) > _MOST:
            self.is_changed = True
            rank = len(self._shape(operator.outputs[0]))
            axis = operator.builtinOptions.axis % rank
            operator.inputs = self._few(list(operator.inputs), axis)
        if not repeats:
            self.written.append(operator)
            return
        self.is_changed = True
        tensor, (output,) = operator.inputs[0], operator.outputs
        *others, (axis, count) = repeats
        for other, times in others:
            few = self._few([tensor] * times, other)
            tensor = self._concatenated(few, other)
        self._concatenate(self._few([tensor] * count, axis), axis, output)

    def _repeats(self, kind: str, operator) -> list[tuple[int, int]]:
        """Axes of a TILE and how often it repeats them, where it does."""
        if kind != "TILE" or not is_constant(self._model, operator.inputs[1]):
            return []
        if self._tensors[operator.outputs[0]].type not in _VERSIONS:
            return []
        counts = self._tensors[operator.inputs[1]]
        is_long = counts.type == schema.TensorType.INT64
        data = bytes(self._model.buffers[counts.buffer].data)
        counts = np.frombuffer(data, np.int64 if is_long else np.int32)
        return [(axis, n) for axis, n in enumerate(counts.tolist()) if n > 1]

    def _few(self, operands: list[int], axis: int) -> list[int]:
        """At most ten: as many of the operands put together as it takes."""
        while len(operands) > _MOST:
            excess = len(operands) - _MOST
            grouped = []
            while operands:
                size = min(excess + 1, _MOST)
                group, operands = operands[:size], operands[size:]
                grouped.append(self._concatenated(group, axis))
                excess -= len(group) - 1
            operands = grouped
        return operands

    def _concatenated(self, operands: list[int], axis: int) -> int:
        if len(operands) == 1:
            return operands[0]
        key = (*operands, axis)
        if key not in self._known:
            tensor = copy.copy(self._tensors[operands[0]])
            tensor.name = f"concatenation_{len(self._tensors)}".encode()
            tensor.shape = self._shape(operands[0])
            tensor.shape[axis] = sum(self._shape(i)[axis] for i in operands)
            tensor.shapeSignature = None
            tensor.buffer = 0
            self._known[key] = flatbuffer_edit.add_tensor(self._model, tensor)
            self._concatenate(operands, axis, self._known[key])
        return self._known[key]

    def _concatenate(self, operands: list[int], axis: int, output: int) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex = flatbuffer_edit.opcode(
            self._model, "CONCATENATION", _VERSIONS[self._tensors[output].type]
        )
        operator.inputs, operator.outputs = operands, [output]
        operator.builtinOptionsType = schema.BuiltinOptions.ConcatenationOptions
        operator.builtinOptions = schema.ConcatenationOptionsT()
        operator.builtinOptions.axis = axis
        self.written.append(operator)

    def _shape(self, index: int) -> list[int]:
        return list(self._tensors[index].shape)
