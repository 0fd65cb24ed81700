"""tfconv.from_keras: the same model, of our layers."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
from tests.tfconv.keras_models import CHANNELS
from tests.tfconv.keras_models import STEPS
from tests.tfconv.keras_models import convolutional_block
from tests.tfconv.keras_models import each_model
from tests.tfconv.keras_models import functional
from tests.tfconv.keras_models import inputs
from tests.tfconv.keras_models import make
from tests.tfconv.keras_models import randomize
from tests.tfconv.keras_models import sequential

# A few float32 layers of some tens of products each, of outputs near 1.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}

KERAS_LAYERS = (keras.layers.DepthwiseConv1D, keras.layers.SeparableConv1D)
OUR_LAYERS = {
    keras.layers.DepthwiseConv1D: tfconv.DepthwiseConv1D,
    keras.layers.SeparableConv1D: tfconv.SeparableConv1D,
}


def all_layers(model):
    """The layers, those inside of models and wrappers too, in order."""
    for layer in model.layers:
        while isinstance(layer, keras.layers.Wrapper):
            yield layer
            layer = layer.layer
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)


def assert_same_outputs(model, original, x):
    actual, expected = model(x), original(x)
    keras.tree.assert_same_structure(actual, expected)
    for one, other in zip(
        keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, **ROUNDING)


@each_model
def test_the_model_computes_what_the_original_does(name):
    original, x = make(name)
    assert_same_outputs(tfconv.from_keras(original), original, x)


@each_model
def test_just_kerass_two_layers_are_replaced(name):
    original, _ = make(name)
    model = tfconv.from_keras(original)
    replaced = 0
    for layer, old in zip(all_layers(model), all_layers(original), strict=True):
        assert layer is not old
        assert layer.name == old.name
        assert type(layer) is OUR_LAYERS.get(type(old), type(old))
        replaced += type(old) in OUR_LAYERS
        if not isinstance(old, (keras.Model, keras.layers.Wrapper)):
            assert layer.get_config() == old.get_config()
    assert replaced


@each_model
def test_weights_are_carried_over_in_the_same_order(name):
    original, _ = make(name)
    model = tfconv.from_keras(original)
    assert [w.path.split("/")[-2:] for w in model.weights] == [
        w.path.split("/")[-2:] for w in original.weights
    ]
    for weight, old in zip(
        model.get_weights(), original.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weight, old)
    assert len(model.trainable_weights) == len(original.trainable_weights)


@each_model
def test_the_model_keeps_its_name_kind_and_shapes(name):
    original, _ = make(name)
    model = tfconv.from_keras(original)
    assert model.name == original.name
    assert type(model) is type(original)
    for kind in ("inputs", "outputs"):
        assert [(t.shape, t.dtype) for t in getattr(model, kind)] == [
            (t.shape, t.dtype) for t in getattr(original, kind)
        ]


def test_inputs_and_outputs_keep_their_names():
    original, (one, two) = make("functional")
    model = tfconv.from_keras(original)
    assert [t.name for t in model.inputs] == ["one", "two"]
    assert_same_outputs(model, original, {"one": one, "two": two})
    assert set(model.output) == {"x", "y"}


@each_model
def test_the_original_stays_as_it_was_and_shares_nothing(name):
    original, x = make(name)
    classes = [type(layer) for layer in all_layers(original)]
    config = original.get_config()
    before = original.get_weights()
    outputs = keras.tree.flatten(original(x))
    model = tfconv.from_keras(original)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    assert [type(layer) for layer in all_layers(original)] == classes
    assert original.get_config() == config
    for weight, old in zip(original.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    for after, output in zip(
        keras.tree.flatten(original(x)), outputs, strict=True
    ):
        np.testing.assert_array_equal(after, output)


def test_a_shared_layer_is_still_shared():
    model = tfconv.from_keras(functional())
    assert [layer.name for layer in model.layers].count("shared") == 1
    assert len(model.weights) == len(functional().weights)


def test_the_result_trains_and_is_saved_and_loaded(tmp_path):
    model = tfconv.from_keras(sequential())
    model.compile("sgd", "mse", jit_compile=False)
    before = model.get_weights()
    model.fit(inputs(), np.ones([2, 2]), verbose=0)
    assert np.any(before[0] != model.get_weights()[0])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same_outputs(loaded, model, inputs())


def test_trainable_and_dtype_policies_stay():
    original = keras.Sequential(
        [
            keras.Input([STEPS, CHANNELS]),
            keras.layers.SeparableConv1D(4, 3, trainable=False),
            keras.layers.DepthwiseConv1D(3, dtype="mixed_bfloat16"),
            keras.layers.Dense(2, trainable=False),
        ]
    )
    original.layers[1].trainable = False
    model = tfconv.from_keras(original)
    for layer, old in zip(model.layers, original.layers, strict=True):
        assert layer.trainable == old.trainable
        assert layer.dtype_policy == old.dtype_policy
    assert not model.trainable_weights


@pytest.mark.parametrize("name", ["sequential", "functional"])
def test_a_frozen_model_stays_frozen(name):
    original, _ = make(name)
    original.trainable = False
    model = tfconv.from_keras(original)
    assert not model.trainable
    assert not model.trainable_weights


@pytest.mark.parametrize("name", ["sequential", "functional"])
def test_a_frozen_part_stays_frozen(name):
    inner, x = make(name)
    inner.trainable = False
    entrance = inner.inputs if isinstance(x, list) else inner.inputs[0]
    outputs = keras.tree.flatten(inner(entrance))
    original = keras.Model(entrance, keras.layers.Dense(1)(outputs[-1]))
    model = tfconv.from_keras(original)
    assert not model.get_layer(inner.name).trainable
    assert len(model.trainable_weights) == 2
    assert_same_outputs(model, original, x)


def test_a_layer_with_state_of_its_own_keeps_it():
    """Normalization computes with what it has made of its weights."""
    normalization = keras.layers.Normalization()
    normalization.adapt(5 * inputs(50, STEPS, CHANNELS) - 3)
    original = keras.Sequential(
        [
            keras.Input([STEPS, CHANNELS]),
            normalization,
            keras.layers.SeparableConv1D(4, 3),
        ]
    )
    model = tfconv.from_keras(original)
    assert_same_outputs(model, original, inputs())


def test_regularizers_constraints_and_activations_stay():
    original = keras.Sequential(
        [
            keras.Input([STEPS, CHANNELS]),
            keras.layers.SeparableConv1D(
                4,
                3,
                activation="tanh",
                pointwise_regularizer="l2",
                activity_regularizer=keras.regularizers.L1(0.2),
                bias_constraint="non_neg",
            ),
        ]
    )
    randomize(original)
    model = tfconv.from_keras(original)
    assert_same_outputs(model, original, inputs())
    np.testing.assert_allclose(model.losses, original.losses, rtol=1e-5)
    assert model.layers[0].get_config() == original.layers[0].get_config()


def test_a_sequential_that_is_not_built_becomes_one():
    original = keras.Sequential(convolutional_block(), name="network")
    model = tfconv.from_keras(original)
    assert not model.built
    assert type(model.layers[0]) is tfconv.SeparableConv1D
    model.build((None, STEPS, CHANNELS))
    original.build((None, STEPS, CHANNELS))
    randomize(original)
    model.set_weights(original.get_weights())
    assert_same_outputs(model, original, inputs())


def test_a_sequential_that_was_built_by_its_first_call_keeps_its_weights():
    original = keras.Sequential(convolutional_block())
    original(inputs())
    randomize(original)
    assert_same_outputs(tfconv.from_keras(original), original, inputs())


def test_a_model_without_such_layers_is_a_copy():
    original = keras.Sequential(
        [keras.Input([STEPS, CHANNELS]), keras.layers.Conv1D(4, 3)]
    )
    model = tfconv.from_keras(original)
    assert model is not original
    assert_same_outputs(model, original, inputs())


def test_our_own_layers_stay_ours():
    original = tfconv.from_keras(sequential())
    model = tfconv.from_keras(original)
    assert type(model.get_layer("mix")) is tfconv.SeparableConv1D
    assert_same_outputs(model, original, inputs())


class OwnConvolution(keras.layers.SeparableConv1D):
    def call(self, inputs):
        return -super().call(inputs)


def test_a_subclass_of_kerass_layer_stays_what_it_is():
    original = keras.Sequential(
        [keras.Input([STEPS, CHANNELS]), OwnConvolution(4, 3)]
    )
    model = tfconv.from_keras(original)
    assert type(model.layers[0]) is OwnConvolution
    assert_same_outputs(model, original, inputs())


def test_a_lambda_is_carried_over_and_the_original_still_whole():
    x = keras.Input([STEPS, CHANNELS])
    y = keras.layers.Lambda(lambda t: 2 * t, name="double")(x)
    y = keras.layers.SeparableConv1D(4, 3)(y)
    original = keras.Model(x, y)
    model = tfconv.from_keras(original)
    assert_same_outputs(model, original, inputs())
    for whole in (original, model):
        # As anyone takes the features of a layer from a model.
        features = keras.Model(whole.input, whole.get_layer("double").output)
        np.testing.assert_allclose(features(inputs()), 2 * inputs())


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = keras.layers.SeparableConv1D(4, 3)

    def call(self, inputs):
        return self.convolution(inputs)


def test_a_subclassed_model_is_refused_showing_it():
    model = Subclassed()
    model(inputs())
    with pytest.raises(ValueError, match="functional or Sequential") as error:
        tfconv.from_keras(model)
    assert "Subclassed" in str(error.value)


@pytest.mark.parametrize(
    "value",
    [keras.layers.SeparableConv1D(4, 3), "model.keras", None],
    ids=["layer", "path", "None"],
)
def test_what_is_no_model_is_refused(value):
    with pytest.raises(ValueError, match="functional or Sequential"):
        tfconv.from_keras(value)


@pytest.mark.parametrize("layer_class", KERAS_LAYERS)
def test_a_layer_of_both_strides_and_dilation_stays_keras_s(layer_class):
    """Keras computes it, by more than one operation; tfconv refuses it."""
    arguments = {"strides": 2, "dilation_rate": 2}
    if layer_class is keras.layers.SeparableConv1D:
        arguments["filters"] = 4
    original = keras.Sequential(
        [
            keras.Input([STEPS, CHANNELS]),
            layer_class(kernel_size=3, **arguments),
        ]
    )
    model = tfconv.from_keras(original)
    assert type(model.layers[0]) is layer_class
    assert_same_outputs(model, original, inputs())


def gelu(x):
    """Has another name than what it computes, to Keras's eyes."""
    return 3.0 * x


class Scale:
    def __call__(self, x):
        return 2.0 * x

    def half(self, x):
        return 0.5 * x


FUNCTIONS = {
    "lambda": lambda x: x * CHANNELS,
    "function": gelu,
    "object": Scale(),
    "method": Scale().half,
    "partial": functools.partial(keras.ops.leaky_relu, negative_slope=0.7),
    "of TensorFlow": tf.nn.softsign,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_of_the_user_s_own_are_carried_over(name):
    function = FUNCTIONS[name]
    layers = keras.layers
    original = keras.Sequential(
        [
            keras.Input([STEPS, CHANNELS]),
            layers.SeparableConv1D(4, 3, activation=function),
            layers.Activation(function),
            layers.TimeDistributed(layers.Dense(4, activation=function)),
            layers.RNN([layers.SimpleRNNCell(3, activation=function)]),
        ]
    )
    model = tfconv.from_keras(original)
    assert model.layers[0].activation is function
    assert original.layers[0].activation is function
    assert_same_outputs(model, original, inputs())
