"""Memory and time are in proportion to a file, whatever it says of itself."""

import gzip
import io
import json
import os
import struct
import time
import tracemalloc
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from tensorflow.core.protobuf import saved_model_pb2

from tests.export import file_kinds
from tfconv_export import flatbuffer
from tfconv_export import flatbuffer_writing
from tfconv_export import loading
from tfconv_export import metadata
from tfconv_export import proof
from tfconv_export.data import sources
from tfconv_export.data import tfrecords
from tfconv_export.errors import UsageError
from tfconv_export.streaming_interpreter import StreamingInterpreter

SPEC = "audio:float32:6,3"


@pytest.fixture
def described():
    """A TFLite file with metadata, and labels in an archive behind it."""
    return file_kinds.kinds()["tflite"].whole


@pytest.fixture
def within():
    """Runs something within 100 MB and a few seconds; gives what it refuses."""

    def run(function, *arguments) -> str:
        tracemalloc.start()
        start = time.process_time()
        try:
            with pytest.raises(UsageError) as error:
                function(*arguments)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert time.process_time() - start < 10
        assert peak < 100e6
        return str(error.value)

    return run


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("x.tflite", flatbuffer.read_file),
        ("x.tflite", StreamingInterpreter),
        ("x.keras", loading.load),
        ("x.h5", loading.load),
        ("saved_model.pb", lambda path: loading.load(path.parent)),
        ("x.npy", lambda path: sources.open_data(path.parent)),
        (
            "x.tfrecord",
            lambda path: list(
                tfrecords.read(path, tfrecords.parse_spec(SPEC), "x")
            ),
        ),
        ("x.json", tfrecords.parse_spec),
        ("labels.txt", proof.read_labels),
    ],
)
def test_pipe_is_not_waited_for(tmp_path, within, name, read):
    os.mkfifo(tmp_path / name)
    within(read, tmp_path / name)


def test_file_larger_than_the_memory_is_not_read(tmp_path, within):
    path = tmp_path / "x.tflite"
    with open(path, "wb") as file:
        file.truncate(1 << 42)
    assert "this machine can hold" in within(flatbuffer.read_file, path)
    os.truncate(path, 1 << 30)
    assert "bytes" in within(proof.read_labels, path)


def test_vector_longer_than_the_file(tmp_path, within, described):
    note = metadata.find(described, metadata.NAME)
    position = struct.unpack_from("<I", note)[0]
    table = position - struct.unpack_from("<i", note, position)[0]
    # Its subgraphs are the fourth of the fields behind two lengths.
    field = position + struct.unpack_from("<H", note, table + 4 + 2 * 3)[0]
    vector = field + struct.unpack_from("<I", note, field)[0]
    damaged = bytearray(note)
    struct.pack_into("<I", damaged, vector, 2**31 - 1)
    path = tmp_path / "x.tflite"
    path.write_bytes(described.replace(note, bytes(damaged)))
    assert "more parts than bytes" in within(flatbuffer.read_file, path)


def test_file_that_says_the_same_without_end(tmp_path, within, described):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(described))
    model.subgraphs[0].operators[0].inputs = np.zeros(40_000, np.int32)
    content = bytearray(flatbuffer_writing.write(model))
    root = schema.Model.GetRootAs(content)
    # All of 1,000 operators are that one, and all of 1,000 subgraphs this one.
    graph = root.Subgraphs(0)
    offset = graph._tab.Pos + graph._tab.Offset(10)
    operator = graph.Operators(0)._tab.Pos
    vector = len(content)
    content += struct.pack("<I", 1_000)
    for index in range(1_000):
        place = vector + 4 + 4 * index
        content += struct.pack("<I", (operator - place) % 2**32)
    struct.pack_into("<I", content, offset, vector - offset)
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    within(flatbuffer.read_file, path)


@pytest.mark.parametrize("declared", [None, 10])
def test_labels_that_unpack_to_far_more(tmp_path, within, described, declared):
    content = described[: described.index(b"PK\3\4")]
    archive = io.BytesIO(content)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr(metadata.LABELS, bytes(1 << 26))
        if declared is not None:
            file.getinfo(metadata.LABELS).file_size = declared
    path = tmp_path / "x.tflite"
    path.write_bytes(archive.getvalue())
    within(flatbuffer.read_file, path)


def test_archive_that_is_of_no_labels_is_not_unpacked(tmp_path, described):
    archive = io.BytesIO(described)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("more.txt", bytes(1 << 26))
    path = tmp_path / "x.tflite"
    path.write_bytes(archive.getvalue())
    assert flatbuffer.read_file(path).described.labels == ("a", "b")


@pytest.mark.parametrize("length", [2**31, 2**62, 2**64 - 1])
def test_record_longer_than_its_file(tmp_path, within, length):
    path = tmp_path / "x.tfrecord"
    path.write_bytes(file_kinds.record(b"", length) + file_kinds.record(b"x"))
    said = within(
        lambda: list(tfrecords.read(path, tfrecords.parse_spec(SPEC), "x"))
    )
    assert "ends within record 0" in said


def test_zeros_are_no_records(tmp_path, within):
    path = tmp_path / "x.tfrecord"
    path.touch()
    os.truncate(path, 10 << 30)
    said = within(
        lambda: list(tfrecords.read(path, tfrecords.parse_spec(SPEC), "x"))
    )
    assert "in record 0: it is empty" in said


def test_records_that_unpack_to_far_more(tmp_path, within):
    path = tmp_path / "x.tfrecord.gz"
    path.write_bytes(gzip.compress(file_kinds.record(bytes(1 << 20))) * 80)
    said = within(
        lambda: list(tfrecords.read(path, tfrecords.parse_spec(SPEC), "x"))
    )
    assert "unpack to more than" in said


@pytest.mark.parametrize(
    "shape", ["99999999,99999999,99999999", "2147483648", "9" * 5000]
)
def test_feature_larger_than_any_record(within, shape):
    assert "shape" in within(tfrecords.parse_spec, f"x:float32:{shape}")


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_weights_that_are_not_in_the_file(tmp_path, within, suffix):
    path = tmp_path / f"x.{suffix}"
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_dataset("kernel", (1 << 30,), "f4")
    if suffix == "h5":
        path.write_bytes(content.getvalue())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", content.getvalue())
    assert "would unpack to" in within(loading.load, path)


def with_units(path, units: int) -> None:
    """Changes how many outputs the config of a `Dense(2)` asks for."""
    before, after = '"units": 2', f'"units": {units}'
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = file.attrs["model_config"]
            file.attrs["model_config"] = config.replace(before, after)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name == "config.json":
                content = content.replace(before.encode(), after.encode())
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("suffix", "library"),
    [("keras", keras), ("h5", keras), ("h5", tf_keras)],
)
def test_weights_that_only_the_config_has(tmp_path, within, suffix, library):
    path = tmp_path / f"x.{suffix}"
    layers = [library.layers.Input((5, 3)), library.layers.Dense(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.Sequential(layers).save(path)
    with_units(path, 100_000_000)
    assert "save the model again" in within(loading.load, path)


def test_config_nested_deeper_than_any_model(tmp_path, within):
    config = {"class_name": "Dense", "config": {}}
    for _ in range(150):
        config = {"class_name": "Sequential", "config": {"layers": [config]}}
    path = tmp_path / "x.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    assert "levels deep" in within(loading.load, path)


def test_constant_that_one_value_stands_for(tmp_path, within):
    saved = saved_model_pb2.SavedModel()
    node = saved.meta_graphs.add().graph_def.node.add(name="x", op="Const")
    shape = node.attr["value"].tensor.tensor_shape
    shape.dim.add(size=1 << 30)
    shape.dim.add(size=1 << 30)
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    assert "a constant of" in within(loading.load, tmp_path)


def test_zero_point_that_is_left_out_is_zero(described):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(described))
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization.zeroPoint = None
    facts = flatbuffer.read(flatbuffer_writing.write(model))
    quantized = [
        tensor
        for operator in facts.operators
        for tensor in operator.inputs
        if tensor.scales
    ]
    assert quantized
    for tensor in quantized:
        assert tensor.zero_points == (0,) * len(tensor.scales)
