"""Eleven ways in which conversions go wrong without an error: none passes.

The numbers are those of the list that the project began with. Where the
exporter's own way of converting cannot fail like that, a converter that does is
put in its place (`offer`).
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
import tfconv_export
from tests.export import gone_wrong
from tests.export import models
from tests.export.tflite import operators_in


# 1
def test_variables_that_are_not_frozen(offer):
    model = models.network()
    content = gone_wrong.from_concrete_functions(model)
    assert "VAR_HANDLE" in operators_in(content)
    assert "operators" in offer(model, content)


# 2
def test_causal_padding_turned_into_same(offer):
    model = models.sequential(
        (40, 4),
        tfconv.DepthwiseConv1D(
            3, padding="causal", dilation_rate=4, use_bias=False, name="scores"
        ),
    )
    (kernel,) = model.get_weights()
    content = gone_wrong.causal_by_explicit_padding(kernel, 4)
    assert "LiteRT" in offer(model, content, depthwise_ops=1)


# 3
@pytest.mark.parametrize("layer", ["DepthwiseConv1D", "SeparableConv1D"])
def test_stride_together_with_dilation(tmp_path, layer):
    # TensorFlow computes it wrongly on CPU; Keras takes another way.
    arguments = {"kernel_size": 3, "strides": 2, "dilation_rate": 2}
    if layer == "SeparableConv1D":
        arguments["filters"] = 4
    keras_layer = getattr(keras.layers, layer)(**arguments)
    model = models.sequential((40, 4), keras_layer)
    result = tfconv_export.export(model, tmp_path / "model.tflite")
    assert result.operators["DEPTHWISE_CONV_2D"] == 1


@pytest.mark.filterwarnings("ignore:.*dilation rate is greater than 1")
def test_stride_together_with_dilation_in_a_saved_model(tmp_path):
    kernel = models.examples(3, 4, 1, count=1)

    @tf.function(input_signature=[tf.TensorSpec([None, 40, 4], name="audio")])
    def strided(audio):
        return tf.nn.depthwise_conv2d(
            audio[:, tf.newaxis],
            kernel,
            [1, 2, 2, 1],
            "VALID",
            dilations=[1, 2],
        )

    module = tf.Module()
    module.strided = strided
    saved = tmp_path / "saved_model"
    tf.saved_model.save(module, str(saved), strided)
    path = tmp_path / "model.tflite"
    with pytest.raises(tfconv_export.CheckError):
        tfconv_export.export(str(saved), path)
    assert not path.exists()


# 4
@pytest.mark.parametrize("quantize", ["int8", "int16x8"])
def test_representative_data_without_examples(tmp_path, quantize):
    with pytest.raises(tfconv_export.UsageError, match="no examples"):
        tfconv_export.export(
            models.network(),
            tmp_path / "model.tflite",
            quantize=quantize,
            representative_data=np.zeros((0, 40, 4)),
        )


@pytest.mark.parametrize("io_dtype", [None, "float32"])
@pytest.mark.parametrize("quantize", ["int8", "int16x8"])
def test_float_model_where_an_integer_one_was_asked_for(
    offer, convert, quantize, io_dtype
):
    model = models.network()
    content = convert(model)
    assert "integers only" in offer(
        model, content, quantize=quantize, io_dtype=io_dtype
    )


# 5
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("quantize", ["none", "int8", "int16x8"])
def test_representative_data_that_is_not_finite(tmp_path, quantize, value):
    data = models.DATA.copy()
    data[-1, -1, -1] = value
    with pytest.raises(tfconv_export.UsageError, match="NaN or infinite"):
        tfconv_export.export(
            models.network(),
            tmp_path / "model.tflite",
            quantize=quantize,
            representative_data=data,
        )


@pytest.mark.parametrize("quantize", ["none", "float16", "dynamic"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weight_that_is_not_finite(tmp_path, value, quantize):
    model = models.network()
    kernel = model.layers[0].get_weights()
    kernel[0][0, 0, 0] = value
    model.layers[0].set_weights(kernel)
    with pytest.raises(tfconv_export.CheckError):
        tfconv_export.export(
            model,
            tmp_path / "model.tflite",
            quantize=quantize,
            representative_data=models.DATA,
        )
    assert not list(tmp_path.iterdir())


# 6
@pytest.mark.parametrize("shape", [(40, 4), (1280, 4), (32, 4, 40), (32, 160)])
def test_examples_of_another_shape_that_could_be_reshaped(tmp_path, shape):
    with pytest.raises(tfconv_export.UsageError, match="first axis"):
        tfconv_export.export(
            models.network(),
            tmp_path / "model.tflite",
            quantize="int8",
            representative_data=models.DATA[:1280]
            .reshape(-1)[: np.prod(shape)]
            .reshape(shape),
        )


# 7
def test_dynamic_batch(offer):
    model = models.network()
    content = gone_wrong.with_a_dynamic_batch(model)
    assert "input and output" in offer(model, content)


def test_dilation_as_several_operators(offer):
    model = models.sequential(
        (40, 4),
        keras.layers.DepthwiseConv1D(
            3, padding="same", dilation_rate=4, name="scores"
        ),
    )
    content = gone_wrong.with_a_dynamic_batch(model)
    assert "SPACE_TO_BATCH_ND" in operators_in(content)
    assert "operators" in offer(model, content, depthwise_ops=1)


# 8
@pytest.mark.parametrize("quantize", ["int8", "dynamic", "none"])
def test_weights_in_int8_that_are_dequantized(offer, convert, quantize):
    model = models.network()
    content = gone_wrong.with_weights_only_in_int8(convert(model, "float16"))
    failed = offer(model, content, quantize=quantize, io_dtype="float32")
    assert "no stray QUANTIZE or DEQUANTIZE" in failed


# 9
@pytest.mark.parametrize("io_dtype", [None, "float32"])
def test_int16x8_with_a_bias_of_32_bits(offer, io_dtype):
    model = models.network()
    content = gone_wrong.int16x8(
        model,
        models.DATA,
        _experimental_full_integer_quantization_bias_type=tf.int32,
    )
    assert "integers only" in offer(
        model, content, quantize="int16x8", io_dtype=io_dtype
    )


# 10
def test_activation_ranges_that_leave_values_out(offer):
    # What a moving average of the ranges does to all but the first examples.
    model = models.sequential(
        (40, 4), tfconv.DepthwiseConv1D(3, use_bias=False, name="scores")
    )
    content = gone_wrong.int8(model, models.DATA / 32)
    assert "LiteRT" in offer(model, content, depthwise_ops=1, quantize="int8")


@pytest.mark.parametrize(
    ("quantize", "unit", "outlier", "place"),
    [
        ("int8", 1.0, 1e6, -1),
        ("int8", 1e-5, 1e3, -1),
        ("int16x8", 1e-5, 1e6, -1),
        ("int8", 1.0, 1e6, 0),
    ],
)
def test_activation_ranges_of_an_outlier(
    tmp_path, quantize, unit, outlier, place
):
    # A rounding step of a range that is so much too wide is not a small error,
    # in whatever unit, and the outlier's own power does not make up for it: of
    # all other examples the file computes nothing.
    model = models.sequential(
        (40, 4), tfconv.DepthwiseConv1D(3, use_bias=False)
    )
    model.set_weights([unit * model.get_weights()[0]])
    data = models.examples(40, 4, count=256)
    data[place] *= outlier
    path = tmp_path / "model.tflite"
    with pytest.raises(tfconv_export.CheckError):
        tfconv_export.export(
            model, path, quantize=quantize, representative_data=data
        )
    assert not path.exists()


# 11
def test_batch_of_one_that_was_frozen_by_a_call(tmp_path):
    model = keras.Sequential([tfconv.SeparableConv1D(6, 3)])
    model(np.zeros((1, 40, 4), np.float32))
    result = tfconv_export.export(
        model, tmp_path / "model.tflite", representative_data=models.DATA
    )
    assert result.examples == len(models.DATA)
    assert not result.failed


def test_dynamic_that_quantizes_nothing_is_warned_about(tmp_path):
    model = models.linear()
    result = tfconv_export.export(
        model, tmp_path / "small.tflite", quantize="dynamic"
    )
    assert any("no weights are quantized" in w for w in result.warnings)
    wide = models.sequential((20, 16), tfconv.SeparableConv1D(96, 9))
    result = tfconv_export.export(
        wide, tmp_path / "wide.tflite", quantize="dynamic"
    )
    assert result.warnings == ()


def test_layer_that_is_dead_on_the_data_is_warned_about(tmp_path):
    dead = keras.layers.Dense(6, activation="relu", name="dead")
    model = models.sequential(
        (40, 4),
        tfconv.SeparableConv1D(6, 3),
        keras.layers.GlobalAveragePooling1D(),
        dead,
        keras.layers.Dense(3, name="scores"),
    )
    dead.bias.assign(-1e3 * np.ones(6))
    try:
        result = tfconv_export.export(
            model,
            tmp_path / "model.tflite",
            quantize="int8",
            representative_data=models.DATA,
        )
    except tfconv_export.CheckError as error:
        result = error.result
    assert any("layer dead computes 0" in w for w in result.warnings)


def test_loop_that_the_converter_cannot_quantize_is_named(tmp_path):
    def network(**options):
        return models.sequential((40, 4), keras.layers.GRU(4, **options))

    data = {"quantize": "int8", "representative_data": models.DATA}
    with pytest.raises(tfconv_export.CheckError, match="unroll=True"):
        tfconv_export.export(network(), tmp_path / "a.tflite", **data)
    tfconv_export.export(network(unroll=True), tmp_path / "b.tflite", **data)
    tfconv_export.export(network(), tmp_path / "c.tflite", quantize="dynamic")


class Sine(keras.layers.Layer):
    """A layer that TFLite computes in float only."""

    def call(self, inputs):
        return keras.ops.sin(inputs)


def test_operator_in_float_is_named_with_its_layer_and_the_remedy(tmp_path):
    model = models.sequential(
        (40, 4),
        tfconv.SeparableConv1D(6, 3),
        Sine(name="soft"),
        tfconv.SeparableConv1D(6, 3),
    )
    data = {"quantize": "int8", "representative_data": models.DATA}
    path = tmp_path / "model.tflite"
    with pytest.raises(tfconv_export.CheckError) as caught:
        tfconv_export.export(model, path, **data)
    (check,) = [c for c in caught.value.result.failed if "only" in c.name]
    assert "of soft computes in float" in check.detail
    assert "--float_layers='soft'" in check.detail
    result = tfconv_export.export(model, path, float_layers=["soft"], **data)
    assert result.float_layers == ("soft",)
