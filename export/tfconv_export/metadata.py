"""TFLite metadata: what a file says of itself, in TensorFlow's own format.

The format is `metadata_schema.fbs` of TensorFlow Lite Support (schema 1.1.0),
whose Python package is no longer kept up; its tables are written here field by
field. Label files are a zip archive after the model, as that package has it.
"""

import dataclasses
import io
import zipfile

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tfconv_export import bounded
from tfconv_export import flatbuffer_writing
from tfconv_export.flatbuffer_reading import Reader
from tfconv_export.flatbuffer_reading import item

NAME = "TFLITE_METADATA"
LABELS = "labels.txt"

_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"
# AssociatedFileType.TENSOR_AXIS_LABELS, ContentProperties.FeatureProperties,
# ProcessUnitOptions.NormalizationOptions.
_AXIS_LABELS, _FEATURE, _NORMALIZATION = 2, 1, 1


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a file says of itself.

    Attributes:
        name: string, the model's.
        version: string, the model's; empty if there is none.
        inputs: names of the main subgraph's inputs, in its order.
        outputs: names of its outputs.
        states: those of them that a streaming file looks back on.
        mean: what is subtracted from the other inputs, one value or one for
            each channel; empty if nothing is.
        stddev: what they are divided by then, as many values.
        labels: of the last axis of an output; empty if there are none.
        labelled: string, that output's name.
    """

    name: str
    version: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    stddev: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    labelled: str = ""


def add(content: bytes, metadata: Metadata) -> bytes:
    """A TFLite file that holds the metadata, and is the same otherwise."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    buffer = schema.BufferT()
    buffer.data = list(_encode(metadata))
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name = NAME
    entry.buffer = len(model.buffers) - 1
    # In the place of any that was there: a reader takes the first.
    model.metadata = [
        *(other for other in model.metadata or () if not _is_ours(other)),
        entry,
    ]
    added = flatbuffer_writing.write(model)
    if not metadata.labels:
        return added
    archive = io.BytesIO(added)
    with zipfile.ZipFile(archive, "a") as labels:
        # A fixed date: the same export gives the same bytes.
        labels.writestr(
            zipfile.ZipInfo(LABELS), "".join(f"{x}\n" for x in metadata.labels)
        )
    return archive.getvalue()


def read(content: bytes) -> Metadata | None:
    """What a TFLite file says of itself; `None` if it says nothing."""
    encoded = find(content, NAME)
    return None if encoded is None else _decode(encoded, content)


def find(content: bytes, name: str) -> bytes | None:
    """The first metadata of this name in a TFLite file; `None` if none has it.

    Args:
        content: bytes of the file.
        name: string.
    """
    model = schema.Model.GetRootAs(content)
    reader = Reader(len(content))
    for entry in reader.tables(model, "Metadata"):
        if reader.text(entry, "Name") == name:
            buffer = item(reader.tables(model, "Buffers"), entry.Buffer())
            if buffer.Offset() > 1:
                end = buffer.Offset() + buffer.Size()
                return content[buffer.Offset() : end]
            return b"" if buffer.DataIsNone() else bytes(buffer.DataAsNumpy())
    return None


def _is_ours(entry) -> bool:
    return entry.name in (NAME, NAME.encode())


def _labels(content: bytes, outputs: dict[str, str]) -> dict:
    """Those in the file after a model that one of its outputs names.

    Args:
        content: bytes of the file.
        outputs: from the name of a file of labels to that of its output.
    """
    archive = io.BytesIO(content)
    if outputs and zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as files:
            for name in files.namelist():
                if name in outputs:
                    text = bounded.unzip(files, name).decode(errors="replace")
                    return {
                        "labels": tuple(text.splitlines()),
                        "labelled": outputs[name],
                    }
    return {}


def _decode(encoded: bytes, content: bytes) -> Metadata:
    root = _Fields.root(encoded)
    subgraph = next(iter(root.tables(3)), None)
    if subgraph is None:
        return Metadata(root.string(0), root.string(2))
    inputs, outputs = subgraph.tables(2), subgraph.tables(3)
    mean = stddev = ()
    for tensor in inputs:
        for unit in tensor.tables(4):
            if unit.byte(0) == _NORMALIZATION:
                options = unit.table(1)
                mean, stddev = options.floats(0), options.floats(1)
    labelled = {
        file.string(0): tensor.string(0)
        for tensor in outputs
        for file in tensor.tables(6)
        if file.byte(2) == _AXIS_LABELS
    }
    return Metadata(
        name=root.string(0),
        version=root.string(2),
        inputs=tuple(tensor.string(0) for tensor in inputs),
        outputs=tuple(tensor.string(0) for tensor in outputs),
        mean=mean,
        stddev=stddev,
        **_labels(content, labelled),
    )


class _Fields:
    """A table, read field by field; a field left out is empty."""

    def __init__(self, table: flatbuffers.table.Table, reader: Reader):
        self._table = table
        self._reader = reader

    @classmethod
    def root(cls, encoded: bytes) -> "_Fields":
        position = flatbuffers.encode.Get(
            flatbuffers.packer.uoffset, encoded, 0
        )
        table = flatbuffers.table.Table(encoded, position)
        return cls(table, Reader(len(encoded)))

    def _at(self, slot: int) -> int | None:
        offset = self._table.Offset(4 + 2 * slot)
        return self._table.Pos + offset if offset else None

    def byte(self, slot: int) -> int:
        at = self._at(slot)
        return 0 if at is None else self._table.Bytes[at]

    def string(self, slot: int) -> str:
        at = self._at(slot)
        if at is None:
            return ""
        text = self._table.String(at)
        self._reader.spend(len(text))
        return text.decode(errors="replace")

    def table(self, slot: int) -> "_Fields":
        return self._indirect(self._at(slot))

    def tables(self, slot: int) -> list["_Fields"]:
        return [self._indirect(at) for at in self._elements(slot)]

    def floats(self, slot: int) -> tuple[float, ...]:
        get, number = self._table.Get, flatbuffers.number_types.Float32Flags
        return tuple(get(number, at) for at in self._elements(slot))

    def _indirect(self, at: int) -> "_Fields":
        at = self._table.Indirect(at)
        table = flatbuffers.table.Table(self._table.Bytes, at)
        return _Fields(table, self._reader)

    def _elements(self, slot: int) -> list[int]:
        if self._at(slot) is None:
            return []
        offset = self._table.Offset(4 + 2 * slot)
        start = self._table.Vector(offset)
        count = self._table.VectorLen(offset)
        self._reader.spend(count)
        return [start + 4 * index for index in range(count)]


def _encode(metadata: Metadata) -> bytes:
    builder = flatbuffers.Builder()
    inputs = [
        _tensor(builder, name, None if name in metadata.states else metadata)
        for name in metadata.inputs
    ]
    outputs = [
        _tensor(builder, name, labels=name == metadata.labelled)
        for name in metadata.outputs
    ]
    subgraph = _table(
        builder,
        {
            2: _offsets(builder, inputs),
            3: _offsets(builder, outputs),
        },
    )
    root = _table(
        builder,
        {
            0: builder.CreateString(metadata.name),
            2: builder.CreateString(metadata.version),
            3: _offsets(builder, [subgraph]),
            7: builder.CreateString(_MIN_PARSER_VERSION),
        },
    )
    builder.Finish(root, file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _tensor(
    builder, name: str, normalized: Metadata | None = None, labels: bool = False
) -> int:
    """A TensorMetadata."""
    content = _table(builder, {1: _table(builder, {})}, {0: _FEATURE})
    fields = {0: builder.CreateString(name), 3: content}
    if normalized is not None and normalized.stddev:
        options = _table(
            builder,
            {
                0: _floats(builder, normalized.mean),
                1: _floats(builder, normalized.stddev),
            },
        )
        unit = _table(builder, {1: options}, {0: _NORMALIZATION})
        fields[4] = _offsets(builder, [unit])
    if labels:
        file = _table(
            builder, {0: builder.CreateString(LABELS)}, {2: _AXIS_LABELS}
        )
        fields[6] = _offsets(builder, [file])
    return _table(builder, fields)


def _table(
    builder, offsets: dict[int, int], enums: dict[int, int] | None = None
) -> int:
    """A table with these fields: others' offsets, and enums of one byte."""
    enums = enums or {}
    builder.StartObject(max([*offsets, *enums], default=-1) + 1)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in enums.items():
        builder.PrependUint8Slot(slot, value, 0)
    return builder.EndObject()


def _offsets(builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder, values) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()
