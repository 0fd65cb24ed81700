"""Random networks: each streams as planned, or says why it cannot."""

import math

import hypothesis
import keras
import pytest
from hypothesis import strategies as st

import tfconv
from tests.tfconv.streaming.whole_windows import assert_equal_to_windows

LAYERS = keras.layers
CONVOLUTIONS = {
    "Conv1D": lambda **arguments: LAYERS.Conv1D(3, **arguments),
    "DepthwiseConv1D": lambda **arguments: tfconv.DepthwiseConv1D(
        depth_multiplier=2, **arguments
    ),
    "SeparableConv1D": lambda **arguments: tfconv.SeparableConv1D(
        3, **arguments
    ),
    "Keras's DepthwiseConv1D": lambda **arguments: LAYERS.DepthwiseConv1D(
        **arguments
    ),
    "Keras's SeparableConv1D": lambda **arguments: LAYERS.SeparableConv1D(
        3, **arguments
    ),
}
BLOCKS = [*CONVOLUTIONS, "residual", "pool", "normalize", "crop", "pad"]
HEADS = {
    "none": [],
    "average": [LAYERS.GlobalAveragePooling1D],
    "dense": [LAYERS.Flatten, lambda: LAYERS.Dense(2)],
}


def convolve(draw, x, padding, strides=None):
    if strides is None:
        strides = draw(st.sampled_from([1, 1, 2, 3]))
    dilation = 1 if strides > 1 else draw(st.integers(1, 2))
    taps = draw(st.integers(1, 4))
    kind = draw(st.sampled_from(list(CONVOLUTIONS)))
    if kind.startswith("Keras") and padding == "causal":
        kind = "Conv1D"  # the one of Keras's that can be causal
    if padding == "valid":
        hypothesis.assume(x.shape[1] > dilation * (taps - 1))
    return CONVOLUTIONS[kind](
        kernel_size=taps,
        strides=strides,
        dilation_rate=dilation,
        padding=padding,
    )(x)


def block(draw, x, padding):
    kind = draw(st.sampled_from(BLOCKS))
    if kind in CONVOLUTIONS:
        return convolve(draw, x, padding)
    if kind == "residual":
        y = convolve(draw, x, padding, strides=1)
        missing = x.shape[1] - y.shape[1]
        right = draw(st.integers(0, missing))
        if right:
            # The stream of y is delayed too, by what it does not need.
            x = LAYERS.Cropping1D((missing - right, right))(x)
        else:
            x = x[:, missing:]
        return LAYERS.Concatenate()([LAYERS.ReLU()(y), x])
    if kind == "pool":
        size = draw(st.integers(1, 3))
        hypothesis.assume(x.shape[1] >= size)
        pool = draw(
            st.sampled_from([LAYERS.MaxPooling1D, LAYERS.AveragePooling1D])
        )
        return pool(size, strides=draw(st.integers(1, 3)))(x)
    if kind == "normalize":
        x = LAYERS.BatchNormalization()(x)
        return LAYERS.Dropout(0.5)(LAYERS.Activation("tanh")(x))
    if kind == "crop":
        left, right = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        hypothesis.assume(x.shape[1] > left + right)
        return LAYERS.Cropping1D((left, right))(x)
    if padding == "valid":
        return LAYERS.LayerNormalization()(x)
    return LAYERS.ZeroPadding1D((draw(st.integers(0, 2)), 0))(x)


def network(draw, padding):
    """A model and a hop that its total stride divides."""
    window = draw(st.integers(12, 36))
    inputs = x = keras.Input((window, draw(st.integers(1, 3))))
    for _ in range(draw(st.integers(1, 4))):
        one = padding
        if padding == "mixed":
            one = draw(st.sampled_from(["valid", "causal"]))
        x = block(draw, x, one)
    for layer in HEADS[draw(st.sampled_from(list(HEADS)))]:
        x = layer()(x)
    model = keras.Model(inputs, x)
    stride = math.prod(
        layer.strides[0] for layer in model.layers if hasattr(layer, "strides")
    )
    hypothesis.assume(stride <= window)
    hops = range(stride, window + 1, stride)
    # Half of the time one that divides the window, if there is any.
    divisors = [hop for hop in hops if window % hop == 0]
    if divisors and draw(st.booleans()):
        hops = divisors
    return model, draw(st.sampled_from(hops))


def settings(examples):
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        # Shrinking networks takes minutes; the example is small as it is.
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@hypothesis.given(st.data())
@settings(50)
def test_without_padding_every_hop_is_the_window_that_ends_there(data):
    model, hop = network(data.draw, "valid")
    plan = assert_equal_to_windows(model, hop)
    assert plan.every_hop


@hypothesis.given(st.data())
@settings(50)
def test_causal_ones_are_equal_where_promised_or_refused(data):
    model, hop = network(data.draw, "causal")
    check_streams_or_says_why(model, hop)


@hypothesis.given(st.data())
@settings(70)
def test_mixed_ones_are_equal_where_promised_or_refused(data):
    model, hop = network(data.draw, "mixed")
    check_streams_or_says_why(model, hop)


def check_streams_or_says_why(model, hop):
    try:
        tfconv.streaming.plan(model, hop)
    except ValueError as error:
        hypothesis.event("refused")
        with pytest.raises(ValueError, match="zeros of padding"):
            raise error
        assert_equal_to_windows(model, hop, fallback="buffer")
    else:
        hypothesis.event("streams")
        assert_equal_to_windows(model, hop)
