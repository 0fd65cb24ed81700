"""Refusals of TFLite Micro name the layer and a way out."""

import subprocess
import sys

import keras
import pytest

import tfconv_export
from tests.export import direct
from tests.export import models
from tfconv_export import micro
from tfconv_export import micro_refusals
from tfconv_export.errors import CheckError

pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")

# Loads a file of one operator for each there is, in a process of its own: few
# of them are whole, and TFLite Micro does not survive all of those.
PROBE = """
import os
from ai_edge_litert import schema_py_generated as schema
from tflite_micro.python.tflite_micro import runtime
from tfconv_export.quantization import flatbuffer_edit

def file(code):
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs = 3, [graph]
    model.buffers = [schema.BufferT()]
    kind, operator = schema.OperatorCodeT(), schema.OperatorT()
    kind.builtinCode, kind.deprecatedBuiltinCode = code, min(code, 127)
    model.operatorCodes, graph.operators = [kind], [operator]
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for tensor in graph.tensors:
        tensor.shape = [1, 4]
    operator.inputs = graph.inputs = [0]
    operator.outputs = graph.outputs = [1]
    return flatbuffer_edit.write(model)

for name, code in vars(schema.BuiltinOperator).items():
    if not isinstance(code, int):
        continue
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 2)
        try:
            runtime.Interpreter.from_bytes(file(code), arena_size=100_000)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        if b"Didn't find op" not in pipe.read():
            print(name)
    os.waitpid(child, 0)
"""


def test_operators_are_those_of_the_installed_package():
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    # Custom operators are registered by names of their own.
    assert set(done.stdout.split()) - {"CUSTOM"} == micro_refusals.OPERATORS


def reason(model: keras.Model, quantize: str) -> str:
    content = direct.convert(model, quantize)
    with pytest.raises(CheckError) as error:
        micro.TFLiteMicro(content)
    return str(error.value)


def test_every_layer_with_an_operator_that_it_lacks_is_named():
    layers = [
        keras.layers.Dense(4, activation="gelu", name=name)
        for name in ("first", "second")
    ]
    last = keras.layers.Dense(2)
    said = reason(models.sequential((8,), *layers, last), "none")
    assert "no operator GELU, which each of the layers first" in said
    assert "second" in said


def test_maximum_over_time_in_int16_is_told_the_pooling_that_runs():
    pool = keras.layers.GlobalMaxPooling1D(name="loudest")
    said = reason(models.sequential((20, 4), pool), "int16x8")
    assert "REDUCE_MAX in int16" in said
    assert "Node" not in said
    assert "MaxPooling1D(20) and Flatten" in said
    same = [keras.layers.MaxPooling1D(20), keras.layers.Flatten()]
    model = models.sequential((20, 4), *same)
    micro.TFLiteMicro(direct.convert(model, "int16x8"))


def test_layer_that_it_runs_in_float_only_exports_as_it_is_told(tmp_path):
    model = models.sequential(
        (40, 4),
        keras.layers.Conv1D(4, 3),
        keras.layers.Activation("exponential", name="grow"),
        keras.layers.GlobalAveragePooling1D(),
    )
    arguments = {
        "model": model,
        "output": tmp_path / "model.tflite",
        "quantize": "int8",
        "representative_data": models.DATA,
        "target": "micro",
    }
    with pytest.raises(tfconv_export.CheckError) as error:
        tfconv_export.export(**arguments)
    (check,) = error.value.result.failed
    assert "EXP in int8" in check.detail
    assert "layer grow needs" in check.detail
    assert "--float_layers='grow'" in check.detail
    assert tfconv_export.export(**arguments, float_layers=["grow"]).size
