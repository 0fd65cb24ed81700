"""Ranges of activations that would end the process, and files that do."""

import keras
import numpy as np
import pytest

from tests.export import models
from tfconv_export import conversion
from tfconv_export import loading
from tfconv_export.errors import CheckError
from tfconv_export.runtimes import LiteRT

EXAMPLES = models.examples(16, 2, count=32)


def network(function):
    """A convolution, the function, and a dense layer."""
    x = inputs = keras.Input((16, 2))
    x = keras.layers.Conv1D(4, 3, activation="relu")(x)
    x = keras.layers.Activation(function, name="middle")(x)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x))
    return models.randomize(keras.Model(inputs, x))


def convert(model, quantize, data=EXAMPLES, float_layers=()):
    source = loading.load(model)
    recipe = conversion.Recipe(quantize, "float32", float_layers)
    return conversion.convert(source, recipe, models.chosen(source, data))


@pytest.mark.parametrize(
    ("function", "span"),
    [
        (lambda x: keras.ops.sigmoid(keras.ops.log(x)), "-inf to"),
        (lambda x: keras.ops.exp(keras.ops.log(x)), "-inf to"),
        (lambda x: keras.ops.relu(keras.ops.log(x)), "-inf to"),
    ],
)
def test_an_infinity_is_refused_by_the_name_of_its_layer(function, span):
    with pytest.raises(CheckError, match="Layer middle computes") as caught:
        convert(network(function), "int8")
    assert span in str(caught.value)


def test_a_range_that_float32_cannot_hold_is_refused():
    data = np.sign(EXAMPLES).astype("float32") * np.float32(3e38)
    with pytest.raises(CheckError, match="a range that cannot be quantized"):
        convert(network(lambda x: x), "int8", data)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: keras.ops.maximum(keras.ops.log(x), -4.0),
        lambda x: keras.ops.where(x > 0.1, keras.ops.log(x), 0.0),
    ],
)
def test_an_infinity_that_is_replaced_at_once_is_none(function):
    model = network(function)
    runtime = LiteRT(convert(model, "int8").content)
    [name] = runtime.inputs
    found = [
        next(iter(runtime.run({name: example[None]}).values()))
        for example in EXAMPLES
    ]
    expected = model(EXAMPLES).numpy()
    error = np.concatenate(found) - expected
    # 8 bits of the range that the logarithm has are some 30 dB.
    assert np.square(error).sum() < np.square(expected).sum() / 10**2


@pytest.mark.parametrize("quantize", ["int8", "int16x8"])
def test_zeros_that_something_is_subtracted_from(quantize):
    model = network(lambda x: 0.0 - x)
    runtime = LiteRT(convert(model, quantize).content)
    [name] = runtime.inputs
    found = next(iter(runtime.run({name: EXAMPLES[:1]}).values()))
    np.testing.assert_allclose(found, model(EXAMPLES[:1]), atol=0.05)


def test_a_file_that_ends_its_reader_is_refused(monkeypatch):
    monkeypatch.setattr(conversion.scales, "corrected", lambda content: content)
    with pytest.raises(CheckError, match="LiteRT ends with SIGABRT"):
        convert(network(lambda x: 0.0 - x), "int16x8")
