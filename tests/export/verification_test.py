"""Each check fails when it should, and then nothing is written.

A converter that makes something else than was asked for, without an error, is
put in the place of the exporter's own (`offer`).
"""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
import tfconv_export
from tests.export import gone_wrong
from tests.export import models
from tfconv_export import agreement
from tfconv_export import conversion
from tfconv_export import flatbuffer
from tfconv_export import result


def test_whole_file_is_written(offer, convert):
    model = models.network()
    content, quantized = convert(model), convert(model, "int8")
    assert offer(model, content) == set()
    assert offer(model, quantized, quantize="int8", overwrite=True) == set()


def test_weights_of_another_training(offer, convert):
    model = models.network()
    other = models.randomize(models.network(), seed=5)
    assert "LiteRT" in offer(model, convert(other))


@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_convolution_shifted_by_one_step(offer, convert, quantize):
    data = models.examples(40, 4, count=32)
    model = models.sequential(
        (40, 4), tfconv.DepthwiseConv1D(2, padding="same", name="scores")
    )
    shifted = models.sequential(
        (40, 4), tfconv.DepthwiseConv1D(2, padding="causal", name="scores")
    )
    shifted.set_weights(model.get_weights())
    content = convert(shifted, quantize, representative_data=data)
    failed = offer(model, content, depthwise_ops=1, quantize=quantize)
    assert "LiteRT" in failed


@pytest.mark.parametrize(
    ("share_of_range", "accepted"), [(0.5e-4, True), (2e-4, False)]
)
def test_float32_may_err_by_a_ten_thousandth_of_the_range(
    offer, convert, share_of_range, accepted
):
    model, other = models.linear(), models.linear()
    data = models.examples(20, 4)
    kernel, bias = model.get_weights()
    bias[0] += share_of_range * np.ptp(models.outputs_of(model, data))
    other.set_weights([kernel, bias])
    content = convert(other, representative_data=data)
    failed = offer(model, content, 1, representative_data=data)
    assert failed == (set() if accepted else {"LiteRT"})


def test_output_that_is_not_a_number(offer, convert):
    model = models.linear()
    content = bytearray(convert(model, representative_data=None))
    _, bias = model.get_weights()
    assert content.count(bias.tobytes()) == 1
    where = content.index(bias.tobytes())
    content[where : where + 4] = np.float32(np.nan).tobytes()
    failed = offer(model, bytes(content), 1, representative_data=None)
    assert failed == {"LiteRT"}


@pytest.mark.parametrize("quantize", conversion.IO_DTYPES)
@pytest.mark.parametrize(
    "flaw",
    [
        {"finite": False},
        {"max_error": np.nan, "relative_error": np.nan, "sqnr_db": np.nan},
        {
            "max_error": np.nan,
            "relative_error": np.nan,
            "median_sqnr_db": np.nan,
        },
    ],
)
def test_no_agreement_that_is_not_a_number_passes(quantize, flaw):
    good = result.Agreement(
        runtime="LiteRT",
        output="scores",
        examples=1,
        max_error=0.0,
        relative_error=0.0,
        sqnr_db=120.0,
        median_sqnr_db=120.0,
        finite=True,
    )
    bad = dataclasses.replace(good, **flaw)
    recipe = conversion.Recipe(quantize)
    assert agreement.judge([good], recipe)[0].passed
    assert not agreement.judge([bad], recipe)[0].passed
    # Nor does it with a good one on other data, whichever comes first.
    other = dataclasses.replace(good, data="evaluation")
    assert agreement.judge([good, other], recipe)[0].passed
    assert not agreement.judge([other, bad], recipe)[0].passed
    assert not agreement.judge([bad, other], recipe)[0].passed


def measured_at(runtime: str, sqnr_db: float) -> result.Agreement:
    return result.Agreement(
        runtime=runtime,
        output="scores",
        examples=1,
        max_error=1.0,
        relative_error=1.0,
        sqnr_db=sqnr_db,
        median_sqnr_db=sqnr_db,
        finite=True,
    )


def test_runtimes_that_disagree_are_told_and_the_data_is_not_blamed():
    output = flatbuffer.TensorFacts("scores", (1, 4), "int8", False)
    facts = flatbuffer.Facts(0, (), (output,), (output,))
    recipe = conversion.Recipe("int8")
    measured = {"LiteRT xnnpack": 41.0, "TFLite Micro": -7.0}
    agreements = [measured_at(*item) for item in measured.items()]
    good, bad = agreement.judge(agreements, recipe, facts=facts)
    assert good.passed
    assert not bad.passed
    assert "LiteRT xnnpack (41.0 dB)" in bad.detail
    assert "representative data" not in bad.detail
    # Where all compute noise, it may be the data.
    agreements = [measured_at(name, 3.0) for name in measured]
    for check in agreement.judge(agreements, recipe, facts=facts):
        assert "representative data" in check.detail


def test_layer_that_xnnpack_cannot_scale_is_named(tmp_path):
    inputs = keras.Input((40, 4), name="audio")
    dead = keras.layers.Conv1D(4, 3, activation="relu", name="dead")
    x = keras.layers.Conv1D(4, 1)(dead(inputs))
    x = keras.layers.Concatenate()([x, keras.layers.Conv1D(4, 3)(inputs)])
    model = models.randomize(keras.Model(inputs, {"scores": x}))
    kernel, bias = dead.get_weights()
    dead.set_weights([100 * kernel, bias - 10_000])
    arguments = {
        "model": model,
        "output": tmp_path / "model.tflite",
        "quantize": "int8",
        "representative_data": models.DATA,
    }
    with pytest.raises(tfconv_export.CheckError) as error:
        tfconv_export.export(**arguments)
    (check,) = error.value.result.failed
    assert check.name == "runs on LiteRT xnnpack"
    assert "layer dead, which computes 0 everywhere" in check.detail
    assert tfconv_export.export(**arguments, float_layers=["dead"]).warnings


def test_depthwise_weights_with_one_scale_for_all_channels(offer):
    model = models.network()
    content = gone_wrong.int8(
        model, models.DATA, _experimental_disable_per_channel=True
    )
    assert offer(model, content, quantize="int8") == {
        "depthwise weights per channel"
    }


def test_depthwise_weights_with_scales_on_another_axis(offer, convert):
    model = models.network()
    content = convert(model, "int8")
    turned = gone_wrong.edited(content, _scales_on_axis_two)
    failed = offer(model, turned, quantize="int8")
    assert "depthwise weights per channel" in failed


def _scales_on_axis_two(main, _):
    turned = 0
    for tensor in main.tensors:
        quantization = tensor.quantization
        if quantization is not None and quantization.quantizedDimension == 3:
            quantization.quantizedDimension = 2
            turned += 1
    assert turned == 2


@pytest.mark.parametrize(
    ("made", "asked"),
    [
        ("int8", "uint8"),
        ("int8", "float32"),
        ("uint8", "int8"),
        ("float32", "int8"),
    ],
)
def test_io_of_another_dtype(offer, convert, made, asked):
    model = models.network()
    content = convert(model, "int8", io_dtype=made)
    failed = offer(model, content, quantize="int8", io_dtype=asked)
    assert "input and output" in failed


def test_operator_in_the_middle_that_computes_in_float(offer):
    model = models.sequential(
        (40, 4),
        tfconv.SeparableConv1D(8, 3, activation="elu"),
        tfconv.DepthwiseConv1D(3, name="scores"),
    )
    content = gone_wrong.int8_or_float(model, models.DATA)
    failed = offer(model, content, quantize="int8", io_dtype="float32")
    assert "no stray QUANTIZE or DEQUANTIZE" in failed
    assert "integers only" in failed


@pytest.mark.parametrize("by", ["with_select_ops", "with_custom_ops"])
def test_operator_that_tflite_does_not_have(offer, by):
    model = models.sequential((4, 4), tfconv.DepthwiseConv1D(3, name="scores"))
    content = getattr(gone_wrong, by)(
        lambda audio: {"scores": tf.linalg.det(audio)},
        tf.TensorSpec((1, 4, 4)),
    )
    failed = offer(model, content, 1, representative_data=None)
    assert "operators" in failed
    assert "LiteRT" in failed


def test_convolution_that_vanished(offer, convert):
    model = models.network()
    assert "depthwise convolutions" in offer(
        model, convert(model), depthwise_ops=3
    )


@pytest.fixture(scope="module")
def every_mode(convert):
    """A model, its data, and a function from a mode to its file.

    The files have float32 at both ends: the interface does not give the mode
    away. The model has weights enough for every mode to quantize them.
    """
    layers = tfconv.SeparableConv1D(16, 9), tfconv.DepthwiseConv1D(3)
    model = models.sequential((40, 128), *layers)
    data = models.examples(40, 128, count=8)

    @functools.cache
    def file_of(quantize):
        return convert(
            model, quantize, io_dtype="float32", representative_data=data
        )

    return model, data, file_of


@pytest.mark.parametrize("asked", conversion.IO_DTYPES)
@pytest.mark.parametrize("made", conversion.IO_DTYPES)
def test_file_of_another_mode_is_not_written(offer, every_mode, made, asked):
    model, data, file_of = every_mode
    failed = offer(
        model,
        file_of(made),
        quantize=asked,
        io_dtype="float32",
        representative_data=data,
    )
    assert (not failed) == (made == asked)
