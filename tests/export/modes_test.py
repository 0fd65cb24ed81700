"""Every mode x padding x window x layer: what the file computes, and how.

One export holds all paddings and windows of a layer, each as a branch with an
output of its own. The judge is a float64 NumPy statement of the branch, and
LiteRT's reference kernels.
"""

import functools
import itertools

import keras
import numpy as np
import pytest

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import assert_close
from tests.export.tflite import TFLiteFile
from tests.tfconv.ops import reference

QUANTIZE = ("none", "float16", "dynamic", "int8", "int16x8")
LAYERS = ("depthwise", "separable")
PADDINGS = ("valid", "same", "causal")
WINDOWS = {
    "plain": {},
    "stride2": {"strides": 2},
    "dilation2": {"dilation_rate": 2},
    "dilation4": {"dilation_rate": 4},
    "multiplier2": {"depth_multiplier": 2},
}
BRANCHES = [f"{p}_{w}" for p, w in itertools.product(PADDINGS, WINDOWS)]

# The converter leaves weights in float below 1024 of them; these are more.
CHANNELS, TAPS, FILTERS = 128, 9, 8
# Even, so that the padding of stride 2 is not the same on both sides.
STEPS = 40
INPUTS = models.examples(STEPS, CHANNELS, count=12)


def branch_of(name: str) -> dict:
    """The arguments of the convolution in a branch."""
    padding, window = name.split("_", 1)
    return {"kernel_size": TAPS, "padding": padding, **WINDOWS[window]}


def convolution(layer: str, arguments: dict, **more) -> keras.Layer:
    if layer == "separable":
        return tfconv.SeparableConv1D(FILTERS, **arguments, **more)
    return tfconv.DepthwiseConv1D(**arguments, **more)


@functools.cache
def branches(layer: str) -> keras.Model:
    """Convolution -> batch normalization -> ReLU, as often as there are."""
    inputs = keras.Input((STEPS, CHANNELS), name="audio")
    outputs = []
    for name in BRANCHES:
        x = convolution(layer, branch_of(name))(inputs)
        x = keras.layers.BatchNormalization()(x)
        outputs.append(keras.layers.ReLU(name=name)(x))
    return models.randomize(keras.Model(inputs, outputs))


def expected(layer: str, name: str) -> np.ndarray:
    """float64 NumPy: convolution, pointwise, bias, normalization, ReLU."""
    model = branches(layer)
    position = BRANCHES.index(name)
    convolutions = [
        layer
        for layer in model.layers
        if isinstance(layer, (tfconv.DepthwiseConv1D, tfconv.SeparableConv1D))
    ]
    normalizations = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    depthwise, *pointwise, bias = (
        weight.astype(np.float64)
        for weight in convolutions[position].get_weights()
    )
    window = branch_of(name)
    outputs = reference.depthwise_conv1d(
        INPUTS,
        depthwise,
        padding=window["padding"],
        strides=window.get("strides", 1),
        dilation_rate=window.get("dilation_rate", 1),
    )
    for kernel in pointwise:
        outputs = outputs @ kernel[0]
    gamma, beta, mean, variance = (
        weight.astype(np.float64)
        for weight in normalizations[position].get_weights()
    )
    epsilon = normalizations[position].epsilon
    outputs = gamma * (outputs + bias - mean) / np.sqrt(variance + epsilon)
    return np.maximum(outputs + beta, 0.0)


@pytest.fixture(scope="module")
def export_once(tmp_path_factory):
    """A file, and what it computes, for each layer and mode: made once."""

    @functools.cache
    def make(layer: str, quantize: str):
        path = tmp_path_factory.mktemp("modes") / f"{layer}_{quantize}.tflite"
        tfconv_export.export(
            branches(layer),
            path,
            quantize=quantize,
            representative_data=INPUTS,
        )
        file = TFLiteFile(path)
        return file, file.run(INPUTS)

    return make


every_layer = pytest.mark.parametrize("layer", LAYERS)
every_mode = pytest.mark.parametrize("quantize", QUANTIZE)


@every_mode
@every_layer
@pytest.mark.parametrize("branch", BRANCHES)
def test_file_computes_what_the_layer_means(
    export_once, branch, layer, quantize
):
    _, outputs = export_once(layer, quantize)
    assert_close(expected(layer, branch), outputs[branch], quantize)


@every_mode
@every_layer
@pytest.mark.parametrize("branch", BRANCHES)
def test_one_operator_per_convolution_and_all_else_is_folded(
    export_once, branch, layer, quantize
):
    file, _ = export_once(layer, quantize)
    assert file.way_to(branch) == [
        *(["PAD"] if branch.startswith("causal") else []),
        "DEPTHWISE_CONV_2D",
        *(["CONV_2D"] if layer == "separable" else []),
    ]


@every_mode
@every_layer
def test_nothing_else_is_in_the_file(export_once, layer, quantize):
    file, _ = export_once(layer, quantize)
    allowed = {"RESHAPE", "PAD", "DEPTHWISE_CONV_2D"}
    if layer == "separable":
        allowed.add("CONV_2D")
    if quantize == "float16":
        allowed.add("DEQUANTIZE")
    assert set(file.operators) == allowed


@every_mode
@every_layer
def test_weights_have_the_dtype_of_the_mode(export_once, layer, quantize):
    file, _ = export_once(layer, quantize)
    wanted = {"none": np.float32, "float16": np.float16}.get(quantize, np.int8)
    if quantize == "float16":
        stored = [weights for (weights,) in file.operands("DEQUANTIZE")]
        assert len(stored) >= len(BRANCHES)
    else:
        stored = [weights for _, weights, *_ in file.operands("CONV_2D")]
        stored += [w for _, w, *_ in file.operands("DEPTHWISE_CONV_2D")]
        assert len(stored) == len(BRANCHES) * len(
            branches(layer).layers[1].get_weights()[:-1]
        )
    assert {file.tensor(index)["dtype"] for index in stored} == {wanted}


@pytest.mark.parametrize("quantize", ["dynamic", "int8", "int16x8"])
@every_layer
def test_each_depthwise_channel_has_its_own_scale(export_once, layer, quantize):
    file, _ = export_once(layer, quantize)
    operands = file.operands("DEPTHWISE_CONV_2D")
    assert len(operands) == len(BRANCHES)
    for _, weights, *_ in operands:
        details = file.tensor(weights)
        channels = details["shape"][3]
        assert channels in (CHANNELS, 2 * CHANNELS)
        quantization = details["quantization_parameters"]
        assert quantization["quantized_dimension"] == 3
        assert len(np.unique(quantization["scales"])) > channels / 2
        assert len(quantization["scales"]) == channels
        assert not quantization["zero_points"].any()


@pytest.mark.parametrize("quantize", ["none", "int8", "int16x8"])
@every_layer
def test_channels_first_computes_the_same(tmp_path, layer, quantize):
    arguments = {"kernel_size": 3, "padding": "causal", "dilation_rate": 2}
    inputs = keras.Input((4, 40), name="audio")
    x = convolution(layer, arguments, data_format="channels_first")(inputs)
    x = keras.layers.BatchNormalization(axis=1)(x)
    x = keras.layers.ReLU()(x)
    arguments = {"kernel_size": 4, "padding": "same", "strides": 2}
    x = convolution(layer, arguments, data_format="channels_first")(x)
    model = models.randomize(keras.Model(inputs, x))
    data = models.examples(4, 40, count=32)
    path = tmp_path / "model.tflite"
    tfconv_export.export(
        model, path, quantize=quantize, representative_data=data
    )
    file = TFLiteFile(path)
    block = ["DEPTHWISE_CONV_2D"]
    if layer == "separable":
        block.append("CONV_2D")
    assert file.way_to(model.layers[-1].name) == ["PAD", *block, *block]
    assert_close(
        models.outputs_of(model, data), file.run_one_output(data), quantize
    )
