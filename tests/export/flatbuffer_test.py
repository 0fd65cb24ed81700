"""The facts of a file are those that the runtime itself reads from it."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert

import tfconv
import tfconv_export
from tests.export import gone_wrong
from tests.export import models
from tfconv_export import flatbuffer


def interpreter_of(content: bytes) -> litert.Interpreter:
    return litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
    )


def check_tensor(facts, details) -> None:
    assert facts.name == details["name"]
    assert list(facts.shape) == list(details["shape_signature"])
    assert facts.dtype == np.dtype(details["dtype"]).name
    quantization = details["quantization_parameters"]
    np.testing.assert_array_equal(
        np.float32(facts.scales), quantization["scales"]
    )
    np.testing.assert_array_equal(
        facts.zero_points, quantization["zero_points"]
    )
    if len(facts.scales) > 1:
        assert facts.quantized_dimension == quantization["quantized_dimension"]


@pytest.fixture(
    scope="module", params=["none", "float16", "dynamic", "int8", "int16x8"]
)
def content(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "model.tflite"
    tfconv_export.export(
        models.network(),
        path,
        quantize=request.param,
        representative_data=models.DATA,
    )
    return path.read_bytes()


def test_operators_and_their_operands_are_those_of_the_runtime(content):
    facts = flatbuffer.read(content)
    interpreter = interpreter_of(content)
    tensors = {d["index"]: d for d in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    assert len(facts.operators) == len(operators) > 0
    for operator, details in zip(facts.operators, operators, strict=True):
        assert operator.name == details["op_name"]
        assert not operator.is_custom
        for side in ("inputs", "outputs"):
            indices = details[side]
            found = getattr(operator, side)
            assert len(found) == len(indices)
            for tensor, index in zip(found, indices, strict=True):
                check_tensor(tensor, tensors[index])
    assert facts.operator_counts == dict(
        collections.Counter(details["op_name"] for details in operators)
    )


def test_interface_and_size_are_those_of_the_file(content):
    facts = flatbuffer.read(content)
    interpreter = interpreter_of(content)
    for found, details in (
        (facts.inputs, interpreter.get_input_details()),
        (facts.outputs, interpreter.get_output_details()),
    ):
        for tensor, detail in zip(found, details, strict=True):
            check_tensor(tensor, detail)
            assert not tensor.constant
    assert facts.size == len(content)


def test_constants_are_the_weights_and_nothing_else(content):
    facts = flatbuffer.read(content)
    written = {tensor for op in facts.operators for tensor in op.outputs}
    for operator in facts.operators:
        for tensor in operator.inputs:
            fed = tensor in written or tensor in facts.inputs
            assert tensor.constant != fed


def test_open_dimension_is_minus_one():
    content = gone_wrong.with_a_dynamic_batch(models.network())
    facts = flatbuffer.read(content)
    assert facts.inputs[0].shape == (-1, 40, 4)


def test_custom_operator_has_its_own_name():
    content = gone_wrong.with_custom_ops(
        lambda audio: {"scores": tf.linalg.det(audio)},
        tf.TensorSpec((1, 4, 4)),
    )
    (operator,) = flatbuffer.read(content).operators
    assert operator.is_custom
    assert operator.name == "MatrixDeterminant"


def test_operators_inside_of_a_loop_are_counted(tmp_path):
    model = models.sequential((20, 4), keras.layers.LSTM(3, activation="relu"))
    path = tmp_path / "model.tflite"
    tfconv_export.export(model, path)
    counts = flatbuffer.read(path.read_bytes()).operator_counts
    assert counts["WHILE"] == 1
    # The gates are computed in the loop's body.
    assert counts["LOGISTIC"] == 3


def test_operand_left_out_is_none(tmp_path):
    model = models.sequential(
        (20, 4),
        keras.layers.Flatten(),
        keras.layers.Dense(3, use_bias=False),
    )
    path = tmp_path / "model.tflite"
    tfconv_export.export(model, path)
    content = path.read_bytes()
    (dense,) = (
        operator
        for operator in flatbuffer.read(content).operators
        if operator.name == "FULLY_CONNECTED"
    )
    (details,) = (
        details
        for details in interpreter_of(content)._get_ops_details()
        if details["op_name"] == "FULLY_CONNECTED"
    )
    assert len(dense.inputs) == len(details["inputs"])
    left_out = [index < 0 for index in details["inputs"]]
    assert left_out == [tensor is None for tensor in dense.inputs]
    assert any(left_out)


def test_depthwise_kernel_is_found_with_a_scale_for_each_output(tmp_path):
    model = models.sequential(
        (40, 4), tfconv.DepthwiseConv1D(3, depth_multiplier=2)
    )
    path = tmp_path / "model.tflite"
    tfconv_export.export(
        model, path, quantize="int8", representative_data=models.DATA
    )
    (operator,) = (
        operator
        for operator in flatbuffer.read(path.read_bytes()).operators
        if operator.name == "DEPTHWISE_CONV_2D"
    )
    kernel = operator.inputs[1]
    assert kernel.shape == (1, 1, 3, 8)
    assert kernel.constant
    # Symmetric in 127 steps to each side: TFLite's int8 weights.
    weights = model.get_weights()[0].reshape(3, 8)
    np.testing.assert_allclose(
        kernel.scales, np.abs(weights).max(axis=0) / 127, rtol=1e-6
    )
