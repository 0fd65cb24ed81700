"""Files of Keras 2 of every age, and what is wrong with some of them."""

import json
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfconv_export
from tests.export import models
from tfconv_export import keras2_weights
from tfconv_export import loading

layers = tf_keras.layers
DATA = models.examples(12, 4, count=3)


def classifier() -> tf_keras.Sequential:
    return tf_keras.Sequential(
        [
            layers.Input((12, 4), name="first_input"),
            layers.Conv1D(6, 3, name="first"),
            layers.BatchNormalization(),
            layers.SeparableConv1D(6, 3, activation="relu"),
            layers.GRU(5, return_sequences=True, reset_after=False),
            layers.LSTM(5, recurrent_activation="hard_sigmoid"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def functional() -> tf_keras.Model:
    """Models in a model, called twice, some frozen; names against the order."""

    def inner(frozen):
        x = layers.Input((12, 4))
        b = layers.Conv1D(4, 3, padding="same", name="b")(x)
        a = layers.Conv1D(4, 3, padding="same", name="a")(x)
        a, b = layers.BatchNormalization()(a), layers.BatchNormalization()(b)
        model = tf_keras.Model(x, layers.Add()([a, b, layers.Dense(4)(a)]))
        for index in frozen:
            model.layers[index].trainable = False
        return model

    x = layers.Input((12, 4))
    half_frozen, frozen = inner((1, 4)), inner(range(7))
    stack = tf_keras.Sequential([layers.Dense(4), layers.BatchNormalization()])
    shared = layers.Conv1D(4, 3, padding="same")
    y = frozen(shared(stack(half_frozen(shared(half_frozen(x))))))
    return tf_keras.Model(x, layers.Multiply()([stack(y), frozen(x)]))


def rewritten(path, change, version="2.2.4-tf"):
    """Changes the config of an HDF5 file, and the version that wrote it."""
    with h5py.File(path, "r+") as file:
        config = change(json.loads(file.attrs["model_config"]))
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = version


def without_modules(value):
    """As TensorFlow wrote configs up to 2.12."""
    if isinstance(value, list):
        return [without_modules(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_modules(item)
        for key, item in value.items()
        if key not in ("module", "registered_name", "build_config")
    }


def with_dtypes(config):
    """As TensorFlow wrote initializers in 2.0 to 2.2."""
    config = without_modules(config)
    for layer in config["config"]["layers"]:
        for key, value in layer["config"].items():
            if key.endswith("_initializer"):
                value["config"]["dtype"] = "float32"
    return config


def without_input(config):
    """As Keras wrote Sequential models up to 2.2.2: a bare list."""
    first, *others = without_modules(config)["config"]["layers"]
    shape = first["config"]["batch_input_shape"]
    others[0]["config"]["batch_input_shape"] = shape
    for layer in others:
        layer["config"].pop("reset_after", None)
    return {"class_name": "Sequential", "config": others}


def as_model(config):
    """As TensorFlow named functional models up to 2.3."""
    return json.loads(
        json.dumps(without_modules(config)).replace("Functional", "Model")
    )


def test_tf_keras_reads_what_the_tests_take_for_old(tmp_path):
    model = models.randomize(classifier())
    model.save(tmp_path / "model.h5")
    rewritten(tmp_path / "model.h5", with_dtypes)
    read = tf_keras.models.load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(read(DATA), model(DATA))


@pytest.mark.parametrize(
    ("make", "change", "name"),
    [
        (classifier, dict, "model.keras"),
        (classifier, with_dtypes, "model.h5"),
        (classifier, without_input, "model.h5"),
        (functional, dict, "model.h5"),
        (functional, as_model, "model.keras"),
    ],
)
def test_hdf5_of_every_age_computes_what_keras_2_did(
    tmp_path, make, change, name
):
    model = models.randomize(make())
    model.save(tmp_path / "model.h5")
    rewritten(tmp_path / "model.h5", change)
    (tmp_path / "model.h5").rename(tmp_path / name)
    source = loading.load(tmp_path / name)
    assert source.kind == "keras"
    (item,) = source.inputs
    (found,) = source.reference({item.name: tf.constant(DATA)}).values()
    # Six layers of some tens of products in float32, of outputs near 1.
    expected = model(DATA, training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_weights_in_another_order_are_noticed(tmp_path):
    model = tf_keras.Sequential(
        [layers.Input((4,)), layers.BatchNormalization(name="norm")]
    )
    model.save(tmp_path / "model.h5")
    twin = keras.Sequential(
        [keras.Input((4,)), keras.layers.BatchNormalization(name="norm")]
    )
    keras2_weights.load(twin, tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        group = file["model_weights/norm"]
        group.attrs["weight_names"] = group.attrs["weight_names"][[1, 0, 2, 3]]
    with pytest.raises(keras2_weights.OrderError, match="norm"):
        keras2_weights.load(twin, tmp_path / "model.h5")


def test_graph_of_keras_2_is_exported_in_int8(tmp_path):
    x = layers.Input((12, 4), name="Frames")
    y = layers.Conv1D(6, 3, activation="relu")(x) * 2 + 1
    y = layers.Dense(3)(layers.GlobalAveragePooling1D()(y[:, 1:]))
    model = models.randomize(tf_keras.Model(x, y))
    model.save(tmp_path / "model.h5")
    result = tfconv_export.export(
        tmp_path / "model.h5",
        tmp_path / "model.tflite",
        quantize="int8",
        representative_data=models.examples(12, 4, count=32),
        min_sqnr_db=25,
    )
    assert [item.name for item in result.inputs] == ["Frames"]
    for options in ({"equalize": True}, {"hop": 2}):
        export = tfconv_export.export
        if "hop" in options:
            export = tfconv_export.export_streaming
        with pytest.raises(tfconv_export.UsageError, match="of Keras 2 that"):
            export(tmp_path / "model.h5", tmp_path / "other.tflite", **options)


def operation(path, name: str, arguments: dict) -> None:
    """An HDF5 file of a Keras 2 model with a layer that is an operation."""
    x = layers.Input((12, 4))
    tf_keras.Model(x, tf.nn.relu(x)).save(path)

    def change(config):
        layer = config["config"]["layers"][1]
        layer["class_name"] = name
        layer["config"] |= arguments
        return config

    rewritten(path, change)


@pytest.mark.parametrize(
    ("name", "arguments", "called"),
    [
        ("TFOpLambda", {"function": "io.write_file"}, "io.write_file"),
        ("TFOpLambda", {"function": "compat.v1.py_func"}, "py_func"),
        ("SlicingOpLambda", {"function": "io.gfile.rmtree"}, "rmtree"),
        ("InstanceMethod", {"attr_name": "eval"}, "eval"),
        (
            "ClassMethod",
            {"cls_symbol": "io.gfile.GFile", "method_name": "write"},
            "write",
        ),
        (
            "TensorFlowOpLayer",
            {"node_def": '{"op": "WriteFile"}', "constants": {}},
            "WriteFile",
        ),
    ],
)
def test_operations_that_may_do_harm_are_refused(
    tmp_path, name, arguments, called
):
    operation(tmp_path / "model.h5", name, arguments)
    with pytest.raises(tfconv_export.UsageError, match=called) as error:
        loading.load(tmp_path / "model.h5")
    assert "--unsafe_deserialization" in str(error.value)


def test_modules_that_a_file_names_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "named_by_a_file.py").write_text("class Layer: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    models.randomize(classifier()).save(tmp_path / "model.h5")

    def change(config):
        layer = config["config"]["layers"][1]
        layer |= {"module": "named_by_a_file", "class_name": "Layer2"}
        return config

    rewritten(tmp_path / "model.h5", change)
    with pytest.raises(tfconv_export.UsageError, match="--custom_module"):
        loading.load(tmp_path / "model.h5")
    assert "named_by_a_file" not in sys.modules


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_lambda_is_refused_by_tf_keras_as_well(tmp_path, suffix):
    x = layers.Input((12, 4))
    y = layers.Lambda(lambda x: 2 * x)(layers.ThresholdedReLU()(x))
    model = tf_keras.Model(x, y)
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    with pytest.raises(tfconv_export.UsageError, match="Lambda"):
        loading.load(path)
    source = loading.load(path, unsafe_deserialization=True)
    (item,) = source.inputs
    (found,) = source.reference({item.name: tf.constant(DATA)}).values()
    np.testing.assert_array_equal(found, model(DATA))


def test_missing_tf_keras_is_named_where_it_is_needed(tmp_path, monkeypatch):
    models.randomize(classifier()).save(tmp_path / "known.h5")
    operation(tmp_path / "model.h5", "TFOpLambda", {})
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    loading.load(tmp_path / "known.h5")
    with pytest.raises(tfconv_export.UsageError, match=r"tfconv\[keras2\]"):
        loading.load(tmp_path / "model.h5")


class Doubled(layers.Layer):
    def call(self, inputs):
        return 2 * inputs


class KerasDoubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def test_custom_class_is_found_by_its_name_in_either_registry(
    tmp_path, monkeypatch
):
    x = layers.Input((12, 4))
    tf_keras.Model(x, Doubled()(x)).save(tmp_path / "one.h5")
    y = layers.ThresholdedReLU()(Doubled()(x))
    tf_keras.Model(x, y).save(tmp_path / "other.h5")
    with pytest.raises(tfconv_export.UsageError) as error:
        loading.load(tmp_path / "one.h5")
    assert "Doubled is not one of Keras's own" in str(error.value)
    assert "--custom_module" in str(error.value)
    known = keras.saving.get_custom_objects()
    monkeypatch.setitem(known, "mine>Doubled", KerasDoubled)
    assert loading.load(tmp_path / "one.h5").kind == "keras"
    with pytest.raises(tfconv_export.UsageError, match="tf-keras, too"):
        loading.load(tmp_path / "other.h5")
    known = tf_keras.saving.get_custom_objects()
    monkeypatch.setitem(known, "mine>Doubled", Doubled)
    assert loading.load(tmp_path / "other.h5").kind == "keras2"
