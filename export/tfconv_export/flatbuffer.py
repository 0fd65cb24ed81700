"""What is in a TFLite file: reads, never judges."""

import collections
import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils


@dataclasses.dataclass(frozen=True)
class TensorFacts:
    """One tensor.

    Attributes:
        name: string.
        shape: tuple of ints; -1 is an unknown dimension.
        dtype: string, NumPy's name where it has one (`"float32"`, `"int4"`).
        constant: bool, whether its values are in the file.
        scales: tuple of floats, empty if the tensor is not quantized.
        zero_points: tuple of ints, as many as scales.
        quantized_dimension: int, the axis that several scales belong to.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0


@dataclasses.dataclass(frozen=True)
class OperatorFacts:
    """One operator, with its operands (`None`: an optional one left out)."""

    name: str
    inputs: tuple[TensorFacts | None, ...]
    outputs: tuple[TensorFacts, ...]
    is_custom: bool = False


@dataclasses.dataclass(frozen=True)
class Facts:
    """A TFLite file.

    Attributes:
        size: int, bytes.
        operators: those of all subgraphs, in the order of execution.
        inputs: the tensors that the main subgraph takes.
        outputs: the tensors that it gives.
    """

    size: int
    operators: tuple[OperatorFacts, ...]
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]

    @property
    def operator_counts(self) -> dict[str, int]:
        """Operator names and how often each occurs, in order of appearance."""
        return dict(collections.Counter(op.name for op in self.operators))


_OPERATOR_NAMES = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if isinstance(code, int)
}
_DTYPE_NAMES = {
    code: name.lower()
    for name, code in vars(schema.TensorType).items()
    if isinstance(code, int)
}


def read(content: bytes) -> Facts:
    """The facts of a TFLite file.

    Args:
        content: bytes of the file.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    tensors = [
        [_tensor(tensor, model.buffers) for tensor in _list(subgraph.tensors)]
        for subgraph in model.subgraphs
    ]
    operators = [
        _operator(operator, model.operatorCodes, subgraph_tensors)
        for subgraph, subgraph_tensors in zip(
            model.subgraphs, tensors, strict=True
        )
        for operator in _list(subgraph.operators)
    ]
    main = model.subgraphs[0]
    return Facts(
        size=len(content),
        operators=tuple(operators),
        inputs=tuple(tensors[0][index] for index in main.inputs),
        outputs=tuple(tensors[0][index] for index in main.outputs),
    )


def _operator(operator, codes, tensors) -> OperatorFacts:
    code = codes[operator.opcodeIndex]
    # Files older than 127 operators have the code in the deprecated field.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    is_custom = number == schema.BuiltinOperator.CUSTOM
    name = _OPERATOR_NAMES.get(number, f"UNKNOWN_{number}")
    if is_custom and code.customCode:
        name = code.customCode.decode(errors="replace")
    return OperatorFacts(
        name=name,
        inputs=tuple(
            None if index < 0 else tensors[index]
            for index in _list(operator.inputs)
        ),
        outputs=tuple(tensors[index] for index in _list(operator.outputs)),
        is_custom=is_custom,
    )


def _tensor(tensor, buffers) -> TensorFacts:
    buffer = buffers[tensor.buffer]
    shape = _list(tensor.shapeSignature) or _list(tensor.shape)
    quantization = tensor.quantization
    scales, zero_points, dimension = (), (), 0
    if quantization is not None:
        scales = tuple(float(scale) for scale in _list(quantization.scale))
        zero_points = tuple(int(zero) for zero in _list(quantization.zeroPoint))
        dimension = int(quantization.quantizedDimension)
    return TensorFacts(
        name=(tensor.name or b"").decode(errors="replace"),
        shape=tuple(int(dim) for dim in shape),
        dtype=_DTYPE_NAMES.get(tensor.type, f"unknown_{tensor.type}"),
        constant=buffer.data is not None and len(buffer.data) > 0,
        scales=scales,
        zero_points=zero_points,
        quantized_dimension=dimension,
    )


def _list(values) -> list:
    """A flatbuffer vector, which may be missing, as a list."""
    return [] if values is None else np.asarray(values, object).tolist()
