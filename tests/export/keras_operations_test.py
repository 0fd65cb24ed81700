"""Keras's operations in few operators, which compute what Keras does."""

import keras
import numpy as np
import pytest

import tfconv_export
from tests.export import models
from tests.export.closeness import decibels
from tests.export.closeness import relative_error
from tests.export.tflite import TFLiteFile
from tfconv_export import conversion
from tfconv_export import loading
from tfconv_export import micro

DATA = models.examples(20, 4, count=32)


def converted(model, quantize="none"):
    source = loading.load(model)
    made = conversion.convert(
        source, conversion.Recipe(quantize), models.chosen(source, DATA)
    )
    return TFLiteFile(made.content, "builtin"), made.content


def test_bias_of_one_filter_is_part_of_the_convolution():
    inputs = keras.Input((20, 4), name="audio")
    square = keras.layers.Reshape((5, 4, 4))(inputs)
    layers = keras.layers
    outputs = {
        "plain": layers.Conv1D(1, 3)(inputs),
        "active": layers.Conv1D(1, 3, activation="relu")(inputs),
        "dilated": layers.Conv1D(1, 3, dilation_rate=2)(inputs),
        "transposed": layers.Conv1DTranspose(1, 3, strides=2)(inputs),
        "separable": layers.SeparableConv1D(1, 3)(inputs),
        "dense": layers.Dense(1)(inputs),
        "square": layers.Conv2D(1, 3)(square),
    }
    model = models.randomize(keras.Model(inputs, outputs))
    file, _ = converted(model)
    assert not {"ADD", "RELU"} & set(file.operators)
    found = file.run(DATA)
    for name, expected in model(DATA).items():
        assert relative_error(expected, found[name]) < 1e-5, name


def test_one_value_is_added_to_all():
    inputs = keras.Input((20, 4), name="audio")
    one = keras.layers.Conv1D(1, 20)(inputs)  # (1, 1, 1) at a batch of 1
    outputs = keras.layers.Conv1D(1, 3)(inputs) + keras.ops.reshape(
        one, (-1, 1, 1)
    )
    model = models.randomize(keras.Model(inputs, outputs))
    file, _ = converted(model)
    found = file.run_one_output(DATA)
    assert found.shape == (32, 18, 1)
    assert relative_error(models.outputs_of(model, DATA), found) < 1e-5


def test_elu_of_any_slope_chooses_by_no_operator():
    inputs = keras.Input((20, 4), name="audio")
    outputs = {
        "plain": keras.layers.ELU()(inputs),
        "half": keras.layers.ELU(0.5)(inputs),
        "none": keras.layers.ELU(0.0)(inputs),
        "negative": keras.layers.ELU(-0.5)(inputs),
        "scaled": keras.layers.Activation("selu")(inputs),
    }
    file, _ = converted(keras.Model(inputs, outputs))
    # An ELU that does not keep signs has to choose.
    assert file.operators["SELECT"] + file.operators["SELECT_V2"] == 1
    x = DATA.astype(np.float64)
    branch = np.expm1(np.minimum(x, 0))
    alpha, scale = 1.6732632423543772848, 1.0507009873554804934
    expected = {
        "plain": np.where(x > 0, x, branch),
        "half": np.where(x > 0, x, 0.5 * branch),
        "none": np.where(x > 0, x, 0),
        "negative": np.where(x > 0, x, -0.5 * branch),
        "scaled": scale * np.where(x > 0, x, alpha * branch),
    }
    for name, found in file.run(DATA).items():
        assert relative_error(expected[name], found) < 1e-6, name


def test_maximum_over_space_is_one_pool():
    inputs = keras.Input((20, 4), name="audio")
    square = keras.layers.Reshape((5, 4, 4))(inputs)
    outputs = {
        "time": keras.layers.GlobalMaxPooling1D()(inputs),
        "kept": keras.layers.GlobalMaxPooling1D(keepdims=True)(inputs),
        "square": keras.layers.GlobalMaxPooling2D()(square),
        "channels": keras.ops.max(inputs, axis=-1),
        "all": keras.ops.max(inputs, axis=(1, 2)),
    }
    file, _ = converted(keras.Model(inputs, outputs))
    # What goes over channels is none.
    assert file.operators["REDUCE_MAX"] == 2
    expected = {
        "time": DATA.max(axis=1),
        "kept": DATA.max(axis=1, keepdims=True),
        "square": DATA.max(axis=1),
        "channels": DATA.max(axis=2),
        "all": DATA.max(axis=(1, 2)),
    }
    for name, found in file.run(DATA).items():
        np.testing.assert_array_equal(found, expected[name], name)


@pytest.mark.parametrize("layer", ["GlobalMaxPooling1D", "UpSampling1D"])
def test_tflite_micro_runs_it_in_int16(layer):
    inputs = keras.Input((20, 4), name="audio")
    outputs = getattr(keras.layers, layer)(name="scores")(inputs)
    model = keras.Model(inputs, outputs)
    _, content = converted(model, "int16x8")
    runtime = micro.TFLiteMicro(content)
    found = np.concatenate(
        [runtime.run({"audio": example[None]})["scores"] for example in DATA]
    )
    # 16 bits have 98 dB of a sine; a normal signal's peaks are higher.
    assert decibels(models.outputs_of(model, DATA), found) > 80


def test_streams_compute_what_whole_windows_do(tmp_path):
    inputs = keras.Input((20, 4), name="audio")
    x = keras.layers.Conv1D(1, 3)(inputs)
    x = keras.layers.ELU(0.5)(x)
    x = keras.layers.Concatenate()([keras.layers.ELU()(x)] * 12)
    x = keras.layers.Conv1D(4, 3, activation="selu")(x)
    x = keras.layers.GlobalMaxPooling1D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    # It raises if the two differ in a bit.
    result = tfconv_export.export_streaming(
        models.randomize(model),
        tmp_path / "stream.tflite",
        hop=2,
        quantize="int8",
        representative_data=DATA,
    )
    assert not result.failed
    assert set(result.operators) == {
        "CONCATENATION",
        "CONV_2D",
        "ELU",
        "FULLY_CONNECTED",
        "LEAKY_RELU",
        "MAX_POOL_2D",
        "MUL",
        "RESHAPE",
        "STRIDED_SLICE",
    }
