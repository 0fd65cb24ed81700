"""Small Keras models, with weights as training might have left them."""

import keras
import numpy as np

import tfconv
from tfconv_export import calibration
from tfconv_export.data.sources import open_data
from tfconv_export.source import Source


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model, with random weights; variances and scales are positive.

    It may be one of tf_keras, which has a path in its weights' names.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        name = weight.name.rpartition("/")[2].partition(":")[0]
        if name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, weight.shape)
        elif weight.dtype == "float32":
            value = 0.3 * rng.standard_normal(weight.shape)
        else:
            continue
        weight.assign(value)
    return model


def examples(*shape: int, count: int = 16, seed: int = 1) -> np.ndarray:
    """Standard normal examples, float32, the first axis counting them."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *shape)).astype(np.float32)


# Examples for a model of 40 steps and 4 channels, as most here are.
DATA = examples(40, 4, count=32)


def chosen(source: Source, data=DATA) -> calibration.Examples:
    """The data, an array or a dict of them, as an export has it."""
    reader = open_data(data)
    return calibration.choose(reader, source.inputs)


def sequential(shape, *layers: keras.Layer, name="net") -> keras.Sequential:
    """A Sequential model of an input named "audio" and `layers`."""
    model = keras.Sequential(
        [keras.Input(shape, name="audio"), *layers], name=name
    )
    return randomize(model)


def network(steps: int | None = 40) -> keras.Sequential:
    """Both layers, causal, dilated and strided, with what is to be folded."""
    return sequential(
        (steps, 4),
        tfconv.SeparableConv1D(
            8, 3, padding="causal", dilation_rate=2, use_bias=False
        ),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        tfconv.DepthwiseConv1D(
            5, strides=2, padding="same", depth_multiplier=2, name="scores"
        ),
    )


def linear(shape=(20, 4)) -> keras.Sequential:
    """The least that there is to export: one depthwise convolution."""
    return sequential(shape, tfconv.DepthwiseConv1D(3, name="scores"))


def outputs_of(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """What the model computes in inference mode, as NumPy."""
    return keras.ops.convert_to_numpy(model(inputs, training=False))
