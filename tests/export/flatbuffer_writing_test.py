"""Files are small, and laid out as the schema has it."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.export import models
from tests.export.tflite import TFLiteFile
from tfconv_export import flatbuffer_writing

# The slot of `zero_point` in the table of a quantization.
_ZERO_POINT = 10


@pytest.fixture(scope="module", params=["int8", "int16x8", "none"])
def content(request, convert):
    return convert(models.network(), request.param)


def data_offsets(content: bytes):
    """Where the data of each buffer begins, and how much there is."""
    model = schema.Model.GetRootAsModel(content, 0)
    of_metadata = {
        model.Metadata(index).Buffer()
        for index in range(model.MetadataLength())
    }
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength() and index not in of_metadata:
            table = buffer._tab
            yield table.Vector(table.Offset(4)), buffer.DataLength()


def test_data_of_tensors_begins_at_multiples_of_16(content):
    offsets = [offset for offset, _ in data_offsets(content)]
    assert len(offsets) >= 8
    assert not [offset for offset in offsets if offset % 16]


def test_written_file_is_read_as_the_same_model(content):
    model = TFLiteFile(content).model
    again = TFLiteFile(flatbuffer_writing.write(model)).model

    def plain(value):
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, list):
            return [plain(item) for item in value]
        if hasattr(value, "__dict__"):
            return {name: plain(item) for name, item in vars(value).items()}
        return value

    assert plain(again) == plain(model)


def test_equal_arrays_are_in_the_file_once(content):
    # One 64-bit zero point for each channel of the weights, all of them 0.
    graph = schema.Model.GetRootAsModel(content, 0).Subgraphs(0)
    places = {}
    for index in range(graph.TensorsLength()):
        quantization = graph.Tensors(index).Quantization()
        if quantization is None or quantization.ZeroPointLength() < 2:
            continue
        assert not quantization.ZeroPointAsNumpy().any()
        table = quantization._tab
        place = table.Vector(table.Offset(_ZERO_POINT))
        places.setdefault(quantization.ZeroPointLength(), []).append(place)
    for found in places.values():
        assert len(set(found)) == 1
    if "int" in TFLiteFile(content).inputs["audio"]["dtype"].__name__:
        assert max(map(len, places.values())) > 1, "nothing is shared"
