"""Some layers of a quantized file in float, and all others untouched.

The converter's own way (a list of nodes not to quantize) knows no int16x8 and
may quantize their neighbours otherwise than without the list. Here the
operators of the float32 file take the places of the quantized ones, between a
DEQUANTIZE and a QUANTIZE with the scales that were there.
"""

import copy
import re

from ai_edge_litert import schema_py_generated as schema

from tfconv_export import flatbuffer
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.quantization.layer_names import layer_of
from tfconv_export.quantization.layer_names import matched

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


def layers_of(float_content: bytes, scopes: dict[str, str]) -> tuple[str, ...]:
    """The layers that have operators in a float32 file, in their order."""
    facts = flatbuffer.read(float_content)
    layers = (layer_of(op, facts, scopes) for op in _computing(facts))
    return tuple(dict.fromkeys(layers))


def matching(
    patterns: tuple[str, ...], layers: tuple[str, ...]
) -> tuple[str, ...]:
    """The layers in whose name one of the regular expressions is found.

    Raises:
        UsageError: if one is no regular expression, or is found in none.
    """
    chosen = set()
    for pattern in patterns:
        try:
            found = {layer for layer in layers if re.search(pattern, layer)}
        except re.error as error:
            raise UsageError(
                f"--float_layers={pattern} is not a regular expression: "
                f"{error}."
            ) from error
        if not found:
            raise UsageError(
                f"--float_layers={pattern} matches no layer of the file; those "
                f"are: {', '.join(layers)}."
            )
        chosen |= found
    return tuple(layer for layer in layers if layer in chosen)


def left_in_float(content: bytes, scopes: dict[str, str]) -> frozenset[str]:
    """The layers of which a quantized file computes a part in float."""
    facts = flatbuffer.read(content)
    return frozenset(
        layer_of(operator, facts, scopes)
        for operator in _computing(facts)
        if any(
            tensor is not None and tensor.dtype == "float32"
            for tensor in (*operator.inputs, *operator.outputs)
        )
    )


def keep_in_float(
    content: bytes,
    float_content: bytes,
    layers: tuple[str, ...],
    scopes: dict[str, str],
) -> tuple[bytes, frozenset[str]]:
    """The quantized file, with these layers' operators in float32.

    Args:
        content: bytes of the quantized file.
        float_content: bytes of the float32 file of the same model.
        layers: names from `layers_of(float_content, scopes)`.
        scopes: as from `layer_names.recording`.

    Returns:
        `(content, names)`: the file, and the names of the tensors that are
        computed in float.

    Raises:
        CheckError: if the quantized file has not the same operators.
    """
    facts = flatbuffer.read(content)
    float_facts = flatbuffer.read(float_content)
    model, float_model = (
        flatbuffer_edit.read(data) for data in (content, float_content)
    )
    float_operators = flatbuffer_edit.by_facts(float_facts, float_model)
    twins = {
        id(ours): id(theirs)
        for ours, theirs in matched(_computing(float_facts), _computing(facts))
    }
    chosen = {}
    for operator in _computing(float_facts):
        if layer_of(operator, float_facts, scopes) not in layers:
            continue
        if id(operator) not in twins:
            raise CheckError(
                f"The {operator.name} that computes {operator.outputs[0].name} "
                "cannot be kept in float: the quantized file has none like it; "
                "leave its layer out of --float_layers."
            )
        chosen[twins[id(operator)]] = float_operators[id(operator)]
    editor = _Editor(model, float_model)
    for described, operator in flatbuffer_edit.by_facts(facts, model).items():
        if described in chosen:
            editor.add_in_float(operator, chosen[described])
        else:
            editor.add(operator)
    names = editor.finish()
    return flatbuffer_edit.write(model), names


def _computing(facts: flatbuffer.Facts) -> list[flatbuffer.OperatorFacts]:
    return [op for op in facts.operators if op.name not in _CONVERSIONS]


class _Editor:
    """Writes the operators of a quantized model anew, some in float."""

    def __init__(self, model, float_model):
        self._model = model
        self._main = model.subgraphs[0]
        self._float_model = float_model
        self._float_tensors = float_model.subgraphs[0].tensors
        self._written = []
        # Indices of float operators' outputs.
        self._computed = []
        # From a quantized tensor to the same one in float.
        self._in_float = {}
        # The same for those at the ends of a file with float outputs.
        self._ends = {}
        # From a tensor to the same one with another scale.
        self._rescaled = {}
        for operator in self._main.operators:
            (first, *_), (output, *_) = operator.inputs, operator.outputs
            if self._is(operator, "QUANTIZE"):
                is_start = self._is_float(first)
                same = self._in_float if is_start else self._rescaled
                same[output] = first
            if self._is(operator, "DEQUANTIZE") and self._is_float(output):
                self._ends[first] = output

    def add(self, operator) -> None:
        """As it is."""
        is_done = operator.outputs[0] in self._computed
        if not is_done:
            self._written.append(operator)

    def add_in_float(self, operator, twin) -> None:
        """Its float twin, between what converts its operands."""
        twin = copy.copy(twin)
        code = self._float_model.operatorCodes[twin.opcodeIndex]
        twin.opcodeIndex = self._opcode(code)
        twin.intermediates = None
        twin.inputs = [
            index if index < 0 else self._operand(index, float_index)
            for index, float_index in zip(
                # A product may take the place of what has one operand.
                operator.inputs[: len(twin.inputs)],
                twin.inputs,
                strict=True,
            )
        ]
        twin.outputs = [self._output(index) for index in operator.outputs]
        self._written.append(twin)
        for index, output in zip(operator.outputs, twin.outputs, strict=True):
            self._computed.append(output)
            if index != output:
                self._convert("QUANTIZE", output, index)

    def finish(self) -> frozenset[str]:
        """Takes out what is not used; the names of what float computes."""
        names = {
            flatbuffer_edit.name_of(self._main.tensors[index])
            for index in self._computed
        }
        used = len(self._written) + 1
        while used > len(self._written):
            used = len(self._written)
            read = {index for op in self._written for index in op.inputs}
            read.update(self._main.outputs)
            self._written = [
                operator
                for operator in self._written
                if not self._is(operator, "QUANTIZE")
                or operator.outputs[0] in read
            ]
        self._main.operators = self._written
        flatbuffer_edit.remove_unused(self._model)
        return frozenset(names)

    def _operand(self, index: int, float_index: int) -> int:
        constant = self._float_tensors[float_index]
        buffer = self._float_model.buffers[constant.buffer]
        has_values = buffer.data is not None and len(buffer.data) > 0
        # What an operator keeps from one invocation to the next is its own.
        if has_values or constant.isVariable:
            self._model.buffers.append(buffer)
            constant = copy.copy(constant)
            constant.buffer = len(self._model.buffers) - 1
            self._main.tensors.append(constant)
            return len(self._main.tensors) - 1
        while index in self._rescaled and index not in self._in_float:
            index = self._rescaled[index]
        if index in self._in_float or not self._is_quantized(index):
            return self._in_float.get(index, index)
        output = self._add_float(index, "_dequantized")
        self._convert("DEQUANTIZE", index, output)
        return output

    def _output(self, index: int) -> int:
        if not self._is_quantized(index):
            return index
        if index in self._ends:
            self._in_float[index] = self._ends[index]
            return self._ends[index]
        # The name stays with what the layer computes.
        output = self._add_float(index, "")
        tensor = self._main.tensors[index]
        tensor.name = f"{flatbuffer_edit.name_of(tensor)}_quantized".encode()
        return output

    def _add_float(self, index: int, suffix: str) -> int:
        tensor = copy.copy(self._main.tensors[index])
        tensor.name = f"{flatbuffer_edit.name_of(tensor)}{suffix}".encode()
        tensor.type = schema.TensorType.FLOAT32
        tensor.quantization = None
        self._main.tensors.append(tensor)
        self._in_float[index] = len(self._main.tensors) - 1
        return self._in_float[index]

    def _convert(self, name: str, index: int, output: int) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = code.builtinCode
        # The version that knows int16.
        code.version = {"QUANTIZE": 2, "DEQUANTIZE": 3}[name]
        operator = schema.OperatorT()
        operator.opcodeIndex = self._opcode(code)
        operator.inputs, operator.outputs = [index], [output]
        self._written.append(operator)

    def _opcode(self, wanted) -> int:
        codes = self._model.operatorCodes
        for index, code in enumerate(codes):
            if vars(code) == vars(wanted):
                return index
        codes.append(wanted)
        return len(codes) - 1

    def _is(self, operator, name: str) -> bool:
        code = self._model.operatorCodes[operator.opcodeIndex]
        return code.builtinCode == getattr(schema.BuiltinOperator, name)

    def _is_float(self, index: int) -> bool:
        return self._main.tensors[index].type == schema.TensorType.FLOAT32

    def _is_quantized(self, index: int) -> bool:
        quantization = self._main.tensors[index].quantization
        scales = None if quantization is None else quantization.scale
        return scales is not None and len(scales) > 0
