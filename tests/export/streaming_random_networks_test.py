"""Whatever network is streamed: the file gives what whole windows give.

Networks are drawn at random. Integer files are held to the integer file for
whole windows, in every bit and on every runtime; float files to the Keras
model. The interpreters are run here, not by the exporter.
"""

import functools
import math
import pathlib
import tempfile

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

import tfconv
import tfconv_export
from tests.export import closeness
from tests.export import models
from tests.export import streamed
from tfconv_export.streaming_variables import with_variables

LAYERS = keras.layers
CONVOLUTIONS = {
    "Conv1D": functools.partial(LAYERS.Conv1D, 4),
    "DepthwiseConv1D": tfconv.DepthwiseConv1D,
    "multiplied": functools.partial(tfconv.DepthwiseConv1D, depth_multiplier=2),
    "SeparableConv1D": functools.partial(tfconv.SeparableConv1D, 5),
}
ACTIVATIONS = ["linear", "relu", "relu", "relu6", "tanh", "sigmoid"]
HEADS = {
    "none": [],
    "dense over time": [lambda: LAYERS.Dense(3)],
    "average": [LAYERS.GlobalAveragePooling1D],
    "average, dense": [
        LAYERS.GlobalAveragePooling1D,
        lambda: LAYERS.Dense(3),
    ],
    "maximum, dense": [LAYERS.GlobalMaxPooling1D, lambda: LAYERS.Dense(3)],
    "flatten, dense": [LAYERS.Flatten, lambda: LAYERS.Dense(3)],
}
# What a file of integers may be refused for: the converter did not fuse the
# layers of both files alike, or two layers do the same to the same tensor.
REFUSED = "no counterpart|cannot be told apart"
HOPS = 6


def convolve(draw, x, padding, kinds=tuple(CONVOLUTIONS), strides=None):
    """A convolution, perhaps normalized, and its activation."""
    if strides is None:
        strides = draw(st.sampled_from([1, 1, 2, 3]))
    dilation = 1 if strides > 1 else draw(st.integers(1, 3))
    taps = draw(st.integers(1, 5))
    if padding == "valid":
        hypothesis.assume(x.shape[1] > dilation * (taps - 1))
    normalize = draw(st.booleans())
    x = CONVOLUTIONS[draw(st.sampled_from(kinds))](
        kernel_size=taps,
        strides=strides,
        dilation_rate=dilation,
        padding=padding,
        use_bias=not normalize or draw(st.booleans()),
    )(x)
    if normalize:
        x = LAYERS.BatchNormalization()(x)
    return LAYERS.Activation(draw(st.sampled_from(ACTIVATIONS)))(x)


def residual(draw, x, padding):
    y = convolve(draw, x, padding, ("DepthwiseConv1D",), strides=1)
    missing = x.shape[1] - y.shape[1]
    if missing:
        right = draw(st.integers(0, missing))
        x = LAYERS.Cropping1D((missing - right, right))(x)
    join = LAYERS.Concatenate if draw(st.booleans()) else LAYERS.Add
    return LAYERS.ReLU()(join()([y, x]))


def pool(draw, x, padding):
    size = draw(st.integers(2, 3))
    hypothesis.assume(padding == "valid" and x.shape[1] >= size)
    kind = draw(st.sampled_from([LAYERS.MaxPooling1D, LAYERS.AveragePooling1D]))
    return kind(size, strides=draw(st.integers(1, 3)))(x)


def network(draw, quantize):
    """A model with random weights, and a hop."""
    padding = draw(st.sampled_from(["valid", "valid", "causal"]))
    inputs = x = keras.Input(
        (draw(st.integers(12, 40)), draw(st.integers(1, 4))), name="audio"
    )
    x = convolve(draw, x, padding)
    for _ in range(draw(st.integers(0, 2))):
        kinds = [convolve, residual, pool][: 3 if padding == "valid" else 2]
        x = draw(st.sampled_from(kinds))(draw, x, padding)
    heads = [*HEADS]
    if quantize == "int16x8":
        heads.remove("maximum, dense")  # TFLite Micro has none of int16
    for layer in HEADS[draw(st.sampled_from(heads))]:
        x = layer()(x)
    model = keras.Model(inputs, LAYERS.Identity(name="scores")(x))
    stride = math.prod(
        layer.strides[0] for layer in model.layers if hasattr(layer, "strides")
    )
    window = inputs.shape[1]
    hypothesis.assume(stride <= window)
    hops = range(stride, min(window, 4 * stride) + 1, stride)
    if padding == "causal":
        # Only the window since the reset is promised: it must be of hops.
        hops = [hop for hop in hops if window % hop == 0]
    hypothesis.assume(hops)
    models.randomize(model)
    hypothesis.assume(is_alive(model))
    return model, draw(st.sampled_from(hops))


def is_alive(model):
    """Whether no layer gives zeros only: its scale would be next to nothing.

    Kernels refuse such a file, that for whole windows too.
    """
    layers = keras.Model(model.input, [x.output for x in model.layers[1:]])
    made = layers(calibration_data(model), training=False)
    return all(np.abs(values).max() > 0.01 for values in made)


def calibration_data(model):
    window, channels = model.input_shape[1:]
    data = streamed.signal(12 * window, channels, seed=1)
    return data.reshape(12, window, channels)


def export(model, hop, quantize):
    """The plan, and three files: states outside, inside, whole windows."""
    with tempfile.TemporaryDirectory() as folder:
        result = tfconv_export.export_streaming(
            model,
            pathlib.Path(folder, "stream.tflite"),
            hop,
            quantize=quantize,
            representative_data=calibration_data(model),
            also_whole=pathlib.Path(folder, "whole.tflite"),
        )
        outside, whole = (
            pathlib.Path(path).read_bytes()
            for path in (result.output, result.whole.output)
        )
    return result.plan, outside, with_variables(outside, result.states), whole


def streams(plan, outside, inside, runtime, channels):
    """Signals, and for each the outputs of every hop, states out- and inside.

    The file that holds its states is reset before all signals but the first.
    """
    frames = plan.hop * (plan.hops_until_full + HOPS)
    signals = [streamed.signal(frames, channels)]
    if not plan.every_hop:
        frames = plan.hop * plan.hops_until_full
        signals = [
            streamed.signal(frames, channels, seed) for seed in range(HOPS)
        ]
    first, second = (streamed.File(file, runtime) for file in (outside, inside))
    states = streamed.held(outside)
    for number, signal in enumerate(signals):
        if number and states:
            second.reset()
        yield (
            signal,
            list(streamed.stream(first, states, plan.hop, signal)),
            list(streamed.stream(second, (), plan.hop, signal)),
        )


def compared(plan, signal, outputs, of_window):
    """At every full window, what the stream gave, and what it is to give."""
    for number, given in enumerate(outputs, 1):
        if number < plan.hops_until_full:
            continue
        end = number * plan.hop
        expected = of_window(signal[:, end - plan.window : end])
        for name, value in given.items():
            wanted = np.asarray(expected[name])
            if wanted.ndim == 3:
                # A short window has fewer frames left than a hop makes.
                frames = min(value.shape[1], wanted.shape[1])
                value, wanted = value[:, -frames:], wanted[:, -frames:]
            yield value, wanted


def check(model, hop, quantize):
    """Holds if the files are right; returns whether there was much to see."""
    channels = model.input_shape[-1]
    plan, outside, inside, whole = export(model, hop, quantize)
    changes = True
    for runtime in streamed.RUNTIMES:
        if quantize == "none":

            def of_window(window):
                return {"scores": models.outputs_of(model, window)}
        else:
            file = streamed.File(whole, runtime)

            def of_window(window, file=file):
                return file.run(audio=file.stored(window, "audio"))

        pairs = []
        for signal, outer, inner in streams(
            plan, outside, inside, runtime, channels
        ):
            streamed.assert_same(inner, outer)
            pairs.extend(compared(plan, signal, inner, of_window))
        assert len(pairs) >= HOPS
        found, expected = map(np.stack, zip(*pairs, strict=True))
        changes &= len(np.unique(expected)) > 2
        assert found.shape == expected.shape
        assert np.isfinite(expected).all()
        if quantize == "none":
            scale = max(1.0, np.abs(expected).max())
            error = np.abs(found - expected).max()
            # float32's, of sums in another order.
            assert error <= closeness.MAX_FLOAT32_ERROR * scale
        else:
            assert found.dtype == expected.dtype
            assert found.dtype == quantize.removesuffix("x8")
            np.testing.assert_array_equal(found, expected)
    return changes


def settings(examples):
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        # To make a failing network smaller takes many exports more.
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@hypothesis.given(st.data())
@settings(4)
def test_float_files_are_the_trained_model(data):
    check(*network(data.draw, "none"), "none")


@hypothesis.given(st.data())
@settings(11)
def test_integer_files_are_the_whole_one_in_every_bit(data):
    quantize = data.draw(st.sampled_from(["int8", "int8", "int16x8"]))
    model, hop = network(data.draw, quantize)
    try:
        hypothesis.assume(check(model, hop, quantize))
    except tfconv_export.CheckError as error:
        hypothesis.event("refused")
        with pytest.raises(tfconv_export.CheckError, match=REFUSED):
            raise error
        hypothesis.reject()


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_hop_may_make_more_frames_than_a_window_has_left(quantize):
    inputs = x = keras.Input((21, 4), name="audio")
    for dilation in (1, 3):
        x = LAYERS.Conv1D(4, 5, dilation_rate=dilation, activation="relu")(x)
    x = tfconv.DepthwiseConv1D(4, name="scores")(x)
    model = models.randomize(keras.Model(inputs, x))
    assert model.output_shape[1] == 2
    assert check(model, 3, quantize)
