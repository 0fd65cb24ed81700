"""Each layer computes and learns what Keras's layer of its name does."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
from tests.tfconv.layers.twins import BATCH
from tests.tfconv.layers.twins import CHANNELS
from tests.tfconv.layers.twins import ROUNDING
from tests.tfconv.layers.twins import STEPS
from tests.tfconv.layers.twins import both
from tests.tfconv.layers.twins import each_layer
from tests.tfconv.layers.twins import each_twins
from tests.tfconv.layers.twins import inputs
from tests.tfconv.layers.twins import kerass
from tests.tfconv.layers.twins import ours
from tests.tfconv.layers.twins import randomize


@each_twins
def test_weights_have_the_names_shapes_and_order_of_the_twin(twins):
    layer, twin = twins.built()
    for kind in ("weights", "trainable_weights", "non_trainable_weights"):
        described = [
            [(w.name, w.shape, w.dtype, w.trainable) for w in getattr(of, kind)]
            for of in (layer, twin)
        ]
        assert described[0] == described[1]
    assert layer.count_params() == twin.count_params()


@each_twins
def test_weights_are_attributes_of_the_twins_names(twins):
    layer, twin = twins.built()
    assert (layer.bias is None) == (twin.bias is None)
    for weight in twin.weights:
        np.testing.assert_array_equal(
            getattr(layer, weight.name), getattr(twin, weight.name)
        )


@each_twins
def test_a_seed_makes_the_same_initial_weights(twins):
    initial = []
    for make in (twins.ours, twins.kerass):
        keras.utils.set_random_seed(7)
        layer = make()
        layer.build((BATCH, STEPS, CHANNELS))
        initial.append(layer.get_weights())
    for weight, twin_weight in zip(*initial, strict=True):
        np.testing.assert_array_equal(weight, twin_weight)


@each_twins
def test_outputs_and_gradients_are_the_twins(twins):
    layers = twins.built()
    results = []
    for layer in layers:
        x = tf.constant(inputs())
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            # Not linear in y, so that each gradient depends on each output.
            loss = tf.reduce_sum(y * tf.cos(y))
        variables = [w.value for w in layer.weights]
        results.append([y, *tape.gradient(loss, [x, *variables])])
    for ours_result, twins_result in zip(*results, strict=True):
        if twins_result is None:
            assert ours_result is None
        else:
            # dw is a sum over BATCH * STEPS products.
            np.testing.assert_allclose(
                ours_result, twins_result, rtol=1e-5, atol=1e-4
            )


@each_twins
def test_one_training_step_leaves_the_twins_weights_and_losses(twins):
    """Regularizers, constraints and `trainable` with them."""
    losses, stepped = [], []
    for layer in twins.built():
        before = layer.get_weights()
        model = keras.Sequential(
            [
                layer,
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(
                    2, kernel_initializer=keras.initializers.HeNormal(seed=1)
                ),
            ]
        )
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        losses.append(model.train_on_batch(inputs(), np.ones([BATCH, 2])))
        changed = [
            np.any(old != new)
            for old, new in zip(before, layer.get_weights(), strict=True)
        ]
        assert changed == [layer.trainable] * len(before)
        stepped.append(layer.get_weights())
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for weight, twins_weight in zip(*stepped, strict=True):
        np.testing.assert_allclose(weight, twins_weight, **ROUNDING)


@each_twins
def test_losses_are_the_twins(twins):
    layer, twin = twins.built()
    layer(inputs())
    twin(inputs())
    assert len(layer.losses) == len(twin.losses)
    for loss, twins_loss in zip(layer.losses, twin.losses, strict=True):
        np.testing.assert_allclose(loss, twins_loss, rtol=1e-5)


def test_constraints_hold_after_a_step_that_would_break_them():
    layer = tfconv.SeparableConv1D(
        4,
        3,
        depthwise_constraint="non_neg",
        pointwise_constraint=keras.constraints.MinMaxNorm(0.0, 0.5),
        bias_constraint=keras.constraints.NonNeg(),
    )
    model = keras.Sequential([keras.Input([STEPS, CHANNELS]), layer])
    randomize(layer)
    model.compile(keras.optimizers.SGD(10.0), "mse", jit_compile=False)
    x = inputs()
    model.train_on_batch(x, np.ones(model(x).shape))
    assert np.all(layer.depthwise_kernel.numpy() >= 0)
    assert np.all(layer.bias.numpy() >= 0)
    norms = np.linalg.norm(layer.pointwise_kernel, axis=0)
    # One rounding of the norm.
    assert np.all(norms <= 0.5 * (1 + 1e-6))


@each_layer
@pytest.mark.parametrize("trainable", [True, False])
def test_trainable_may_be_set_before_and_after_building(layer_name, trainable):
    for layer in both(layer_name, trainable=not trainable):
        layer.trainable = trainable
        layer.build((BATCH, STEPS, CHANNELS))
        assert len(layer.trainable_weights) == trainable * len(layer.weights)
        layer.trainable = not trainable
        assert len(layer.trainable_weights) == (not trainable) * len(
            layer.weights
        )


@each_layer
def test_weights_are_exchanged_with_the_twin_both_ways(layer_name):
    layer, twin = both(layer_name, padding="same", depth_multiplier=2)
    x = inputs()
    layer(x)
    twin(x)
    layer.set_weights(twin.get_weights())
    np.testing.assert_allclose(layer(x), twin(x), **ROUNDING)
    randomize(layer)
    twin.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(x), twin(x), **ROUNDING)


@each_layer
def test_masks_are_treated_as_by_the_twin(layer_name):
    """Keras warns that the mask ends here; and here it ends."""
    x = inputs()
    x[:, -4:] = 0
    seen = []
    for layer in both(layer_name, padding="same", name="layer"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            y = layer(keras.layers.Masking()(x))
        seen.append(
            (
                layer.supports_masking,
                getattr(y, "_keras_mask", None),
                [str(w.message) for w in caught if w.category is UserWarning],
            )
        )
    assert seen[0] == seen[1]
    assert "does not support masking" in seen[1][2][0]


@each_layer
def test_a_none_initializer_means_the_default(layer_name):
    initializers = {"depthwise_initializer": None, "bias_initializer": None}
    if layer_name == "SeparableConv1D":
        initializers["pointwise_initializer"] = None
    built = []
    for arguments in ({}, initializers):
        keras.utils.set_random_seed(3)
        layer = ours(layer_name, **arguments)
        layer.build((BATCH, STEPS, CHANNELS))
        built.append(layer)
    for default, none in zip(*(of.get_weights() for of in built), strict=True):
        np.testing.assert_array_equal(default, none)
    configs = [layer.get_config() for layer in built]
    for config in configs:
        del config["name"]
    assert configs[0] == configs[1]


@each_layer
def test_channels_first_is_channels_last_transposed(layer_name):
    """Where Keras's twin fails on a CPU. Activations along axis -1 too."""
    for arguments in (
        {"padding": "valid", "strides": 2},
        {"padding": "same", "depth_multiplier": 2},
        {"padding": "causal", "dilation_rate": 2, "use_bias": False},
    ):
        last = ours(layer_name, data_format="channels_last", **arguments)
        first = ours(layer_name, data_format="channels_first", **arguments)
        x = inputs()
        last(x)
        first(x.transpose([0, 2, 1]))
        randomize(last, first)
        np.testing.assert_allclose(
            np.transpose(first(x.transpose([0, 2, 1])), [0, 2, 1]),
            last(x),
            **ROUNDING,
        )


@each_layer
def test_activations_see_the_outputs_in_the_layers_data_format(layer_name):
    x = inputs(2, CHANNELS, STEPS)
    layer = ours(layer_name, data_format="channels_first", activation="softmax")
    # softmax is along the last axis: time.
    np.testing.assert_allclose(np.sum(layer(x), axis=-1), 1.0, **ROUNDING)


@each_layer
def test_the_layer_computes_the_same_compiled_and_not(layer_name):
    x = tf.constant(inputs())
    for arguments in (
        {"padding": "same", "strides": 3, "activation": "tanh"},
        {"padding": "causal", "dilation_rate": 2, "depth_multiplier": 2},
        {"data_format": "channels_first"},
    ):
        layer = ours(layer_name, **arguments)
        eager = layer(x)
        randomize(layer)
        eager = layer(x)
        for jit_compile in (False, True):
            traced = tf.function(layer, jit_compile=jit_compile)(x)
            np.testing.assert_allclose(traced, eager, **ROUNDING)


@each_layer
def test_an_empty_batch_passes(layer_name):
    layer = ours(layer_name, padding="same", depth_multiplier=2)
    expected = (0, *layer(inputs()).shape[1:])
    x = tf.zeros([0, STEPS, CHANNELS])
    for function in (
        layer,
        tf.function(layer),
        tf.function(layer, jit_compile=True),
    ):
        assert function(x).shape == expected


@each_layer
def test_a_layer_computes_alike_wherever_keras_puts_it(layer_name):
    """Shared by two inputs, and wrapped."""
    layer = ours(layer_name, padding="same")
    x = inputs()
    y = layer(x)
    one, two = keras.Input([STEPS, CHANNELS]), keras.Input([None, CHANNELS])
    shared = keras.Model([one, two], [layer(one), layer(two)])
    outputs = shared([x, x])
    np.testing.assert_allclose(outputs[0], y, **ROUNDING)
    np.testing.assert_allclose(outputs[1], y, **ROUNDING)
    wrapped = keras.layers.TimeDistributed(layer)
    np.testing.assert_allclose(
        wrapped(np.stack([x, 2 * x], axis=1))[:, 0], y, **ROUNDING
    )


def test_separable_is_depthwise_then_pointwise():
    """Of Keras's own DepthwiseConv1D and Dense."""
    layer = tfconv.SeparableConv1D(6, 4, padding="same", depth_multiplier=2)
    x = inputs()
    layer(x)
    randomize(layer)
    depthwise = kerass(
        "DepthwiseConv1D",
        kernel_size=4,
        padding="same",
        depth_multiplier=2,
        use_bias=False,
    )
    dense = keras.layers.Dense(6)
    dense(depthwise(x))
    kernel, pointwise, bias = layer.get_weights()
    depthwise.set_weights([kernel])
    dense.set_weights([pointwise[0], bias])
    np.testing.assert_allclose(layer(x), dense(depthwise(x)), **ROUNDING)
