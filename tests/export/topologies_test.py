"""Models that are more than a chain of layers, or hardly that."""

import keras
import numpy as np
import pytest

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import assert_close
from tests.export.tflite import TFLiteFile

DATA = models.DATA


def exported(model, path, quantize="none", data=DATA) -> TFLiteFile:
    tfconv_export.export(
        model, path, quantize=quantize, representative_data=data
    )
    return TFLiteFile(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


def test_each_of_two_outputs_has_its_own_name_and_values(path):
    inputs = keras.Input((40, 4), name="audio")
    x = tfconv.SeparableConv1D(8, 3, padding="causal")(inputs)
    model = models.randomize(
        keras.Model(
            inputs,
            [
                tfconv.DepthwiseConv1D(3, name="zebra")(x),
                tfconv.SeparableConv1D(5, 3, strides=2, name="ant")(x),
            ],
        )
    )
    file = exported(model, path, "int8")
    found = file.run(DATA)
    assert set(found) == {"zebra", "ant"}
    zebra, ant = model(DATA)
    assert_close(zebra.numpy(), found["zebra"], "int8")
    assert_close(ant.numpy(), found["ant"], "int8")


def test_no_output_is_lost_when_names_resemble_one_another(path):
    # A layer called twice has two outputs of one name; a number makes them
    # two, and may make them the name of yet another.
    inputs = keras.Input((40, 4))
    head = keras.layers.Dense(3, name="head")
    other = keras.layers.Dense(3, name="head_1")
    model = models.randomize(
        keras.Model(
            inputs, [head(inputs), head(keras.ops.relu(inputs)), other(inputs)]
        )
    )
    found = list(exported(model, path).run(DATA).values())
    assert len(found) == 3
    for expected in model(DATA):
        errors = [np.abs(expected - values).max() for values in found]
        assert min(errors) < 1e-4


def test_outputs_in_a_dict_are_not_mixed_up(path):
    inputs = keras.Input((40, 4), name="audio")
    first = tfconv.DepthwiseConv1D(3, name="first")(inputs)
    second = tfconv.DepthwiseConv1D(3, name="second")(inputs)
    model = models.randomize(
        keras.Model(inputs, {"z": first, "a": second, "m": inputs[:, :5]})
    )
    found = exported(model, path).run(DATA)
    expected = model(DATA)
    assert set(found) == {"z", "a", "m"}
    assert_close(expected["z"].numpy(), found["z"])
    assert_close(expected["a"].numpy(), found["a"])


def test_input_in_a_dict_is_exported_without_a_warning(path):
    inputs = keras.Input((40, 4), name="audio")
    outputs = tfconv.DepthwiseConv1D(3)(inputs)
    model = models.randomize(keras.Model({"audio": inputs}, outputs))
    file = exported(model, path)
    assert list(file.inputs) == ["audio"]
    expected = model({"audio": DATA}).numpy()
    assert_close(expected, file.run_one_output(DATA))


def test_input_in_a_list_is_exported_without_a_warning(path):
    inputs = keras.Input((40, 4), name="audio")
    model = keras.Model([inputs], [tfconv.DepthwiseConv1D(3)(inputs)])
    models.randomize(model)
    file = exported(model, path)
    expected = np.asarray(model([DATA])).reshape(len(DATA), 38, 4)
    assert_close(expected, file.run_one_output(DATA))


@pytest.mark.parametrize(
    ("layers", "quantize"), [(tfconv, "int8"), (keras.layers, "none")]
)
def test_nested_models_become_one_operator_per_convolution(
    path, layers, quantize
):
    block = keras.Sequential(
        [
            keras.Input((40, 8)),
            layers.SeparableConv1D(8, 3, padding="same", dilation_rate=2),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]
    )
    inner_inputs = keras.Input((40, 4))
    x = layers.SeparableConv1D(8, 3, padding="same")(inner_inputs)
    inner = keras.Model(inner_inputs, keras.layers.Add()([x, block(x)]))
    model = models.sequential(
        (40, 4), inner, layers.DepthwiseConv1D(3, strides=2)
    )
    file = exported(model, path, quantize)
    assert_close(
        models.outputs_of(model, DATA), file.run_one_output(DATA), quantize
    )
    assert file.operators["DEPTHWISE_CONV_2D"] == 3
    assert file.operators["CONV_2D"] == 2
    assert set(file.operators) <= {
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "RESHAPE",
        "ADD",
    }


@pytest.mark.parametrize(
    ("layers", "quantize"), [(tfconv, "int8"), (keras.layers, "none")]
)
def test_layer_used_twice_keeps_its_weights_in_both_places(
    path, layers, quantize
):
    shared = layers.DepthwiseConv1D(3, padding="same", dilation_rate=2)
    other = layers.DepthwiseConv1D(3, padding="same")
    inputs = keras.Input((40, 4))
    # The order of the calls is not that of the creation.
    x = other(shared(other(inputs)))
    model = models.randomize(keras.Model(inputs, shared(x)))
    file = exported(model, path, quantize)
    assert file.operators["DEPTHWISE_CONV_2D"] == 4
    assert_close(
        models.outputs_of(model, DATA), file.run_one_output(DATA), quantize
    )


def test_time_distributed_convolution_is_exported(path):
    model = models.sequential(
        (3, 40, 4), keras.layers.TimeDistributed(tfconv.SeparableConv1D(6, 3))
    )
    data = models.examples(3, 40, 4, count=32)
    file = exported(model, path, "int8", data)
    assert_close(
        models.outputs_of(model, data), file.run_one_output(data), "int8"
    )


@pytest.mark.parametrize("padding", ["same", "valid", "causal"])
def test_blocks_in_a_row_reshape_only_at_the_ends(path, padding):
    layers, blocks = [], 4
    for index in range(blocks):
        layers += [
            tfconv.SeparableConv1D(
                8, 3, padding=padding, dilation_rate=2 ** (index % 3)
            ),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]
    file = exported(models.sequential((40, 4), *layers), path)
    wanted = {
        "RESHAPE": 2,
        "DEPTHWISE_CONV_2D": blocks,
        "CONV_2D": blocks,
        "PAD": blocks,
    }
    if padding != "causal":
        del wanted["PAD"]
    assert file.operators == wanted


SMALL = {
    # Raw audio into channels of its own.
    "raw_audio_separable": (
        (160, 1),
        lambda: tfconv.SeparableConv1D(16, 9, strides=4, padding="same"),
    ),
    "raw_audio_depthwise": (
        (160, 1),
        lambda: tfconv.DepthwiseConv1D(
            9, strides=4, padding="causal", depth_multiplier=8
        ),
    ),
    "one_channel_one_filter": (
        (40, 1),
        lambda: tfconv.DepthwiseConv1D(5, padding="causal", dilation_rate=2),
    ),
    "one_tap": ((40, 4), lambda: tfconv.SeparableConv1D(6, 1)),
    "one_tap_strided": (
        (40, 4),
        lambda: tfconv.DepthwiseConv1D(1, strides=3, padding="same"),
    ),
    "one_step_same": (
        (1, 4),
        lambda: tfconv.SeparableConv1D(6, 3, padding="same"),
    ),
    "one_step_causal": (
        (1, 4),
        lambda: tfconv.DepthwiseConv1D(3, padding="causal", dilation_rate=4),
    ),
    "one_of_everything": ((1, 1), lambda: tfconv.DepthwiseConv1D(1)),
}


@pytest.mark.parametrize("name", SMALL)
def test_smallest_shapes_are_still_one_depthwise_convolution(path, name):
    shape, layer = SMALL[name]
    model = models.sequential(shape, layer())
    data = models.examples(*shape, count=32)
    file = exported(model, path, "int8", data)
    assert file.operators["DEPTHWISE_CONV_2D"] == 1
    assert_close(
        models.outputs_of(model, data), file.run_one_output(data), "int8"
    )


def test_folding_does_not_depend_on_how_the_axis_is_written(path):
    model = models.sequential(
        (40, 4),
        tfconv.DepthwiseConv1D(3),
        keras.layers.BatchNormalization(axis=2),
        keras.layers.ReLU(),
    )
    file = exported(model, path)
    assert file.way_to(model.layers[-1].name) == ["DEPTHWISE_CONV_2D"]


@pytest.mark.parametrize("padding", ["causal", "valid", "same"])
def test_dilated_layers_on_one_tensor_are_one_convolution_each(path, padding):
    # TensorFlow's rearrangement of what is dilated is shared by the two.
    inputs = keras.Input((40, 4), name="audio")
    gate, signal = (
        keras.layers.Conv1D(
            6, 3, padding=padding, dilation_rate=4, activation=activation
        )(inputs)
        for activation in ("sigmoid", "tanh")
    )
    model = models.randomize(
        keras.Model(inputs, keras.layers.Multiply()([gate, signal]))
    )
    file = exported(model, path, "int8")
    assert file.operators["CONV_2D"] == 2
    assert not {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"} & set(file.operators)
    assert_close(
        models.outputs_of(model, DATA), file.run_one_output(DATA), "int8"
    )
