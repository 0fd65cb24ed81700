"""A small file of each kind that the command reads, and what reads it."""

import dataclasses
import gzip
import io
import json
import os
import pathlib
import struct
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
import rich.console
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from tensorflow.core.protobuf import saved_model_pb2

from tests.export.readers import choose
from tfconv_export import flatbuffer
from tfconv_export import flatbuffer_writing
from tfconv_export import keras_files
from tfconv_export import metadata
from tfconv_export import proof
from tfconv_export import saved_model
from tfconv_export import saved_model_operations
from tfconv_export import streaming_mark
from tfconv_export.data import tfrecords
from tfconv_export.report import terminal
from tfconv_export.streaming_interpreter import StreamingInterpreter

_X = np.linspace(-1, 1, 3 * 6 * 3, dtype=np.float32).reshape(3, 6, 3)


@dataclasses.dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        suffix: string, how their names end.
        whole: bytes, what is damaged.
        read: reads a file at a path.
        wrap: from damaged bytes to the file.
    """

    suffix: str
    whole: bytes
    read: Callable[[pathlib.Path], object]
    wrap: Callable[[bytes], bytes] = bytes


def kinds() -> dict[str, Kind]:
    """All of them, made without starting TensorFlow's threads."""
    model = _streaming_model()
    described = metadata.add(
        model,
        metadata.Metadata(
            "fuzz", "1", ("x",), ("y",), (), (0.5,), (2.0,), ("a", "b"), "y"
        ),
    )
    note = metadata.find(described, metadata.NAME)
    archive_start = described.index(b"PK\3\4")
    config = json.dumps(_keras_config()).encode()
    h5 = _h5(config)
    records = b"".join(record(_example(x)) for x in _X)
    spec = {"audio": {"dtype": "float32", "shape": [6, 3]}}
    parsed = tfrecords.parse_spec(spec)

    def read_records(path):
        return list(tfrecords.read(path, parsed, str(path)))

    return {
        "tflite": Kind(".tflite", described, _inspect),
        "metadata": Kind(
            ".tflite",
            note,
            _inspect_metadata,
            lambda damaged: described.replace(
                note, damaged[: len(note)].ljust(len(note), b"\0")
            ),
        ),
        "label zip": Kind(
            ".tflite",
            described[archive_start:],
            _inspect_metadata,
            lambda damaged: described[:archive_start] + damaged,
        ),
        "stream": Kind(".tflite", model, _stream),
        "npy": Kind(".npy", _npy(_X), choose),
        "npz": Kind(".npz", _zip({"x.npy": _npy(_X)}), choose),
        "npz member": Kind(
            ".npz",
            _npy(_X),
            choose,
            lambda damaged: _zip({"x.npy": damaged}, zipfile.ZIP_DEFLATED),
        ),
        "tfrecord": Kind(".tfrecord", records, read_records),
        "example": Kind(
            ".tfrecord",
            _example(_X[0]),
            read_records,
            lambda damaged: record(damaged) + record(_example(_X[1])),
        ),
        "gz": Kind(
            ".tfrecord.gz", gzip.compress(records, mtime=0), read_records
        ),
        "gz member": Kind(
            ".tfrecord.gz",
            records,
            read_records,
            lambda damaged: gzip.compress(damaged, 1, mtime=0),
        ),
        "keras": Kind(
            ".keras",
            _zip({"config.json": config, "model.weights.h5": h5}),
            keras_files.read_config,
        ),
        "config": Kind(
            ".keras",
            config,
            keras_files.read_config,
            lambda damaged: _zip({"config.json": damaged}),
        ),
        "h5": Kind(".h5", h5, keras_files.read_config),
        "saved_model": Kind(".pb", _saved_model(), _check_saved_model),
        "labels": Kind(
            ".txt", "yes\nno\nmerhaba\nçğ\n".encode(), proof.read_labels
        ),
        "spec": Kind(".json", json.dumps(spec).encode(), tfrecords.parse_spec),
        "inline spec": Kind(
            ".txt",
            b"audio:float32:98,40;label:int64:;raw:raw_int16:6,3",
            lambda path: tfrecords.parse_spec(
                path.read_bytes().decode("latin-1")
            ),
        ),
    }


def _inspect(path: pathlib.Path, *, tables: bool = True) -> None:
    facts = flatbuffer.read_file(path)
    if not tables:  # They take longest.
        rows = ("operators", "signatures", "inputs", "outputs")
        facts = dataclasses.replace(facts, **dict.fromkeys(rows, ()))
    console = rich.console.Console(file=io.StringIO(), width=100)
    terminal.print_facts(str(path), facts, console)


def _inspect_metadata(path: pathlib.Path) -> None:
    _inspect(path, tables=False)


def _stream(path: pathlib.Path) -> None:
    interpreter = StreamingInterpreter(path)
    if interpreter.hop == 2:
        interpreter.feed(np.ones((4, 4), np.float32))


def _check_saved_model(path: pathlib.Path) -> None:
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    os.replace(path, folder / "saved_model.pb")
    saved_model_operations.check(saved_model.read(folder), folder)


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _zip(members: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member, compression)
    return content.getvalue()


def _example(values: np.ndarray) -> bytes:
    floats = tf.train.Feature(
        float_list=tf.train.FloatList(value=values.ravel())
    )
    return tf.train.Example(
        features=tf.train.Features(feature={"audio": floats})
    ).SerializeToString(deterministic=True)


def record(content: bytes, length: int | None = None) -> bytes:
    """A TFRecord, whose checksums are right whatever its length says."""
    before = struct.pack("<Q", len(content) if length is None else length)
    return before + _checksum(before) + content + _checksum(content)


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _crc_table()


def _checksum(content: bytes) -> bytes:
    """The masked CRC-32C, as the format of TFRecords has it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    masked = (crc >> 15 | crc << 17) + 0xA282EAD8
    return struct.pack("<I", masked & 0xFFFFFFFF)


def _keras_config() -> dict:
    dense = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"name": "scores", "units": 3, "dtype": "float32"},
        "build_config": {"input_shape": [None, 4]},
    }
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "fuzz", "layers": [dense, dense]},
    }


def _h5(config: bytes) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["model_config"] = config.decode()
        layer = file.create_group("model_weights/scores")
        layer.attrs["weight_names"] = ["kernel", "bias"]
        layer["kernel"] = np.ones((4, 3), np.float32)
        layer.create_dataset("bias", data=np.ones(300), compression="gzip")
    return content.getvalue()


def _saved_model() -> bytes:
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta_graph = saved.meta_graphs.add()
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, (None, 4), "x")
        tf.nn.softmax(x @ tf.ones((4, 3)), name="y")
    meta_graph.graph_def.CopyFrom(graph.as_graph_def())
    meta_graph.signature_def["serving_default"].inputs["x"].name = "x:0"
    meta_graph.saver_def.save_tensor_name = "y:0"
    function = meta_graph.graph_def.library.function.add()
    function.signature.name = "f"
    function.node_def.add(name="z", op="Identity", input=["x"])
    meta_graph.object_graph_def.concrete_functions["f"].SetInParent()
    return saved.SerializeToString(deterministic=True)


def _streaming_model() -> bytes:
    """Dense(3) of the frames plus a state, which is the last one's half."""
    model = schema.ModelT()
    model.version = 3
    model.description = "made by hand"
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []

    def tensor(name, shape, values=None):
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, shape, 0
        made.quantization = schema.QuantizationParametersT()
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.full(shape, values, "<f4").tobytes()
            buffer.data = np.frombuffer(buffer.data, np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
            made.quantization.scale = [1.0]
            made.quantization.zeroPoint = [0]
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code, inputs, outputs, kind=None, options=None):
        made = schema.OperatorT()
        made.opcodeIndex = len(model.operatorCodes)
        made.inputs, made.outputs = inputs, outputs
        if kind is not None:
            made.builtinOptionsType, made.builtinOptions = kind, options
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version = 1
        model.operatorCodes.append(entry)
        graph.operators.append(made)

    model.operatorCodes = []
    x, state = tensor("x", [1, 2, 4]), tensor("state", [1, 1, 4])
    total, y = tensor("total", [1, 2, 4]), tensor("y", [2, 3])
    after = tensor("after", [1, 1, 4])
    kernel, bias = tensor("kernel", [3, 4], 0.5), tensor("bias", [3], 1.0)
    codes, options = schema.BuiltinOperator, schema.BuiltinOptions
    operator(
        codes.ADD, [x, state], [total], options.AddOptions, schema.AddOptionsT()
    )
    operator(
        codes.FULLY_CONNECTED,
        [total, kernel, bias],
        [y],
        options.FullyConnectedOptions,
        schema.FullyConnectedOptionsT(),
    )
    operator(codes.RELU, [state], [after])
    graph.inputs, graph.outputs = [x, state], [y, after]
    model.subgraphs = [graph]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs = [_named("x", x), _named("state", state)]
    signature.outputs = [_named("y", y), _named("after", after)]
    model.signatureDefs = [signature]
    return streaming_mark.add(
        flatbuffer_writing.write(model), {"state": "after"}
    )


def _named(name: str, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
