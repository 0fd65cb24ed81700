"""UNIDIRECTIONAL_SEQUENCE_LSTM, put right where the converter leaves it wrong.

It limits the carry to 10 either way, which no layer of Keras does, and forgets
which layer the operator comes from.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfconv_export.quantization import flatbuffer_edit

_KIND = "UNIDIRECTIONAL_SEQUENCE_LSTM"

_DTYPES = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.INT8: np.dtype("i1"),
}

# The kernels of the gates input, forget, cell and output: Keras's order.
_KERNELS = range(1, 5)


def mended(content: bytes, kernels: dict[str, np.ndarray]) -> bytes:
    """The file, with its LSTMs computing what Keras's layers do.

    Args:
        content: bytes of a file that the converter made.
        kernels: the kernels `(inputs, 4 * units)` of LSTM layers, by the name
            scopes of their calls; the operators are named after these.
    """
    model = flatbuffer_edit.read(content)
    main = model.subgraphs[0]
    found = [
        operator
        for operator in main.operators
        if flatbuffer_edit.kind_of(model, operator) == _KIND
    ]
    if not found:
        return content
    free = dict(kernels)
    for operator in found:
        operator.builtinOptions.cellClip = 0.0
        scope = _scope(model, operator, free)
        if scope is not None:
            free.pop(scope)
            _name(model, operator, scope)
    return flatbuffer_edit.write(model)


def _scope(model, operator, kernels: dict[str, np.ndarray]) -> str | None:
    """The scope whose kernel the operator has."""
    held = [_values(model, operator.inputs[index]) for index in _KERNELS]
    if any(value is None for value, _ in held):
        return None
    ours = np.concatenate([value for value, _ in held])
    step = max(step for _, step in held)
    for scope, kernel in kernels.items():
        theirs = kernel.T
        if theirs.shape == ours.shape and np.allclose(
            ours, theirs, rtol=0, atol=step
        ):
            return scope
    return None


def _values(model, index: int) -> tuple[np.ndarray | None, float]:
    """A constant as real numbers, and the step that they are rounded to."""
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    dtype = _DTYPES.get(tensor.type)
    if data is None or not len(data) or dtype is None:
        return None, 0.0
    values = np.frombuffer(bytes(data), dtype).reshape(tensor.shape)
    if dtype.kind == "f":
        return values, 0.0
    step = float(tensor.quantization.scale[0])
    return values * step, step


def _name(model, operator, scope: str) -> None:
    """Names what the operator computes, and what was made around it."""
    main = model.subgraphs[0]
    source, output = operator.inputs[0], operator.outputs[0]
    named = {"lstm": output}
    for other in main.operators:
        kind = flatbuffer_edit.kind_of(model, other)
        if kind == "REVERSE_V2" and source in other.outputs:
            named["reversed"] = source
        if kind == "STRIDED_SLICE" and output in other.inputs:
            named["last"] = other.outputs[0]
    for name, index in named.items():
        tensor = main.tensors[index]
        # The name of an operation that the converter made itself.
        if flatbuffer_edit.name_of(tensor).startswith("tfl."):
            tensor.name = f"{scope}/{name}".encode()
