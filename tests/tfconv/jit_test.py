"""tfconv.jit: the forward pass of a layer or model as one XLA computation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
from tfconv.ops import tracing

STEPS, CHANNELS = 12, 3
# Two float32 layers of some tens of products each, of outputs near 1.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


def inputs(batch=2, steps=STEPS):
    rng = np.random.default_rng(batch)
    return rng.normal(size=(batch, steps, CHANNELS)).astype(np.float32)


class Witness(keras.layers.Layer):
    """Hands its inputs on, and keeps where it was traced."""

    def __init__(self):
        super().__init__()
        self.traced_in_xla = []

    def call(self, inputs):
        if not tf.executing_eagerly():
            self.traced_in_xla.append(tracing.in_xla())
        return inputs


def network():
    return keras.Sequential(
        [
            keras.Input([None, CHANNELS]),
            tfconv.SeparableConv1D(4, 3, padding="causal", dilation_rate=2),
            keras.layers.BatchNormalization(),
            tfconv.DepthwiseConv1D(5, strides=2, activation="tanh"),
        ]
    )


def test_a_model_computes_what_it_does_uncompiled():
    model = network()
    np.testing.assert_allclose(
        tfconv.jit(model)(inputs()), model(inputs()), **ROUNDING
    )


@pytest.mark.parametrize(
    "layer",
    [
        tfconv.DepthwiseConv1D(3, depth_multiplier=2),
        tfconv.SeparableConv1D(4, 3, data_format="channels_first"),
        keras.layers.Dense(4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_is_not_built_is_built_by_the_first_call(layer):
    forward = tfconv.jit(layer)
    y = forward(inputs())
    assert layer.built
    np.testing.assert_allclose(y, layer(inputs()), **ROUNDING)


def test_the_computation_is_xlas():
    witness = Witness()
    model = keras.Sequential([witness, keras.layers.Dense(2)])
    model(inputs())
    witness.traced_in_xla.clear()
    tfconv.jit(model)(inputs())
    assert witness.traced_in_xla == [True]


@pytest.mark.parametrize("steps", [None, STEPS])
def test_other_batch_sizes_retrace_at_most_once(steps):
    witness = Witness()
    model = keras.Sequential(
        [
            keras.Input([steps, CHANNELS]),
            tfconv.DepthwiseConv1D(3),
            witness,
        ]
    )
    forward = tfconv.jit(model)
    witness.traced_in_xla.clear()
    forward(inputs(2))
    assert len(witness.traced_in_xla) == 1
    for batch in (1, 3, 4, 5, 6, 7):
        np.testing.assert_allclose(
            forward(inputs(batch)), model(inputs(batch)), **ROUNDING
        )
    assert len(witness.traced_in_xla) <= 2


def test_the_same_shape_does_not_retrace():
    witness = Witness()
    forward = tfconv.jit(keras.Sequential([witness]))
    forward(inputs())
    traces = len(witness.traced_in_xla)
    for _ in range(3):
        forward(inputs())
        forward(tf.constant(inputs()))
        forward(inputs().astype(np.float64))
    assert len(witness.traced_in_xla) == traces


def test_weights_are_those_of_the_time_of_the_call():
    model = network()
    forward = tfconv.jit(model)
    before = forward(inputs())
    model.set_weights([w + 0.5 for w in model.get_weights()])
    after = forward(inputs())
    assert not np.allclose(before, after, **ROUNDING)
    np.testing.assert_allclose(after, model(inputs()), **ROUNDING)


def test_training_takes_and_updates_batch_statistics():
    model, twin = network(), network()
    twin.set_weights(model.get_weights())
    forward = tfconv.jit(model)
    evaluated = forward(inputs())
    trained = forward(inputs(), training=True)
    assert not np.allclose(evaluated, trained, **ROUNDING)
    np.testing.assert_allclose(
        trained, twin(inputs(), training=True), **ROUNDING
    )
    for weight, twins_weight in zip(
        model.get_weights(), twin.get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, twins_weight, **ROUNDING)


def test_dropout_is_drawn_anew_at_each_call_in_training_and_not_at_all_else():
    forward = tfconv.jit(keras.Sequential([keras.layers.Dropout(0.5)]))
    x = np.ones([1, 100, CHANNELS], np.float32)
    np.testing.assert_array_equal(forward(x), x)
    np.testing.assert_array_equal(forward(x, training=False), x)
    one, other = forward(x, training=True), forward(x, training=True)
    assert np.any(np.not_equal(one, other))
    assert np.any(np.equal(one, 0.0))


@pytest.mark.parametrize("structure", [list, tuple, dict])
def test_inputs_may_be_nested(structure):
    one = keras.Input([STEPS, CHANNELS], name="one")
    two = keras.Input([STEPS, CHANNELS], name="two")
    total = keras.layers.Add()([tfconv.DepthwiseConv1D(1)(one), two])
    named = {"one": one, "two": two}
    model = keras.Model(
        named if structure is dict else [one, two],
        {"sum": total, "pair": [one, two]},
    )
    arrays = {"one": inputs(2), "two": 3 * inputs(2)}
    if structure is not dict:
        arrays = structure(arrays.values())
    actual, expected = tfconv.jit(model)(arrays), model(arrays)
    keras.tree.assert_same_structure(actual, expected)
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, **ROUNDING),
        actual,
        expected,
    )


def test_integer_inputs_stay_integers():
    layer = keras.layers.Embedding(9, 4)
    x = np.array([[1, 2, 8]])
    np.testing.assert_allclose(tfconv.jit(layer)(x), layer(x))


def test_gradients_flow_through():
    layer = tfconv.SeparableConv1D(4, 3)
    forward = tfconv.jit(layer)
    x = tf.constant(inputs())
    layer(x)
    gradients = []
    for function in (forward, layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(function(x)))
        sources = [x, *(w.value for w in layer.weights)]
        gradients.append(tape.gradient(loss, sources))
    for compiled, eager in zip(*gradients, strict=True):
        # Sums over 2 * 10 outputs near 1.
        np.testing.assert_allclose(compiled, eager, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "value", [lambda x: x, None, "model.keras", tf.function(lambda x: x)]
)
def test_what_is_no_layer_is_refused_showing_it(value):
    with pytest.raises(TypeError, match="Keras layer or model") as error:
        tfconv.jit(value)
    assert str(type(value)) in str(error.value)


def test_wrong_inputs_are_refused_as_by_the_layer():
    forward = tfconv.jit(tfconv.DepthwiseConv1D(9))
    with pytest.raises(ValueError, match="would be zero or negative"):
        forward(inputs(steps=4))
    forward(inputs(steps=9))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        forward(inputs(steps=4))
    with pytest.raises(ValueError, match="ndim"):
        forward(inputs()[0])
