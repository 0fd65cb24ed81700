"""Batch normalizations that stay have a scale for each channel in the file."""

import keras
import numpy as np
import pytest

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import assert_close
from tests.export.tflite import TFLiteFile
from tfconv_export import conversion
from tfconv_export import loading

LAYERS = keras.layers
DATA = models.DATA


def relu(channels=8, size=1, **options) -> keras.Layer:
    return LAYERS.Conv1D(channels, size, activation="relu", **options)


def operators(model) -> list[str]:
    """Those of the float file, which computes what the model does."""
    source = loading.load(model)
    content = conversion.convert(source, conversion.Recipe(), None).content
    file = TFLiteFile(content)
    found = file.run(DATA)
    for name, expected in source.reference({"audio": DATA}).items():
        assert_close(expected.numpy(), found[name])
    return file.operators


def after_addition(x):
    y = LAYERS.Add()([relu(4)(x), x])
    return relu(4)(LAYERS.ReLU()(LAYERS.BatchNormalization()(y)))


def with_a_second_reader(x):
    y = LAYERS.Conv1D(4, 1)(x)
    z = LAYERS.ReLU()(LAYERS.BatchNormalization()(y))
    return LAYERS.Add()([y, LAYERS.Conv1D(4, 1)(z)])


def of_vectors(x):
    y = LAYERS.Dense(8, activation="relu")(LAYERS.Flatten()(x))
    return LAYERS.ReLU()(LAYERS.BatchNormalization()(y))


def of_images(x):
    y = LAYERS.Reshape((8, 5, 4))(x)
    y = LAYERS.Conv2D(4, 3, activation="relu")(y)
    return LAYERS.Activation("relu6")(LAYERS.BatchNormalization()(y))


def of_another_axis(x):
    return LAYERS.ReLU()(LAYERS.BatchNormalization(axis=1)(relu()(x)))


class Block(keras.Layer):
    """A custom layer: which calls follow which is not known."""

    def __init__(self, **options):
        super().__init__(**options)
        self.parts = [
            relu(8, 3, padding="same"),
            LAYERS.BatchNormalization(),
            LAYERS.Conv1D(8, 3, padding="same"),
            LAYERS.BatchNormalization(),
            LAYERS.ReLU(),
        ]

    def build(self, shape):
        for part in self.parts:
            part.build(shape)
            shape = part.compute_output_shape(shape)

    def call(self, inputs):
        for part in self.parts:
            inputs = part(inputs)
        return inputs


STAYING = (
    lambda x: LAYERS.BatchNormalization()(relu()(x)),
    lambda x: relu(4, 3, padding="same")(LAYERS.BatchNormalization()(x)),
    after_addition,
    with_a_second_reader,
    of_vectors,
    of_images,
    of_another_axis,
    lambda x: Block()(x),
)


def test_what_stays_is_one_depthwise_convolution_each():
    inputs = keras.Input((40, 4), name="audio")
    outputs = [make(inputs) for make in STAYING]
    found = operators(models.randomize(keras.Model(inputs, outputs)))
    assert found["DEPTHWISE_CONV_2D"] == len(STAYING)
    assert "MUL" not in found
    assert found["ADD"] == 2


def test_stays_as_one_depthwise_convolution_in_a_subclassed_model():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def call(self, audio):
            return self.block(audio)

    model = Net()
    model(DATA)
    found = operators(models.randomize(model))
    assert found["DEPTHWISE_CONV_2D"] == 1
    assert not {"MUL", "ADD"} & set(found)
    # The caller's own model is what it was.
    for layer in model._flatten_layers():
        assert "call" not in vars(layer)


def test_what_the_converter_folds_is_left_to_it():
    inputs = keras.Input((40, 4), name="audio")
    outputs = [
        LAYERS.ReLU()(LAYERS.BatchNormalization()(LAYERS.Dropout(0.5)(x)))
        for x in (
            LAYERS.Conv1D(8, 3, groups=2, use_bias=False)(inputs),
            LAYERS.Dense(8)(inputs),
            tfconv.SeparableConv1D(8, 3, dilation_rate=2)(inputs),
            LAYERS.Conv1DTranspose(8, 3)(inputs),
        )
    ]
    model = models.randomize(keras.Model(inputs, outputs))
    assert loading.load(model).folded == ()
    found = operators(model)
    assert not {"MUL", "ADD"} & set(found)
    assert found["DEPTHWISE_CONV_2D"] == 1


def spread_out(padding: str) -> keras.Model:
    """As networks for ECG are: channels differ until they are normalized."""
    rng = np.random.default_rng(0)
    inputs = x = keras.Input((40, 4), name="audio")
    for _ in range(2):
        x = relu(16, 3, padding=padding)(x)
        x = LAYERS.BatchNormalization()(x)
        x = LAYERS.MaxPooling1D(2)(x)
    x = LAYERS.GlobalAveragePooling1D()(x)
    model = models.randomize(keras.Model(inputs, LAYERS.Dense(3)(x)))
    for layer, norm in zip(
        model.layers[1::3], model.layers[2::3], strict=False
    ):
        if not isinstance(norm, LAYERS.BatchNormalization):
            break
        widths = 10 ** rng.uniform(-1.5, 0, 16)
        layer.kernel.assign(np.asarray(layer.kernel) * widths)
        layer.bias.assign(np.asarray(layer.bias) * widths)
        before = models.outputs_of(keras.Model(inputs, layer.output), DATA)
        norm.moving_mean.assign(before.mean((0, 1)))
        norm.moving_variance.assign(before.var((0, 1)))
        norm.epsilon = 1e-6
    return model


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_channels_that_differ_until_normalized_are_quantized_well(
    padding, tmp_path
):
    result = tfconv_export.export(
        spread_out(padding),
        tmp_path / "model.tflite",
        quantize="int8",
        representative_data=DATA,
    )
    assert not {"MUL", "ADD"} & set(result.operators)
    assert len(result.folded) == 2
    # As the converter leaves them it is 9 and 11 dB.
    assert min(item.sqnr_db for item in result.agreements) > 25


def test_streams_in_the_same_hops_and_to_the_bit(tmp_path):
    model = models.sequential(
        (40, 4),
        relu(8, 3),
        LAYERS.BatchNormalization(name="moved"),
        LAYERS.MaxPooling1D(2),
        relu(8, 3, name="second"),
        LAYERS.BatchNormalization(name="stays"),
        LAYERS.ReLU(),
        LAYERS.GlobalAveragePooling1D(),
        LAYERS.Dense(3, name="scores"),
    )
    result = tfconv_export.export_streaming(
        model,
        tmp_path / "stream.tflite",
        hop=2,
        quantize="int8",
        representative_data=DATA,
    )
    # All its checks passed: the bits are those of the file for whole windows.
    assert "stays as a depthwise convolution" in result.whole.folded
    assert any(item.startswith("moved into") for item in result.whole.folded)
    assert result.operators["DEPTHWISE_CONV_2D"] == 1
    assert not {"MUL", "ADD"} & set(result.operators)
    plan = tfconv.streaming.plan(model, 2)
    assert [state.shape for state in result.plan.states] == [
        state.shape for state in plan.states
    ]
    assert result.plan.hops_until_full == plan.hops_until_full
