"""What is in a TFLite file: reads, never judges."""

import collections
import dataclasses
import os

from ai_edge_litert import schema_py_generated as schema

from tfconv_export import bounded
from tfconv_export import metadata
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason
from tfconv_export.flatbuffer_reading import Reader
from tfconv_export.flatbuffer_reading import item
from tfconv_export.metadata import Metadata

_IDENTIFIER = b"TFL3"
# As many as NumPy's arrays can have, and far more than TFLite's.
_MAX_RANK = 64


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
        """True if operators keep a state from one invocation to the next.

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

    Raises:
        ValueError, struct.error or another: if it is damaged.
    """
    model = schema.Model.GetRootAs(content)
    reader = Reader(len(content))
    sizes = [
        _size(buffer, len(content))
        for buffer in reader.tables(model, "Buffers")
    ]
    codes = [
        _code(code, reader) for code in reader.tables(model, "OperatorCodes")
    ]
    subgraphs = reader.tables(model, "Subgraphs")
    tensors = [
        [
            _tensor(tensor, sizes, reader)
            for tensor in reader.tables(subgraph, "Tensors")
        ]
        for subgraph in subgraphs
    ]
    operators = [
        _operator(operator, codes, subgraph_tensors, reader)
        for subgraph, subgraph_tensors in zip(subgraphs, tensors, strict=True)
        for operator in reader.tables(subgraph, "Operators")
    ]
    ends = {
        end: tuple(
            item(tensors[0], index)
            for index in reader.numbers(subgraphs[0], end)
        )
        for end in ("Inputs", "Outputs")
    }
    return Facts(
        size=len(content),
        operators=tuple(operators),
        inputs=ends["Inputs"],
        outputs=ends["Outputs"],
        signatures=tuple(
            _signature(signature, tensors, reader)
            for signature in reader.tables(model, "SignatureDefs")
        ),
        constant_bytes=sum(sizes),
        subgraphs=len(subgraphs),
        metadata={
            reader.text(entry, "Name"): item(sizes, entry.Buffer())
            for entry in reader.tables(model, "Metadata")
        },
        described=metadata.read(content),
        description=reader.text(model, "Description"),
    )


def read_file(path: os.PathLike | str) -> Facts:
    """The facts of a TFLite file on disk.

    Raises:
        UsageError: if it cannot be read, or is none.
    """
    return read_foreign(bounded.read(path, str(path)), str(path))


def read_foreign(content: bytes, origin: str) -> Facts:
    """The facts of what may be a TFLite file.

    Args:
        content: any bytes.
        origin: string, how messages name the file.

    Raises:
        UsageError: if it is none, or is damaged.
    """
    if content[4:8] != _IDENTIFIER:
        raise UsageError(
            f"{origin} is not a TFLite file: those have "
            f"{_IDENTIFIER.decode()} after their first four bytes, this has "
            f"{content[4:8]!r}."
        )
    try:
        return read(content)
    except Exception as error:  # whatever the bytes lead the reader to
        raise UsageError(
            f"{origin} is a damaged TFLite file: {reason(error)}; copy or "
            "export it again."
        ) from error


def _signature(signature, tensors, reader: Reader) -> SignatureFacts:
    subgraph = item(tensors, signature.SubgraphIndex())
    ends = {
        end: {
            reader.text(entry, "Name"): item(subgraph, entry.TensorIndex())
            for entry in reader.tables(signature, end)
        }
        for end in ("Inputs", "Outputs")
    }
    return SignatureFacts(
        key=reader.text(signature, "SignatureKey"),
        inputs=ends["Inputs"],
        outputs=ends["Outputs"],
    )


def _size(buffer, file_size: int) -> int:
    # Of a large file, most buffers lie behind the tables.
    if buffer.Offset() > 1:
        if buffer.Offset() + buffer.Size() > file_size:
            raise ValueError("a buffer ends behind the file")
        return buffer.Size()
    return 0 if buffer.DataIsNone() else len(buffer.DataAsNumpy())


def _code(code, reader: Reader) -> tuple[str, bool]:
    """An operator's name, and whether it is a custom one."""
    # Files older than 127 operators have the code in the deprecated field.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    is_custom = number == schema.BuiltinOperator.CUSTOM
    name = _OPERATOR_NAMES.get(number, f"UNKNOWN_{number}")
    return (is_custom and reader.text(code, "CustomCode")) or name, is_custom


def _operator(operator, codes, tensors, reader: Reader) -> OperatorFacts:
    name, is_custom = item(codes, operator.OpcodeIndex())
    return OperatorFacts(
        name=name,
        inputs=tuple(
            None if index == -1 else item(tensors, index)
            for index in reader.numbers(operator, "Inputs")
        ),
        outputs=tuple(
            item(tensors, index)
            for index in reader.numbers(operator, "Outputs")
        ),
        is_custom=is_custom,
        intermediates=tuple(
            item(tensors, index)
            for index in reader.numbers(operator, "Intermediates")
        ),
    )


def _tensor(tensor, sizes, reader: Reader) -> TensorFacts:
    shape = reader.numbers(tensor, "ShapeSignature")
    shape = shape or reader.numbers(tensor, "Shape")
    if len(shape) > _MAX_RANK:
        raise ValueError(f"a tensor has {len(shape)} dimensions")
    quantization = tensor.Quantization()
    scales, zero_points, dimension = [], [], 0
    if quantization is not None:
        scales = reader.numbers(quantization, "Scale")
        dimension = quantization.QuantizedDimension()
    if scales:
        # They are 0 if none are given, as TFLite has it.
        zero_points = reader.numbers(quantization, "ZeroPoint") or [0]
    if len(zero_points) == 1:
        zero_points *= len(scales)
    if len(zero_points) != len(scales):
        raise ValueError(
            f"a tensor has {len(scales)} scales and {len(zero_points)} zero "
            "points"
        )
    return TensorFacts(
        name=reader.text(tensor, "Name"),
        shape=tuple(shape),
        dtype=_DTYPE_NAMES.get(tensor.Type(), f"unknown_{tensor.Type()}"),
        constant=item(sizes, tensor.Buffer()) > 0,
        scales=tuple(scales),
        zero_points=tuple(zero_points),
        quantized_dimension=dimension,
        variable=bool(tensor.IsVariable()),
    )
