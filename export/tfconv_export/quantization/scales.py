"""The scales that the converter gets wrong.

Most are of operators whose kernels do not look at the scale of their output.

Where what comes after has one scale for all its operands, as a concatenation,
the converter gives that one to what is before it. Most operators that hand on
what they are given hand on the scale as well. The converter forgets two: the
reversal, and the LSTM, whose kernel computes in the scale of an intermediate
tensor. What they write then is read wrong.
"""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfconv_export.quantization import flatbuffer_edit

# Where an LSTM has them: the state that it writes its output to, what it keeps
# to itself, and the intermediate tensor that has the scale of its output.
_HIDDEN = 18
_CARRY = 19
_OUTPUT_SCALE = 4

# LiteRT's kernels know no tanh of less, and compute noise; TFLite Micro's do.
_MIN_CARRY_SCALE = np.float32(2.0**-15)


def corrected(content: bytes) -> bytes:
    """The file, with a QUANTIZE behind every operator whose output needs one.

    Args:
        content: bytes of a file that the converter quantized.
    """
    model = flatbuffer_edit.read(content)
    is_changed = _give_zeros_a_scale(model)
    written = []
    for operator in model.subgraphs[0].operators:
        written.append(operator)
        own = _own(model, operator)
        if own is None:
            continue
        is_changed = True
        output = model.subgraphs[0].tensors[operator.outputs[0]]
        if not _is_same(output.quantization, own):
            written.append(_requantize(model, operator, own))
    if not is_changed:
        return content
    model.subgraphs[0].operators = written
    return flatbuffer_edit.write(model)


def _give_zeros_a_scale(model) -> bool:
    """Mends constants of zeros, whose range the converter takes for a scale.

    A scale of 0 ends the process of whoever loads the file (SUB in int16).
    Zeros are zeros in any scale; that of the output loses nothing.
    """
    is_changed = False
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        for index in operator.inputs:
            quantization = tensors[index].quantization if index >= 0 else None
            if quantization is None or quantization.scale is None:
                continue
            output = tensors[operator.outputs[0]].quantization
            scales = np.asarray(quantization.scale)
            if (
                scales.size == 1
                and not scales[0]
                and output is not None
                and output.scale is not None
            ):
                quantization.scale = output.scale
                is_changed = True
    return is_changed


def _own(model, operator):
    """The quantization in which the kernel writes, if it may be another."""
    tensors = model.subgraphs[0].tensors
    kind = flatbuffer_edit.kind_of(model, operator)
    if kind not in ("REVERSE_V2", "UNIDIRECTIONAL_SEQUENCE_LSTM"):
        return None
    output = tensors[operator.outputs[0]].quantization
    if output is None or output.scale is None:
        return None
    if kind == "REVERSE_V2":
        return tensors[operator.inputs[0]].quantization
    carry = tensors[operator.inputs[_CARRY]].quantization
    if carry is None or carry.scale is None:
        return None  # The converter left the operator in float.
    carry.scale = np.maximum(carry.scale, _MIN_CARRY_SCALE)
    own = tensors[operator.intermediates[_OUTPUT_SCALE]].quantization
    tensors[operator.inputs[_HIDDEN]].quantization = own
    return own


def _requantize(model, operator, own):
    """Has the operator write in its own scale; returns what comes behind."""
    output = operator.outputs[0]
    tensor = model.subgraphs[0].tensors[output]
    written = copy.copy(tensor)
    written.quantization = own
    # The name stays with what the operator computes.
    tensor.name = f"{flatbuffer_edit.name_of(tensor)}_rescaled".encode()
    operator.outputs = [flatbuffer_edit.add_tensor(model, written)]
    quantize = schema.OperatorT()
    quantize.opcodeIndex = flatbuffer_edit.opcode(model, "QUANTIZE", 2)
    quantize.inputs, quantize.outputs = [*operator.outputs], [output]
    return quantize


def _is_same(ours, theirs) -> bool:
    return np.array_equal(ours.scale, theirs.scale) and np.array_equal(
        ours.zeroPoint, theirs.zeroPoint
    )
