"""A streaming file that computes in integers exactly as another file does.

The ranges of its tensors are not measured again: a step of rounding would be
between the two. Every operator of the float streaming file takes the weights,
and every tensor the scale, of the one in the quantized file for whole windows
that computes the same.
"""

import copy
import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfconv_export import flatbuffer
from tfconv_export.errors import CheckError
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.quantization.computed_graph import ComputedGraph
from tfconv_export.quantization.computed_graph import is_constant
from tfconv_export.quantization.computed_graph import named_ends
from tfconv_export.quantization.layer_names import matched

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
# Of the operators that only the streaming file has: the first version of each
# that takes int8, and int16.
_TWO = {schema.TensorType.INT8: 2, schema.TensorType.INT16: 2}
_VERSIONS = {
    "CONCATENATION": {schema.TensorType.INT8: 2, schema.TensorType.INT16: 3},
    "PAD": _TWO,
    "SLICE": _TWO,
    "STRIDED_SLICE": _TWO,
    "TRANSPOSE": _TWO,
}


@dataclasses.dataclass(frozen=True)
class _Counterpart:
    """An operator of the quantized file.

    Attributes:
        operator: the `OperatorT`.
        code: its `OperatorCodeT`.
    """

    operator: object
    code: object


def quantized_alike(
    streaming: bytes,
    states: tuple[str, ...],
    whole_float: bytes,
    whole: bytes,
) -> bytes:
    """The streaming file in the integers of the file for whole windows.

    Args:
        streaming: bytes of the float streaming file.
        states: names of its inputs that are states.
        whole_float: bytes of the float file for whole windows.
        whole: bytes of the quantized file for whole windows, with integer
            inputs and outputs.

    Raises:
        CheckError: if an operator has no counterpart there.
    """
    numbers = {}
    editor = _Editor(
        ComputedGraph(streaming, numbers, states),
        _Quantized(ComputedGraph(whole_float, numbers), whole_float, whole),
    )
    return editor.edited()


class _Quantized:
    """The quantized file for whole windows, by what it computes.

    Attributes:
        model: its `ModelT`.
        tensors: from what a tensor is computed of to its `TensorT`.
        operators: likewise the operators, as `_Counterpart`.
        outputs: the outputs' `TensorT`, by their names.
    """

    def __init__(self, graph: ComputedGraph, float_content: bytes, content):
        facts, float_facts = map(flatbuffer.read, (content, float_content))
        self.model = flatbuffer_edit.read(content)
        tensors = self.model.subgraphs[0].tensors
        inputs, outputs = named_ends(self.model)
        self.outputs = {name: tensors[index] for name, index in outputs.items()}
        self.tensors = {
            graph.tensors[graph.inputs[name]]: tensors[index]
            for name, index in inputs.items()
        }
        self.operators = {}
        places = {id(op): i for i, op in enumerate(float_facts.operators)}
        operators = flatbuffer_edit.by_facts(facts, self.model)
        for theirs, ours in matched(_computing(float_facts), _computing(facts)):
            place = places[id(theirs)]
            if place not in graph.computing:
                continue
            operator = operators[id(ours)]
            computed = graph.computing[place]
            self._check_alone(computed, operator)
            self.operators[computed] = _Counterpart(
                operator, self.model.operatorCodes[operator.opcodeIndex]
            )
            float_operator = graph.operators[place]
            for float_index, index in zip(
                float_operator.outputs, operator.outputs, strict=True
            ):
                self.tensors[graph.tensors[float_index]] = tensors[index]

    def _check_alone(self, computed: int, operator) -> None:
        """Two operators that differ in which frames they see only."""
        if computed not in self.operators:
            return
        tensors = self.model.subgraphs[0].tensors
        first = tensors[self.operators[computed].operator.outputs[0]]
        second = tensors[operator.outputs[0]]
        if _scale(first) != _scale(second):
            raise CheckError(
                "The operators that compute "
                f"{flatbuffer_edit.name_of(first)} and "
                f"{flatbuffer_edit.name_of(second)} cannot be told apart in "
                "the streaming file: they do the same to other frames of the "
                "same tensor; export the stream with quantize='none'."
            )


class _Editor:
    """Writes a float streaming file anew, in integers."""

    def __init__(self, graph: ComputedGraph, whole: _Quantized):
        self._graph = graph
        self._whole = whole
        self._model = graph.model
        self._main = self._model.subgraphs[0]
        # Indices of what has been copied from the other file, by that index.
        self._copied = {}
        self._buffers = {}
        self._rescaled = {}
        self._written = []

    def edited(self) -> bytes:
        """The bytes of the file.

        Raises:
            CheckError: if an operator has no counterpart.
        """
        graph = self._graph
        counterparts = {
            place: self._counterpart(graph.operators[place], computed)
            for place, computed in graph.computing.items()
        }
        for index, number in graph.tensors.items():
            _assume(self._main.tensors[index], self._whole.tensors[number])
        for place, operator in enumerate(graph.operators):
            if place in counterparts:
                self._replace(operator, counterparts[place])
            else:
                self._raise_version(operator)
            self._written.append(operator)
        self._finish_outputs()
        self._main.operators = self._written
        _keep_used_codes(self._model)
        flatbuffer_edit.remove_unused(self._model)
        return flatbuffer_edit.write(self._model)

    def _counterpart(self, operator, computed: int) -> _Counterpart:
        found = self._whole.operators.get(computed)
        if found is None:
            tensor = self._main.tensors[operator.outputs[0]]
            raise CheckError(
                f"The {self._graph.name(operator)} that computes "
                f"{flatbuffer_edit.name_of(tensor)} in the streaming file has "
                "no counterpart in the file for whole windows: the converter "
                "fused the layers otherwise; export the stream with "
                "quantize='none', or choose another hop."
            )
        return found

    def _replace(self, operator, counterpart: _Counterpart) -> None:
        operator.opcodeIndex = self._opcode(counterpart.code)
        theirs = counterpart.operator
        if operator.builtinOptionsType != theirs.builtinOptionsType:
            operator.builtinOptionsType = theirs.builtinOptionsType
            operator.builtinOptions = theirs.builtinOptions
        ours = list(operator.inputs)
        operator.inputs = [
            # What they have more of are constants, or the factor of a square.
            self._operand(ours[position if position < len(ours) else 0], index)
            for position, index in enumerate(theirs.inputs)
        ]

    def _operand(self, ours: int, theirs: int) -> int:
        if theirs < 0:
            return -1
        tensor = self._whole.model.subgraphs[0].tensors[theirs]
        if not is_constant(self._whole.model, theirs):
            return self._as(ours, tensor)
        if theirs not in self._copied:
            tensor = copy.copy(tensor)
            tensor.buffer = self._buffer(tensor.buffer)
            self._copied[theirs] = self._add(tensor)
        return self._copied[theirs]

    def _buffer(self, theirs: int) -> int:
        """Tensors that share a buffer there share one here."""
        if theirs not in self._buffers:
            self._model.buffers.append(self._whole.model.buffers[theirs])
            self._buffers[theirs] = len(self._model.buffers) - 1
        return self._buffers[theirs]

    def _as(self, index: int, wanted) -> int:
        """The tensor with the wanted scale, which it mostly has."""
        tensor = self._main.tensors[index]
        if _scale(tensor) == _scale(wanted):
            return index
        key = (index, _scale(wanted))
        if key not in self._rescaled:
            rescaled = copy.copy(tensor)
            rescaled.name = (tensor.name or b"") + b"_rescaled"
            _assume(rescaled, wanted)
            self._rescaled[key] = self._add(rescaled)
            self._quantize(index, self._rescaled[key])
        return self._rescaled[key]

    def _quantize(self, source: int, target: int) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = schema.BuiltinOperator.QUANTIZE
        code.deprecatedBuiltinCode = code.builtinCode
        code.version = 2
        operator = schema.OperatorT()
        operator.opcodeIndex = self._opcode(code)
        operator.inputs, operator.outputs = [source], [target]
        self._written.append(operator)

    def _finish_outputs(self) -> None:
        (signature,) = self._model.signatureDefs
        for entry in signature.outputs:
            wanted = self._whole.outputs.get(entry.name.decode())
            if wanted is None:  # a state
                continue
            before = entry.tensorIndex
            entry.tensorIndex = self._as(before, wanted)
            self._main.outputs = [
                entry.tensorIndex if index == before else index
                for index in self._main.outputs
            ]

    def _raise_version(self, operator) -> None:
        versions = _VERSIONS.get(self._graph.name(operator), {})
        code = copy.copy(self._model.operatorCodes[operator.opcodeIndex])
        dtype = self._main.tensors[operator.outputs[0]].type
        code.version = max(code.version, versions.get(dtype, 1))
        operator.opcodeIndex = self._opcode(code)

    def _opcode(self, wanted) -> int:
        codes = self._model.operatorCodes
        for index, code in enumerate(codes):
            if _code(code) == _code(wanted):
                return index
        codes.append(copy.copy(wanted))
        return len(codes) - 1

    def _add(self, tensor) -> int:
        self._main.tensors.append(tensor)
        return len(self._main.tensors) - 1


def _computing(facts: flatbuffer.Facts) -> list[flatbuffer.OperatorFacts]:
    return [op for op in facts.operators if op.name not in _CONVERSIONS]


def _assume(tensor, other) -> None:
    """Gives a tensor the dtype and the scale of another."""
    tensor.type = other.type
    tensor.quantization = copy.deepcopy(other.quantization)


def _scale(tensor):
    quantization = tensor.quantization
    scale, zero_point = quantization.scale, quantization.zeroPoint
    return (
        tensor.type,
        () if scale is None else tuple(np.float32(scale).tolist()),
        () if zero_point is None else tuple(map(int, zero_point)),
    )


def _code(code):
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return number, code.version, code.customCode


def _keep_used_codes(model) -> None:
    operators = [op for graph in model.subgraphs for op in graph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    moved = {index: new for new, index in enumerate(used)}
    for operator in operators:
        operator.opcodeIndex = moved[operator.opcodeIndex]
    model.operatorCodes = [model.operatorCodes[index] for index in used]
