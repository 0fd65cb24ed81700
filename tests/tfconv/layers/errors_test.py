"""What the layers refuse: in the words of Keras where Keras refuses it."""

import re

import keras
import numpy as np
import pytest

import tfconv
from tests.tfconv.layers.twins import CHANNELS
from tests.tfconv.layers.twins import STEPS
from tests.tfconv.layers.twins import each_layer
from tests.tfconv.layers.twins import inputs
from tests.tfconv.layers.twins import kerass
from tests.tfconv.layers.twins import ours


def refusal(attempt):
    with pytest.raises(ValueError) as error:
        attempt()
    return str(error.value)


def refusals(attempt):
    """What our layer says of an attempt, and what its twin says."""
    return refusal(lambda: attempt(ours)), refusal(lambda: attempt(kerass))


@each_layer
@pytest.mark.parametrize(
    "arguments",
    [
        {"depth_multiplier": 0},
        {"depth_multiplier": -2},
        {"kernel_size": 0},
        {"kernel_size": -1},
        {"kernel_size": (0,)},
        {"kernel_size": (3, 3)},
        {"kernel_size": ()},
        {"strides": 0},
        {"strides": -1},
        {"strides": [1, 1]},
        {"dilation_rate": 0},
        {"dilation_rate": (1, 2)},
        {"unknown": 1},
        {"activation": "unknown"},
        {"depthwise_initializer": "unknown"},
        {"bias_regularizer": "unknown"},
        {"depthwise_constraint": "unknown"},
    ],
    ids=str,
)
def test_an_argument_is_refused_in_kerass_words(layer_name, arguments):
    our_words, keras_words = refusals(
        lambda make: make(layer_name, **arguments)
    )
    assert our_words == keras_words


@each_layer
@pytest.mark.parametrize(
    "name", ["kernel_size", "strides", "dilation_rate", "depth_multiplier"]
)
def test_sizes_beyond_32_bits_are_refused_showing_them(layer_name, name):
    # TensorFlow would end the process when the layer is called.
    said = refusal(lambda: ours(layer_name, **{name: 2**31}))
    assert said == (
        f"Invalid value for argument `{name}`. Expected at most 2147483647. "
        f"Received {name}=2147483648."
    )


@pytest.mark.parametrize("filters", [0, -3])
def test_filters_are_refused_in_kerass_words(filters):
    our_words, keras_words = refusals(
        lambda make: make("SeparableConv1D", filters=filters)
    )
    assert our_words == keras_words


def test_the_issues_example_of_the_wording():
    assert refusal(lambda: tfconv.DepthwiseConv1D(3, depth_multiplier=0)) == (
        "Invalid value for argument `depth_multiplier`. Expected a strictly "
        "positive value. Received depth_multiplier=0."
    )


@each_layer
@pytest.mark.parametrize("name", ["kernel_size", "strides", "dilation_rate"])
@pytest.mark.parametrize("value", [2.0, 1.5, "2", None, (1.5,), (None,)])
def test_sizes_that_are_no_integers_are_refused(layer_name, name, value):
    assert refusal(lambda: ours(layer_name, **{name: value})).startswith(
        f"The `{name}` argument must be a tuple of 1 integers. "
        f"Received {name}={value}"
    )


@pytest.mark.parametrize("value", [None, 1.5, "2", (2,)])
def test_counts_that_are_no_integers_are_refused(value):
    for name in ("filters", "depth_multiplier"):
        assert f"{name}={value}" in refusal(
            lambda name=name: ours("SeparableConv1D", **{name: value})
        )


@each_layer
@pytest.mark.parametrize("padding", ["full", "", "circular"])
def test_an_unknown_padding_is_refused_listing_the_known_ones(
    layer_name, padding
):
    our_words, keras_words = refusals(
        lambda make: make(layer_name, padding=padding)
    )
    start = "The `padding` argument must be "
    assert our_words.startswith(start)
    assert keras_words.startswith(start)
    # In a fixed order, where Keras prints a set; and causal with them.
    assert "('valid', 'same', 'causal')" in our_words
    assert padding in our_words


@each_layer
@pytest.mark.parametrize("padding", [2, None, ("same",)])
def test_a_padding_that_is_no_string_is_refused(layer_name, padding):
    words = refusal(lambda: ours(layer_name, padding=padding))
    assert "('valid', 'same', 'causal')" in words
    assert repr(padding) in words


def test_kerass_documentation_example_is_refused_naming_the_argument():
    """Its third positional argument is not the depth multiplier."""
    words = refusal(lambda: tfconv.DepthwiseConv1D(3, 3, 2, activation="relu"))
    assert "`padding`" in words
    assert "2" in words
    assert "depth_multiplier" in words


@each_layer
def test_an_unknown_data_format_is_refused_in_kerass_words(layer_name):
    our_words, keras_words = refusals(
        lambda make: make(layer_name, data_format="channels")
    )
    # Keras prints a set, whose order changes from run to run.
    neutral = re.compile(r"[({]'channels_(first|last)', '\w+'[)}]")
    assert neutral.sub("...", our_words) == neutral.sub("...", keras_words)
    assert "('channels_first', 'channels_last')" in our_words


@each_layer
def test_strides_with_dilation_are_refused_naming_both(layer_name):
    words = refusal(lambda: ours(layer_name, strides=2, dilation_rate=[3]))
    assert words.startswith(
        "`strides > 1` not supported in conjunction with `dilation_rate > 1`"
    )
    assert "strides=(2,)" in words
    assert "dilation_rate=(3,)" in words


@each_layer
@pytest.mark.parametrize("shape", [(5,), (5, 3, 2, 2)], ids=str)
def test_inputs_of_another_rank_are_refused(layer_name, shape):
    for call in (
        lambda layer: layer(inputs(2, *shape)),
        lambda layer: layer(keras.Input(shape)),
        lambda layer: layer.compute_output_shape((2, *shape)),
        lambda layer: layer.build((2, *shape)),
    ):
        layer = ours(layer_name)
        words = refusal(lambda call=call, layer=layer: call(layer))
        assert "ndim" in words or str((2, *shape)) in words
        assert not layer.weights


@each_layer
def test_inputs_of_too_small_a_rank_are_refused_in_kerass_words(layer_name):
    for x in (np.ones([2, 5]), keras.Input([5])):
        our_words, keras_words = refusals(
            lambda make, x=x: make(layer_name, name="layer")(x)
        )
        assert our_words == keras_words


@each_layer
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_another_number_of_channels_is_refused_in_kerass_words(
    layer_name, data_format
):
    built_for, other = (STEPS, CHANNELS), (STEPS, CHANNELS + 1)
    if data_format == "channels_first":
        built_for, other = built_for[::-1], other[::-1]

    def attempt(make, x):
        layer = make(layer_name, data_format=data_format, name="layer")
        layer.build((None, *built_for))
        return layer(x)

    for x in (inputs(2, *other), keras.Input(other)):
        our_words, keras_words = refusals(lambda make, x=x: attempt(make, x))
        assert our_words == keras_words


@each_layer
def test_an_unknown_number_of_channels_is_refused(layer_name):
    assert "should be defined" in refusal(
        lambda: ours(layer_name)(keras.Input([STEPS, None]))
    )


def template(words):
    """An error's words without its numbers: (1,), [1] and 1 alike."""
    return re.sub(r"[(\[]?\bNone\b|[(\[]*\d+,?[)\]]*", "#", words)


@each_layer
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 5},
        {"kernel_size": 3, "dilation_rate": 2},
        {"kernel_size": 5, "strides": 2, "depth_multiplier": 3},
    ],
    ids=str,
)
def test_too_few_steps_are_refused_in_kerass_words(
    layer_name, arguments, data_format
):
    shape = (4, CHANNELS)
    if data_format == "channels_first":
        shape = shape[::-1]
    for attempt in (
        lambda layer: layer(inputs(2, *shape)),
        lambda layer: layer(keras.Input(shape)),
        lambda layer: layer.build((None, *shape)),
        lambda layer: layer.compute_output_shape((None, *shape)),
    ):
        our_words, keras_words = refusals(
            lambda make, attempt=attempt: attempt(
                make(layer_name, data_format=data_format, **arguments)
            )
        )
        assert template(our_words) == template(keras_words)
        # The shape as it was given, in the layer's data format.
        received = re.compile(r"`inputs shape=(.*?)`")
        assert received.findall(our_words) == received.findall(keras_words)


@each_layer
def test_too_few_steps_are_refused_after_building_for_enough(layer_name):
    layer = ours(layer_name, kernel_size=5)
    layer(inputs())
    for x in (inputs(2, 4, CHANNELS), keras.Input([4, CHANNELS])):
        assert "Computed output size would be zero or negative" in refusal(
            lambda x=x: layer(x)
        )


@each_layer
def test_a_refused_build_leaves_the_layer_free_to_be_built(layer_name):
    layer = ours(layer_name, kernel_size=5)
    refusal(lambda: layer(inputs(2, 4, CHANNELS)))
    assert layer(inputs()).shape[1] == STEPS - 4
    assert len(layer.weights) == len([w for w in layer.get_weights() if w.size])


@each_layer
def test_integer_inputs_are_refused_naming_the_dtype(layer_name):
    layer = ours(layer_name)
    assert "int32" in refusal(lambda: layer(np.ones([2, 9, 3], np.int32)))
