"""Arguments and configurations: Keras's names, order and defaults."""

import inspect
import json

import keras
import numpy as np
import pytest

import tfconv
from tests.tfconv.layers.twins import BATCH
from tests.tfconv.layers.twins import CHANNELS
from tests.tfconv.layers.twins import LAYERS
from tests.tfconv.layers.twins import ROUNDING
from tests.tfconv.layers.twins import STEPS
from tests.tfconv.layers.twins import each_layer
from tests.tfconv.layers.twins import each_twins
from tests.tfconv.layers.twins import inputs
from tests.tfconv.layers.twins import kerass
from tests.tfconv.layers.twins import ours


@each_layer
def test_arguments_have_the_names_order_and_defaults_of_the_twin(layer_name):
    signatures = [
        inspect.signature(getattr(module, layer_name))
        for module in (tfconv, keras.layers)
    ]
    described = [
        [(p.name, p.default, p.kind) for p in signature.parameters.values()]
        for signature in signatures
    ]
    assert described[0] == described[1]


@each_twins
def test_the_config_is_the_twins(twins):
    layer, twin = twins.make()
    config, twins_config = layer.get_config(), twin.get_config()
    if "name" not in dict(twins.arguments):
        # depthwise_conv1d_3: numbered by Keras.
        assert config.pop("name").startswith(twins_config.pop("name")[:14])
    assert config == twins_config
    assert json.dumps(config)


@each_layer
def test_a_default_name_is_the_twins(layer_name):
    keras.backend.clear_session()
    name = ours(layer_name).name
    keras.backend.clear_session()
    assert name == kerass(layer_name).name


@each_twins
def test_a_layer_is_made_anew_from_its_own_and_from_its_twins_config(twins):
    layer, twin = twins.make()
    for config in (layer.get_config(), twin.get_config()):
        again = type(layer).from_config(config)
        assert again.get_config() == config


@each_twins
def test_a_layer_goes_through_keras_serialization(twins):
    layer, _ = twins.make()
    serialized = keras.saving.serialize_keras_object(layer)
    assert serialized["registered_name"] == f"tfconv>{twins.layer_name}"
    restored = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(serialized))
    )
    assert type(restored) is type(layer)
    again = keras.saving.serialize_keras_object(restored)
    assert json.dumps(again) == json.dumps(serialized)


@each_layer
def test_a_layer_is_built_from_its_build_config(layer_name):
    layer = ours(layer_name, depth_multiplier=2)
    layer(inputs())
    again = type(layer).from_config(layer.get_config())
    again.build_from_config(json.loads(json.dumps(layer.get_build_config())))
    assert again.built
    again.set_weights(layer.get_weights())
    np.testing.assert_allclose(again(inputs()), layer(inputs()), **ROUNDING)


@each_layer
@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
def test_padding_is_case_insensitive_and_kept_in_lower_case(
    layer_name, padding
):
    for written in (padding.upper(), padding.title(), padding):
        layer = ours(layer_name, padding=written)
        assert layer.padding == padding
        assert layer.get_config()["padding"] == padding
        again = type(layer).from_config(layer.get_config())
        assert again.padding == padding


@each_layer
@pytest.mark.parametrize("name", ["kernel_size", "strides", "dilation_rate"])
def test_sizes_are_an_int_or_one_in_a_tuple_or_list(layer_name, name):
    for value in (2, (2,), [2], np.int32(2), (np.int64(2),), [np.uint8(2)]):
        layer = ours(layer_name, **{name: value})
        assert getattr(layer, name) == (2,)
        assert json.loads(json.dumps(layer.get_config()))[name] == [2]
        assert layer(inputs()).shape[0] == BATCH


def test_numpy_integers_are_integers():
    layer = tfconv.SeparableConv1D(
        np.int64(4), np.int64(3), depth_multiplier=np.int32(2)
    )
    config = json.loads(json.dumps(layer.get_config()))
    assert config["filters"] == 4
    assert config["depth_multiplier"] == 2
    assert layer(inputs()).shape == (BATCH, STEPS - 2, 4)


@pytest.fixture
def image_data_format():
    before = keras.config.image_data_format()
    yield keras.config.set_image_data_format
    keras.config.set_image_data_format(before)


@each_layer
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_the_data_format_is_that_of_the_keras_config_unless_given(
    layer_name, data_format, image_data_format
):
    image_data_format(data_format)
    layer, twin = ours(layer_name), kerass(layer_name)
    assert layer.data_format == twin.data_format == data_format
    assert layer.get_config()["data_format"] == data_format
    given = ours(layer_name, data_format="channels_last")
    assert given.data_format == "channels_last"
    # A layer keeps what it was made with.
    image_data_format("channels_last")
    assert layer.data_format == data_format


@each_layer
def test_the_data_format_is_case_insensitive_as_the_twins(layer_name):
    for data_format in ("Channels_First", "CHANNELS_LAST"):
        assert (
            ours(layer_name, data_format=data_format).data_format
            == kerass(layer_name, data_format=data_format).data_format
            == data_format.lower()
        )


def test_kerass_documentation_example_in_our_arguments():
    x = np.random.default_rng(0).random((4, 10, 12))
    layer = tfconv.DepthwiseConv1D(
        3, strides=3, padding="same", depth_multiplier=3, activation="relu"
    )
    assert layer(x).shape == (4, 4, 36)


def test_both_layers_are_public_under_the_names_of_keras():
    for layer_name in LAYERS:
        assert getattr(tfconv, layer_name).__name__ == layer_name
        assert issubclass(getattr(tfconv, layer_name), keras.Layer)
        assert not issubclass(
            getattr(tfconv, layer_name), getattr(keras.layers, layer_name)
        )


@each_layer
def test_a_call_with_a_channels_first_config_needs_no_argument(
    layer_name, image_data_format
):
    image_data_format("channels_first")
    layer = ours(layer_name, padding="same")
    assert layer(inputs(2, CHANNELS, STEPS)).shape[2] == STEPS
