"""What is in a TFLite file: reads, never judges."""

import collections
import dataclasses
import os

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tfconv_export import metadata
from tfconv_export.errors import UsageError
from tfconv_export.metadata import Metadata

_IDENTIFIER = b"TFL3"


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
        variable: bool, whether an operator keeps it from one invocation to
            the next.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    variable: bool = False


@dataclasses.dataclass(frozen=True)
class OperatorFacts:
    """One operator, with its operands (`None`: an optional one left out).

    The intermediates are tensors that say in which scales it computes.
    """

    name: str
    inputs: tuple[TensorFacts | None, ...]
    outputs: tuple[TensorFacts, ...]
    is_custom: bool = False
    intermediates: tuple[TensorFacts, ...] = ()


@dataclasses.dataclass(frozen=True)
class SignatureFacts:
    """One signature: the names by which a program gives and takes tensors.

    Attributes:
        key: string.
        inputs: dict from a name to the tensor.
        outputs: dict from a name to the tensor.
    """

    key: str
    inputs: dict[str, TensorFacts]
    outputs: dict[str, TensorFacts]


@dataclasses.dataclass(frozen=True)
class Facts:
    """A TFLite file.

    Attributes:
        size: int, bytes.
        operators: those of all subgraphs, in the order of execution.
        inputs: the tensors that the main subgraph takes.
        outputs: the tensors that it gives.
        signatures: all of them.
        constant_bytes: int, of weights and other constants.
        subgraphs: int, how many.
        metadata: dict from a name to the size in bytes.
        described: what the file says of itself, or `None`.
        description: string.
    """

    size: int
    operators: tuple[OperatorFacts, ...]
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    signatures: tuple[SignatureFacts, ...] = ()
    constant_bytes: int = 0
    subgraphs: int = 1
    metadata: dict[str, int] = dataclasses.field(default_factory=dict)
    described: Metadata | None = None
    description: str = ""

    @property
    def operator_counts(self) -> dict[str, int]:
        """Operator names and how often each occurs, in order of appearance."""
        return dict(collections.Counter(op.name for op in self.operators))

    @property
    def keeps_state(self) -> bool:
        """Whether operators keep a state from one invocation to the next.

        It is the state of a window, as that of an LSTM: whoever runs the file
        has to reset it before every one.
        """
        return any(
            tensor is not None and tensor.variable
            for op in self.operators
            for tensor in op.inputs
        )


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
        signatures=tuple(
            _signature(signature, tensors)
            for signature in _list(model.signatureDefs)
        ),
        constant_bytes=sum(_size(buffer) for buffer in model.buffers),
        subgraphs=len(model.subgraphs),
        metadata={
            _text(entry.name): _size(model.buffers[entry.buffer])
            for entry in _list(model.metadata)
        },
        described=metadata.read(content),
        description=_text(model.description),
    )


def read_file(path: os.PathLike | str) -> Facts:
    """The facts of a TFLite file on disk.

    Raises:
        UsageError: if it cannot be read, or is none.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    if content[4:8] != _IDENTIFIER:
        raise UsageError(
            f"{path} is not a TFLite file: those have "
            f"{_IDENTIFIER.decode()} after their first four bytes, this has "
            f"{content[4:8]!r}."
        )
    try:
        return read(content)
    except Exception as error:  # whatever the bytes lead the reader to
        raise UsageError(
            f"{path} is a damaged TFLite file: {type(error).__name__} while "
            "reading it; copy or export it again."
        ) from error


def _signature(signature, tensors) -> SignatureFacts:
    subgraph = tensors[signature.subgraphIndex]
    return SignatureFacts(
        key=_text(signature.signatureKey),
        inputs={
            _text(entry.name): subgraph[entry.tensorIndex]
            for entry in _list(signature.inputs)
        },
        outputs={
            _text(entry.name): subgraph[entry.tensorIndex]
            for entry in _list(signature.outputs)
        },
    )


def _size(buffer) -> int:
    return 0 if buffer.data is None else len(buffer.data)


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _operator(operator, codes, tensors) -> OperatorFacts:
    code = codes[operator.opcodeIndex]
    # Files older than 127 operators have the code in the deprecated field.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    is_custom = number == schema.BuiltinOperator.CUSTOM
    name = _OPERATOR_NAMES.get(number, f"UNKNOWN_{number}")
    if is_custom and code.customCode:
        name = _text(code.customCode)
    return OperatorFacts(
        name=name,
        inputs=tuple(
            None if index < 0 else tensors[index]
            for index in _list(operator.inputs)
        ),
        outputs=tuple(tensors[index] for index in _list(operator.outputs)),
        is_custom=is_custom,
        intermediates=tuple(
            tensors[index] for index in _list(operator.intermediates)
        ),
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
        name=_text(tensor.name),
        shape=tuple(int(dim) for dim in shape),
        dtype=_DTYPE_NAMES.get(tensor.type, f"unknown_{tensor.type}"),
        constant=_size(buffer) > 0,
        scales=scales,
        zero_points=zero_points,
        quantized_dimension=dimension,
        variable=bool(tensor.isVariable),
    )


def _list(values) -> list:
    """A flatbuffer vector, which may be missing, as a list."""
    return [] if values is None else np.asarray(values, object).tolist()
