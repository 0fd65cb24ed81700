"""Operators that the converter leaves in float, and runtimes compute in int8.

The converter knows no int8 ELU, and puts it between DEQUANTIZE and QUANTIZE.
LiteRT (XNNPACK and builtin kernels) and TFLite Micro have one: a table, to half
a step. No runtime has an int8 NEG or SQUARE, but all have the MUL that computes
the same: by -1, or by itself. Operators whose operands must have the scale of
their output, such as CONCATENATION, or whose output has that of the operand,
such as AVERAGE_POOL_2D, it leaves in float as well if one of the operands is.
"""

import copy
import functools

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfconv_export.keras_operations import MARK
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.quantization.computed_graph import is_constant

# The range of the input gives that of the output: they turn at zero, if at all.
_FUNCTIONS = {
    "ELU": lambda x: np.where(x > 0, x, np.expm1(x)),
    "NEG": np.negative,
    "SQUARE": np.square,
}

# Of these, what is a product: of the operand, and of -1 or itself.
PRODUCTS = ("NEG", "SQUARE")

# Their operands and their output have one scale.
_OF_ONE_SCALE = ("CONCATENATION", "MAXIMUM", "MINIMUM", "PACK")

# Their output has the scale of their operand, the first: others are shapes.
_KEEPING_SCALE = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE")

# The first version of each that takes int8.
_VERSIONS = dict.fromkeys((*PRODUCTS, *_OF_ONE_SCALE, *_KEEPING_SCALE), 2)
_VERSIONS |= {"ELU": 1, "RESHAPE": 1}

_INT8 = schema.TensorType.INT8
# An input or output of the file may be of the other.
_BYTES = (_INT8, schema.TensorType.UINT8)
_LIMITS = np.iinfo(np.int8)


def in_int8(content: bytes) -> bytes:
    """The int8 file, with these operators in integers wherever they can be.

    Their scales are those of the QUANTIZE after them, or follow from those of
    their operands.

    Args:
        content: bytes of a file that the converter quantized.
    """
    model = flatbuffer_edit.read(content)
    if not _Editor(model).edit():
        return content
    return flatbuffer_edit.write(model)


def without_marks(content: bytes) -> bytes:
    """The file without each LEAKY_RELU that hands on what it is given.

    There is one after each ELU of a Keras model. Without, the converter leaves
    all in float that reads an ELU, if one of them is a CONCATENATION.
    """
    model = flatbuffer_edit.read(content)
    main = model.subgraphs[0]
    written, moved = [], {}
    for operator in main.operators:
        kind = flatbuffer_edit.kind_of(model, operator)
        if kind == "LEAKY_RELU" and operator.builtinOptions.alpha == MARK:
            moved[operator.inputs[0]] = operator.outputs[0]
        else:
            written.append(operator)
    if not moved or set(moved) & {*main.inputs, *main.outputs}:
        return content
    for operator in written:
        for field in ("inputs", "outputs"):
            indices = getattr(operator, field)
            setattr(operator, field, [moved.get(i, i) for i in indices])
    main.operators = written
    flatbuffer_edit.remove_unused(model)
    return flatbuffer_edit.write(model)


class _Editor:
    """Writes the operators anew, those in integers that can be."""

    def __init__(self, model):
        self._model = model
        self._main = model.subgraphs[0]
        self._tensors = self._main.tensors
        self._written = []
        # From a float tensor to the same one in integers.
        self._integers = {}
        # Float tensors that an integer operator computes now.
        self._computed = set()
        # From a float tensor to what the first QUANTIZE makes of it.
        self._quantized = {}
        for operator in self._main.operators:
            if self._kind(operator) == "QUANTIZE":
                self._quantized.setdefault(
                    operator.inputs[0], operator.outputs[0]
                )

    def edit(self) -> bool:
        """Edits the model; whether there was anything to edit."""
        for operator in self._main.operators:
            kind = self._kind(operator)
            if kind == "QUANTIZE" and operator.inputs[0] in self._computed:
                self._requantize(operator)
            elif self._can_be_integer(kind, operator):
                self._add_in_integers(kind, operator)
            else:
                self._note(kind, operator)
                self._written.append(operator)
        if not self._computed:
            return False
        self._remove_unread()
        self._main.operators = self._written
        flatbuffer_edit.remove_unused(self._model)
        return True

    def _note(self, kind: str, operator) -> None:
        if kind == "DEQUANTIZE":
            (source,), (output,) = operator.inputs, operator.outputs
            is_signal = not is_constant(self._model, source)
            if is_signal and self._tensors[source].type in _BYTES:
                self._integers[output] = source

    def _can_be_integer(self, kind: str, operator) -> bool:
        return kind in _VERSIONS and all(
            index in self._integers for index in _signals(kind, operator)
        )

    def _add_in_integers(self, kind: str, operator) -> None:
        output = operator.outputs[0]
        signals = _signals(kind, operator)
        operands = [self._in_int8(index) for index in signals]
        shapes = list(operator.inputs)[len(signals) :]
        quantization = self._quantization(kind, output, operands)
        if kind in _OF_ONE_SCALE:
            operands = [self._as(index, quantization) for index in operands]
        index = self._output(output, quantization)
        version = _VERSIONS[kind]
        if kind in PRODUCTS:
            self._make_product(operator)
            operands.append(self._minus_1 if kind == "NEG" else operands[0])
            kind = "MUL"
        operator.opcodeIndex = flatbuffer_edit.opcode(
            self._model, kind, version
        )
        operator.inputs, operator.outputs = [*operands, *shapes], [index]
        self._written.append(operator)
        self._integers[output] = index
        self._computed.add(output)
        # For what else reads it in float.
        self._convert("DEQUANTIZE", index, output)

    def _make_product(self, operator) -> None:
        operator.builtinOptionsType = schema.BuiltinOptions.MulOptions
        operator.builtinOptions = schema.MulOptionsT()

    @functools.cached_property
    def _minus_1(self) -> int:
        """The constant -1, to the bit."""
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.shape = b"minus_1", _INT8, [1]
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([2.0**-7], np.float32)
        tensor.quantization.zeroPoint = np.array([0], np.int64)
        flatbuffer_edit.store(self._model, tensor, np.array([-128], np.int8))
        return flatbuffer_edit.add_tensor(self._model, tensor)

    def _quantization(self, kind: str, output: int, operands: list[int]):
        if kind in _KEEPING_SCALE:
            return self._tensors[operands[0]].quantization
        if output in self._quantized:
            wanted = self._tensors[self._quantized[output]]
            return _as_int8(wanted).quantization
        ends = [self._ends(index) for index in operands]
        ends = np.array([np.min(ends), np.max(ends)])
        if kind in _FUNCTIONS:
            if ends[0] < 0 < ends[1]:
                ends = np.insert(ends, 1, 0.0)
            ends = _FUNCTIONS[kind](ends)
        low, high = ends.min(), ends.max()
        scale = np.float32((high - low) / (_LIMITS.max - _LIMITS.min))
        quantization = copy.copy(self._tensors[operands[0]].quantization)
        quantization.scale = np.array([scale])
        quantization.zeroPoint = np.array(
            [np.rint(_LIMITS.min - low / scale)], np.int64
        )
        return quantization

    def _ends(self, index: int) -> list[float]:
        """The least and the largest real number that an int8 tensor holds."""
        quantization = self._tensors[index].quantization
        scale, zero_point = quantization.scale[0], quantization.zeroPoint[0]
        return [(end - zero_point) * scale for end in (-128, 127)]

    def _in_int8(self, index: int) -> int:
        index = self._integers[index]
        return self._as(index, _as_int8(self._tensors[index]).quantization)

    def _as(self, index: int, quantization) -> int:
        """The tensor in int8 with this scale, which it may have already."""
        tensor = self._tensors[index]
        if tensor.type == _INT8 and _is_same(tensor.quantization, quantization):
            return index
        rescaled = self._add(tensor, quantization, "_rescaled")
        self._convert("QUANTIZE", index, rescaled)
        return rescaled

    def _output(self, output: int, quantization) -> int:
        """The int8 tensor that takes the place of a float one."""
        wanted = self._quantized.get(output)
        if (
            wanted is None
            or self._tensors[wanted].type != _INT8
            or not _is_same(self._tensors[wanted].quantization, quantization)
        ):
            return self._add(self._tensors[output], quantization, "_quantized")
        if wanted not in self._main.outputs:
            # The name stays with what the layer computes.
            tensor, quantized = self._tensors[output], self._tensors[wanted]
            quantized.name = tensor.name
            tensor.name = _renamed(tensor, "_dequantized")
        return wanted

    def _add(self, tensor, quantization, suffix: str) -> int:
        tensor = copy.copy(tensor)
        tensor.name = _renamed(tensor, suffix)
        tensor.type, tensor.quantization = _INT8, quantization
        return flatbuffer_edit.add_tensor(self._model, tensor)

    def _requantize(self, operator) -> None:
        index, output = self._integers[operator.inputs[0]], operator.outputs[0]
        if index != output:
            self._convert("QUANTIZE", index, output)

    def _convert(self, kind: str, index: int, output: int) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex = flatbuffer_edit.opcode(self._model, kind, 2)
        operator.inputs, operator.outputs = [index], [output]
        self._written.append(operator)

    def _remove_unread(self) -> None:
        before = None
        while before != len(self._written):
            before = len(self._written)
            read = {index for op in self._written for index in op.inputs}
            read.update(self._main.outputs)
            self._written = [
                operator
                for operator in self._written
                if self._kind(operator) not in ("DEQUANTIZE", "QUANTIZE")
                or operator.outputs[0] in read
            ]

    def _kind(self, operator) -> str:
        return flatbuffer_edit.kind_of(self._model, operator)


def _signals(kind: str, operator) -> list[int]:
    count = 1 if kind in _KEEPING_SCALE else None
    return list(operator.inputs[:count])


def _as_int8(tensor):
    """The tensor, in int8 if it is in uint8, with the same real numbers."""
    if tensor.type != schema.TensorType.UINT8:
        return tensor
    tensor = copy.copy(tensor)
    tensor.quantization = copy.copy(tensor.quantization)
    tensor.quantization.zeroPoint = tensor.quantization.zeroPoint - 128
    return tensor


def _is_same(quantization, other) -> bool:
    return all(
        np.array_equal(getattr(quantization, field), getattr(other, field))
        for field in ("scale", "zeroPoint")
    )


def _renamed(tensor, suffix: str) -> bytes:
    return f"{flatbuffer_edit.name_of(tensor)}{suffix}".encode()
