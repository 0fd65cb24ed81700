"""Models of Keras 2, in the .h5 files that Keras 2 itself writes."""

import pytest
import tf_keras

import tfconv_export
from tests.export import models
from tests.export.closeness import assert_close
from tests.export.tflite import TFLiteFile

keras2 = tf_keras.layers

# From a name to (layers, convolutions in the file: depthwise, others).
MODELS = {
    "separable": (
        lambda: [
            keras2.SeparableConv1D(
                6,
                3,
                padding="same",
                depth_multiplier=2,
                activation="relu",
                depthwise_regularizer="l2",
            )
        ],
        (1, 1),
    ),
    "separable strided": (lambda: [keras2.SeparableConv1D(6, 4, 2)], (1, 1)),
    "separable dilated": (
        lambda: [keras2.SeparableConv1D(6, 3, padding="same", dilation_rate=4)],
        (1, 1),
    ),
    "separable causal": (
        lambda: [keras2.SeparableConv1D(6, 3, padding="causal")],
        (1, 1),
    ),
    "separable causal dilated": (
        lambda: [
            keras2.SeparableConv1D(6, 3, padding="causal", dilation_rate=2)
        ],
        (1, 1),
    ),
    "depthwise": (
        lambda: [keras2.DepthwiseConv1D(3, padding="same", depth_multiplier=2)],
        (1, 0),
    ),
    "depthwise strided": (
        lambda: [keras2.DepthwiseConv1D(4, strides=2, use_bias=False)],
        (1, 0),
    ),
    "depthwise dilated": (
        lambda: [keras2.DepthwiseConv1D(3, dilation_rate=2)],
        (1, 0),
    ),
    "classifier": (
        lambda: [
            keras2.Conv1D(8, 3, padding="same", use_bias=False),
            keras2.BatchNormalization(),
            keras2.ReLU(6.0),
            keras2.SeparableConv1D(8, 3, padding="same", use_bias=False),
            keras2.BatchNormalization(),
            keras2.Activation("relu"),
            keras2.DepthwiseConv1D(3),
            keras2.BatchNormalization(),
            keras2.ReLU(),
            keras2.Dropout(0.3),
            keras2.GlobalMaxPooling1D(),
            keras2.Dense(3, activation="softmax"),
        ],
        (2, 2),
    ),
}


def saved(layers, path, shape=(40, 4)):
    """Writes an .h5 file; returns examples and what Keras 2 says of them."""
    model = tf_keras.Sequential([keras2.InputLayer(shape), *layers])
    models.randomize(model)
    model.compile("adam", "mse", metrics=["mae"])
    model.save(path)
    data = models.examples(*shape, count=32)
    return data, model.predict(data, verbose=0)


@pytest.mark.parametrize(
    ("name", "quantize"),
    [*((name, "none") for name in MODELS), ("classifier", "int8")],
)
def test_file_computes_what_keras_2_did(tmp_path, name, quantize):
    layers, (depthwise, others) = MODELS[name]
    data, expected = saved(layers(), tmp_path / "model.h5")
    path = tmp_path / "model.tflite"
    tfconv_export.export(
        tmp_path / "model.h5",
        path,
        quantize=quantize,
        representative_data=data,
    )
    file = TFLiteFile(path)
    assert_close(expected, file.run_one_output(data), quantize)
    assert file.operators["DEPTHWISE_CONV_2D"] == depthwise
    assert file.operators["CONV_2D"] == others


def test_batch_normalization_of_keras_2_is_folded(tmp_path):
    layers, _ = MODELS["classifier"]
    saved(layers(), tmp_path / "model.h5")
    result = tfconv_export.export(
        tmp_path / "model.h5", tmp_path / "model.tflite"
    )
    found = TFLiteFile(result.output).operators
    assert not {"MUL", "ADD", "SUB", "RELU", "RELU6"} & set(found)


def test_open_steps_of_keras_2_can_be_fixed(tmp_path):
    layers, _ = MODELS["separable"]
    model = tf_keras.Sequential([keras2.InputLayer((None, 4)), *layers()])
    models.randomize(model).save(tmp_path / "open.h5")
    data = models.examples(33, 4)
    path = tmp_path / "model.tflite"
    tfconv_export.export(tmp_path / "open.h5", path, input_shape=(33, 4))
    assert_close(
        model.predict(data, verbose=0), TFLiteFile(path).run_one_output(data)
    )


def test_nested_and_shared_layers_of_keras_2_are_read(tmp_path):
    inner_inputs = keras2.Input((40, 4))
    inner = tf_keras.Model(
        inner_inputs, keras2.SeparableConv1D(4, 3, padding="same")(inner_inputs)
    )
    shared = keras2.DepthwiseConv1D(3, padding="same")
    inputs = keras2.Input((40, 4))
    model = tf_keras.Model(inputs, inner(shared(shared(inputs))))
    models.randomize(model).save(tmp_path / "model.h5")
    data = models.examples(40, 4)
    path = tmp_path / "model.tflite"
    tfconv_export.export(tmp_path / "model.h5", path)
    file = TFLiteFile(path)
    assert_close(model.predict(data, verbose=0), file.run_one_output(data))
    assert file.operators["DEPTHWISE_CONV_2D"] == 3


def test_separable_convolution_inside_time_distributed_is_read(tmp_path):
    layers = [keras2.TimeDistributed(keras2.SeparableConv1D(6, 3))]
    data, expected = saved(layers, tmp_path / "model.h5", (3, 20, 4))
    path = tmp_path / "model.tflite"
    tfconv_export.export(tmp_path / "model.h5", path)
    assert_close(expected, TFLiteFile(path).run_one_output(data))


def test_lambda_of_keras_2_is_refused_unless_allowed(tmp_path):
    layers = [keras2.Lambda(lambda x: 2 * x), keras2.SeparableConv1D(6, 3)]
    data, expected = saved(layers, tmp_path / "model.h5")
    path = tmp_path / "model.tflite"
    with pytest.raises(tfconv_export.UsageError, match="Lambda"):
        tfconv_export.export(tmp_path / "model.h5", path)
    assert not path.exists()
    tfconv_export.export(
        tmp_path / "model.h5", path, unsafe_deserialization=True
    )
    assert_close(expected, TFLiteFile(path).run_one_output(data))
