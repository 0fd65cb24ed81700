"""Whatever network is exported: the file computes it on every interpreter.

The networks are drawn at random, and stated twice: as Keras layers, and in
float64 NumPy. The interpreters are run here, not by the exporter.
"""

import dataclasses
import pathlib
import tempfile

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import assume
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import MAX_FLOAT32_ERROR
from tests.export.closeness import decibels
from tests.export.closeness import relative_error
from tests.export.tflite import TFLiteFile
from tests.tfconv.ops import reference

# A layer that is computed wrongly costs all but 0 to 12 dB; four layers in
# int8, one after the other, cost more than closeness.py allows a single one.
LEAST_DB = {"float16": 55.0, "dynamic": 25.0, "int8": 20.0, "int16x8": 30.0}

ACTIVATIONS = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
}


@dataclasses.dataclass(frozen=True)
class Block:
    """A convolution and what follows it.

    Attributes:
        kind: string, the layer's class.
        filters: int, of a separable convolution.
        kernel_size: int.
        window: dict of the layer's strides or dilation, and its padding.
        depth_multiplier: int.
        use_bias: bool.
        activation: string or `None`.
        normalized: bool, whether a BatchNormalization and a ReLU follow.
        residual: bool, whether the input is added, where shapes allow.
    """

    kind: str
    filters: int
    kernel_size: int
    window: dict
    depth_multiplier: int
    use_bias: bool
    activation: str | None
    normalized: bool
    residual: bool


@dataclasses.dataclass(frozen=True)
class Network:
    """A network to be exported.

    Attributes:
        shape: tuple, steps and channels of the input.
        blocks: tuple.
        head: string: `"none"`, `"pooled"` or `"flat"`.
        softmax: bool, at the end of a head.
    """

    shape: tuple[int, int]
    blocks: tuple[Block, ...]
    head: str
    softmax: bool


BLOCKS = st.builds(
    Block,
    kind=st.sampled_from(["DepthwiseConv1D", "SeparableConv1D"]),
    filters=st.integers(1, 8),
    kernel_size=st.integers(1, 5),
    window=st.builds(
        lambda size, padding: {**size, "padding": padding},
        st.sampled_from(
            [
                {},
                {"strides": 2},
                {"strides": 3},
                {"dilation_rate": 2},
                {"dilation_rate": 3},
            ]
        ),
        st.sampled_from(["same", "valid", "causal"]),
    ),
    depth_multiplier=st.integers(1, 2),
    use_bias=st.booleans(),
    activation=st.sampled_from(list(ACTIVATIONS)),
    normalized=st.booleans(),
    residual=st.booleans(),
)
NETWORKS = st.builds(
    Network,
    shape=st.tuples(st.integers(16, 40), st.integers(1, 8)),
    blocks=st.lists(BLOCKS, min_size=1, max_size=4).map(tuple),
    head=st.sampled_from(["none", "pooled", "flat"]),
    softmax=st.booleans(),
)  # What TFLite Micro does not run is exported for LiteRT.
WAYS = st.sampled_from(
    [
        ("none", "micro"),
        ("float16", "litert"),
        ("dynamic", "litert"),
        ("int8", "micro"),
        ("int16x8", "micro"),
    ]
)


def keras_model(network: Network) -> keras.Model:
    inputs = x = keras.Input(network.shape, name="audio")
    for block in network.blocks:
        before = x
        x = _convolution(block)(x)
        if block.normalized:
            x = keras.layers.BatchNormalization()(x)
            x = keras.layers.ReLU()(x)
        if block.residual and before.shape == x.shape:
            x = keras.layers.Add()([before, x])
    if network.head == "pooled":
        x = keras.layers.GlobalAveragePooling1D()(x)
    if network.head == "flat":
        x = keras.layers.Flatten()(x)
    if network.head != "none":
        activation = "softmax" if network.softmax else None
        x = keras.layers.Dense(3, activation=activation)(x)
    return models.randomize(keras.Model(inputs, x))


def _convolution(block: Block) -> keras.Layer:
    options = {
        "depth_multiplier": block.depth_multiplier,
        "use_bias": block.use_bias,
        "activation": block.activation,
        **block.window,
    }
    if block.kind == "DepthwiseConv1D":
        return tfconv.DepthwiseConv1D(block.kernel_size, **options)
    return tfconv.SeparableConv1D(block.filters, block.kernel_size, **options)


def computed_by_numpy(
    network: Network, model: keras.Model, x: np.ndarray
) -> list[np.ndarray]:
    """What each layer computes, in float64, of the same weights."""
    computed = []
    weights = iter(
        [
            [value.astype(np.float64) for value in layer.get_weights()]
            for layer in model.layers
            if layer.weights
        ]
    )
    x = x.astype(np.float64)
    for block in network.blocks:
        before = x
        kernel, *rest = next(weights)
        x = reference.depthwise_conv1d(x, kernel, **block.window)
        if block.kind == "SeparableConv1D":
            x = x @ rest.pop(0)[0]
        if block.use_bias:
            x = x + rest.pop(0)
        x = ACTIVATIONS[block.activation](x)
        computed.append(x)
        if block.normalized:
            gamma, beta, mean, variance = next(weights)
            x = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
            x = np.maximum(x, 0.0)
        if block.residual and before.shape == x.shape:
            x = before + x
        computed.append(x)
    if network.head == "pooled":
        x = x.mean(axis=1)
    if network.head == "flat":
        x = x.reshape(len(x), -1)
    if network.head != "none":
        kernel, bias = next(weights)
        x = x @ kernel + bias
        if network.softmax:
            x = np.exp(x - x.max(axis=-1, keepdims=True))
            x = x / x.sum(axis=-1, keepdims=True)
    return [*computed, x]


def has_steps_for_every_kernel(network: Network) -> bool:
    steps = network.shape[0]
    for block in network.blocks:
        steps = len(
            reference.meetings(steps, block.kernel_size, **block.window)
        )
        if steps == 0:
            return False
    return True


@settings(
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=list(HealthCheck),
)
@given(NETWORKS, WAYS)
def test_what_is_written_computes_the_network_on_every_interpreter(
    network, way
):
    assume(has_steps_for_every_kernel(network))
    quantize, target = way
    model = keras_model(network)
    examples = models.examples(*network.shape, count=16)
    computed = computed_by_numpy(network, model, examples)
    expected = computed[-1]
    # Of a layer that gives only zeros the converter makes a scale that no
    # interpreter can compute with.
    assume(all(np.ptp(values, axis=0).max() > 0.05 for values in computed))
    kernels = ["xnnpack", "builtin", "reference"]
    if target == "micro":
        pytest.importorskip("tflite_micro")
        kernels.append("micro")
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "model.tflite")
        # It refuses none of them.
        tfconv_export.export(
            model,
            path,
            quantize=quantize,
            target=target,
            representative_data=examples,
        )
        for name in kernels:
            found = TFLiteFile(path, name).run_one_output(examples)
            assert found.shape == expected.shape
            if quantize == "none":
                error = relative_error(expected, found)
                assert error <= MAX_FLOAT32_ERROR, name
            else:
                assert decibels(expected, found) >= LEAST_DB[quantize], name


@pytest.mark.parametrize("channels", [1, 4, 16])
@pytest.mark.parametrize("how", ["functional", "subclassed"])
def test_single_channel_is_added_along_time(tmp_path, channels, how):
    # At a batch of 1, Keras takes it for a bias: of 16 channels, it adds the
    # 16 steps to the channels.
    first = tfconv.DepthwiseConv1D(3, padding="same", use_bias=False)
    second = tfconv.SeparableConv1D(1, 3, padding="same", use_bias=False)

    def call(x):
        return first(x) + second(x)

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = first, second

        def call(self, x):
            return call(x)

    examples = models.examples(16, channels, count=16)
    if how == "functional":
        inputs = keras.Input((16, channels))
        model = keras.Model(inputs, call(inputs))
    else:
        model = Subclassed()
        model(examples)
    models.randomize(model)
    path = tmp_path / "model.tflite"
    tfconv_export.export(model, path, representative_data=examples)
    (kernel,), (depthwise, pointwise) = (
        layer.get_weights() for layer in (first, second)
    )
    expected = reference.depthwise_conv1d(examples, kernel, padding="same")
    gate = reference.depthwise_conv1d(examples, depthwise, padding="same")
    expected = expected + gate @ pointwise[0]
    found = TFLiteFile(path).run_one_output(examples)
    assert relative_error(expected, found) <= MAX_FLOAT32_ERROR
