"""Shapes: computed, symbolic, of unknown batch and steps, and very short."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tfconv.layers.twins import CHANNELS
from tests.tfconv.layers.twins import ROUNDING
from tests.tfconv.layers.twins import STEPS
from tests.tfconv.layers.twins import both
from tests.tfconv.layers.twins import each_layer
from tests.tfconv.layers.twins import inputs
from tests.tfconv.layers.twins import ours
from tests.tfconv.layers.twins import randomize

STEPPINGS = [(1, 1), (2, 1), (3, 1), (1, 2), (1, 4)]


@each_layer
@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_computed_shape_is_the_symbolic_and_the_real_one(
    layer_name, padding, data_format
):
    for strides, dilation_rate in STEPPINGS:
        layer = ours(
            layer_name,
            padding=padding,
            data_format=data_format,
            strides=strides,
            dilation_rate=dilation_rate,
            depth_multiplier=2,
        )
        for steps in (9, 10, 11):
            shape = (steps, CHANNELS)
            if data_format == "channels_first":
                shape = shape[::-1]
            computed = layer.compute_output_shape((None, *shape))
            assert layer(keras.Input(shape)).shape == computed
            assert layer(inputs(2, *shape)).shape == (2, *computed[1:])


@each_layer
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_computed_shape_is_the_twins(layer_name, padding, data_format):
    for (strides, dilation_rate), batch, steps in itertools.product(
        STEPPINGS, (None, 2), (None, 9, 10, 11)
    ):
        layer, twin = both(
            layer_name,
            padding=padding,
            data_format=data_format,
            strides=strides,
            dilation_rate=dilation_rate,
            depth_multiplier=2,
        )
        shape = (batch, steps, CHANNELS)
        if data_format == "channels_first":
            shape = (batch, CHANNELS, steps)
        computed = layer.compute_output_shape(shape)
        assert computed == twin.compute_output_shape(shape)
        assert isinstance(computed, tuple)
        assert layer.compute_output_shape(list(shape)) == computed


@each_layer
def test_what_is_unknown_of_the_input_is_unknown_of_the_output(layer_name):
    layer = ours(layer_name, padding="causal", strides=2)
    channels = layer.compute_output_shape((4, 9, CHANNELS))[2]
    for shape, expected in (
        ((None, 9, CHANNELS), (None, 5, channels)),
        ((4, None, CHANNELS), (4, None, channels)),
        ((None, None, CHANNELS), (None, None, channels)),
    ):
        assert layer.compute_output_shape(shape) == expected
    assert layer(keras.Input([None, CHANNELS])).shape == (None, None, channels)


@each_layer
@pytest.mark.parametrize(
    "padding, data_format",
    [
        ("valid", "channels_last"),
        ("valid", "channels_first"),
        ("same", "channels_first"),
        ("causal", "channels_last"),
    ],
)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_model_of_unknown_steps_computes_what_a_layer_does(
    layer_name, padding, data_format, jit_compile
):
    layer = ours(
        layer_name, padding=padding, data_format=data_format, depth_multiplier=2
    )
    first = data_format == "channels_first"
    shape = [CHANNELS, None] if first else [None, CHANNELS]
    x = keras.Input(shape)
    model = keras.Model(x, layer(x))
    randomize(layer)
    function = tf.function(
        model,
        input_signature=[tf.TensorSpec([None, *shape])],
        jit_compile=jit_compile,
    )
    for batch, steps in ((2, STEPS), (3, 5)):
        x = inputs(batch, steps, CHANNELS)
        if first:
            x = x.transpose([0, 2, 1])
        np.testing.assert_allclose(function(x), layer(x), **ROUNDING)


@each_layer
@pytest.mark.parametrize("padding", ["same", "causal"])
def test_inputs_shorter_than_the_kernel_are_padded(layer_name, padding):
    """Zeros after the end do not count: causal outputs never see them."""
    layer = ours(layer_name, kernel_size=9, padding=padding)
    for steps in (1, 2, 8):
        x = inputs(2, steps, CHANNELS)
        y = layer(x)
        assert y.shape[1] == steps
        if padding == "causal":
            longer = np.concatenate([x, inputs(2, 20, CHANNELS)], axis=1)
            np.testing.assert_allclose(y, layer(longer)[:, :steps], **ROUNDING)
        else:
            # Four zeros before, four after, as of a window of 9.
            around = np.pad(x, [[0, 0], [20, 20], [0, 0]])
            np.testing.assert_allclose(
                y, layer(around)[:, 20 : 20 + steps], **ROUNDING
            )


@each_layer
def test_inputs_shorter_than_the_kernel_are_padded_as_by_the_twin(layer_name):
    layer, twin = both(layer_name, kernel_size=9, padding="same", strides=2)
    for steps in (1, 2, 8, 9, 10):
        x = inputs(2, steps, CHANNELS)
        layer(x)
        twin(x)
        randomize(layer, twin)
        np.testing.assert_allclose(layer(x), twin(x), **ROUNDING)


@each_layer
@pytest.mark.parametrize("dilation_rate", [1, 3])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_steps_that_turn_out_too_few_in_a_model_are_an_error(
    layer_name, dilation_rate, jit_compile
):
    model = keras.Sequential(
        [
            keras.Input([None, CHANNELS]),
            ours(layer_name, kernel_size=4, dilation_rate=dilation_rate),
        ]
    )
    function = tf.function(
        model,
        input_signature=[tf.TensorSpec([None, None, CHANNELS])],
        jit_compile=jit_compile,
    )
    span = 3 * dilation_rate + 1
    assert function(tf.ones([2, span, CHANNELS])).shape[1] == 1
    for steps in (1, span - 1):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
            function(tf.ones([2, steps, CHANNELS]))


@each_layer
def test_a_layer_built_for_one_length_takes_any(layer_name):
    layer = ours(layer_name)
    layer(inputs(2, STEPS, CHANNELS))
    assert layer(inputs(7, 30, CHANNELS)).shape[:2] == (7, 28)
