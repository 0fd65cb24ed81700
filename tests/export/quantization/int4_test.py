"""Files with weights of 4 bits: what is stored, and what is computed."""

import keras
import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils

import tfconv
from tests.export import models
from tests.export.closeness import decibels
from tfconv_export import conversion
from tfconv_export import flatbuffer
from tfconv_export import loading
from tfconv_export import verification
from tfconv_export.runtimes import LiteRT


def network() -> keras.Model:
    """An odd number of weights in a kernel, and layers of every kind."""
    inputs = keras.Input((40, 4), name="audio")
    x = tfconv.DepthwiseConv1D(3, depth_multiplier=2, name="filters")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = tfconv.SeparableConv1D(5, 3, padding="causal", dilation_rate=2)(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv1D(9, 3, use_bias=False, name="conv")(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    outputs = keras.layers.Dense(3, name="scores")(x)
    return models.randomize(keras.Model(inputs, outputs))


@pytest.fixture(scope="module")
def source():
    return loading.load(network())


@pytest.fixture(scope="module")
def examples(source):
    return models.chosen(source)


@pytest.fixture(scope="module")
def made(source, examples):
    return {
        quantize: conversion.convert(
            source, conversion.Recipe(quantize), examples
        )
        for quantize in ("int4", "int8")
    }


@pytest.fixture(scope="module")
def expected(source):
    return source.reference({"audio": models.DATA})["scores"].numpy()


def run(content, examples, kernels="reference"):
    runtime = LiteRT(content, kernels)
    return np.concatenate(
        [runtime.run(example)["scores"] for example in examples]
    )


def test_convolutions_have_4_bits_and_a_scale_per_channel(made):
    facts = flatbuffer.read(made["int4"].content)
    for operator in facts.operators:
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weights, bias = operator.inputs[1:3]
            axis = 0 if operator.name == "CONV_2D" else 3
            assert weights.dtype == "int4"
            assert (
                weights.quantized_dimension == axis or len(weights.scales) == 1
            )
            assert len(weights.scales) == weights.shape[axis]
            assert bias.dtype == "int32"
            np.testing.assert_allclose(
                bias.scales,
                np.float64(weights.scales) * operator.inputs[0].scales[0],
                rtol=1e-6,
            )
        if operator.name == "FULLY_CONNECTED":
            assert operator.inputs[1].dtype == "int8"


def test_stored_weights_are_the_models_to_a_step(source, made):
    content = made["int4"].content
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    kernel = np.asarray(source.trackable.get_layer("conv").kernel)
    wanted = np.transpose(kernel, (2, 0, 1))[:, None]
    (tensor,) = (
        tensor
        for tensor in model.subgraphs[0].tensors
        if tuple(tensor.shape) == wanted.shape
    )
    packed = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.uint8)
    assert packed.size == -(-wanted.size // 2)
    halves = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)
    signed = np.where(halves < 8, halves, halves.astype(int) - 16)
    signed = signed[: wanted.size].reshape(wanted.shape)
    assert np.abs(signed).max() == 7
    scales = tensor.quantization.scale.reshape(-1, 1, 1, 1)
    error = np.abs(signed * scales - wanted)
    # Half a step, but for the largest, which may be clipped.
    assert (error <= scales / 2 + 1e-6).mean() > 0.8
    assert decibels(wanted, signed * scales) > 15


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
def test_computes_the_model_as_4_bits_can(made, examples, expected, kernels):
    four, eight = (
        decibels(expected, run(made[mode].content, examples, kernels))
        for mode in ("int4", "int8")
    )
    # 24 dB less, for the weights; the activations' part stays.
    assert eight - 30 < four < eight
    assert four > 12


def test_file_is_smaller(made):
    assert len(made["int4"].content) < len(made["int8"].content)


@pytest.mark.parametrize("io_dtype", ["int8", "uint8", "float32"])
def test_passes_the_checks_of_its_mode(source, examples, io_dtype):
    recipe = conversion.Recipe("int4", io_dtype)
    converted = conversion.convert(source, recipe, examples)
    facts = flatbuffer.read(converted.content)
    checks = verification.inspect(facts, recipe, source, converted)
    assert [check for check in checks if not check.passed] == []


def test_weights_of_8_bits_fail_the_check(source, made):
    recipe = conversion.Recipe("int4")
    facts = flatbuffer.read(made["int8"].content)
    checks = verification.inspect(facts, recipe, source, made["int8"])
    failed = {check.name for check in checks if not check.passed}
    assert failed == {"arithmetic"}


def test_layers_can_stay_in_float(source, examples, made, expected):
    recipe = conversion.Recipe("int4", float_layers=("conv", "filters"))
    converted = conversion.convert(source, recipe, examples)
    better = decibels(expected, run(converted.content, examples))
    assert better > decibels(expected, run(made["int4"].content, examples))


def test_tflite_micro_computes_the_same(made, examples):
    name = "tflite_micro.python.tflite_micro.runtime"
    runtime = pytest.importorskip(name, reason="tflite-micro is not installed")
    content = made["int4"].content
    micro = runtime.Interpreter.from_bytes(content)
    start, end = (
        details["quantization_parameters"]
        for details in (
            micro.get_input_details(0),
            micro.get_output_details(0),
        )
    )
    found = []
    for example in examples:
        steps = np.rint(example["audio"] / start["scales"][0])
        steps = np.clip(steps + start["zero_points"][0], -128, 127)
        micro.set_input(steps.astype(np.int8), 0)
        micro.invoke()
        value = micro.get_output(0).astype(np.float64)
        found.append((value - end["zero_points"][0]) * end["scales"][0])
    expected = run(content, examples)
    # LiteRT's reference kernels, to a step.
    error = np.abs(np.concatenate(found) - expected).max()
    assert error <= 1.01 * end["scales"][0]
