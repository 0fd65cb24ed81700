"""Files: .keras, .h5 and .weights.h5, also those of Keras's twins."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
from tests.tfconv.layers.twins import CHANNELS
from tests.tfconv.layers.twins import ROUNDING
from tests.tfconv.layers.twins import STEPS
from tests.tfconv.layers.twins import each_layer
from tests.tfconv.layers.twins import inputs
from tests.tfconv.layers.twins import randomize

# pyproject.toml lets this one through for Keras 2; it says that .h5 is old.
legacy_h5 = pytest.mark.filterwarnings(
    "ignore:You are saving your model as an HDF5 file"
)


def make_model(module, **arguments):
    """Both layers of `module`, with what else a network has."""
    model = keras.Sequential(
        [
            keras.Input([STEPS, CHANNELS]),
            module.DepthwiseConv1D(
                3, padding="same", depth_multiplier=2, **arguments
            ),
            keras.layers.BatchNormalization(),
            module.SeparableConv1D(
                6, 4, strides=2, activation="relu", **arguments
            ),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2),
        ]
    )
    randomize(model)
    return model


@legacy_h5
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_saved_model_is_loaded_as_it_was(suffix, tmp_path):
    model = make_model(
        tfconv,
        depthwise_regularizer="l2",
        depthwise_constraint=keras.constraints.NonNeg(),
        bias_initializer=keras.initializers.Constant(0.5),
    )
    path = tmp_path / f"model{suffix}"
    model.save(path)
    loaded = keras.saving.load_model(path)
    for layer, original in zip(loaded.layers, model.layers, strict=True):
        assert type(layer) is type(original)
        assert layer.get_config() == original.get_config()
    np.testing.assert_allclose(loaded(inputs()), model(inputs()), **ROUNDING)


@legacy_h5
@each_layer
def test_causal_dilated_and_channels_first_layers_are_saved(
    layer_name, tmp_path
):
    arguments = {"padding": "causal", "dilation_rate": 2, "kernel_size": 3}
    if layer_name == "SeparableConv1D":
        arguments["filters"] = 4
    layer_class = getattr(tfconv, layer_name)
    model = keras.Sequential(
        [
            keras.Input([CHANNELS, None]),
            layer_class(data_format="channels_first", **arguments),
        ]
    )
    randomize(model)
    x = inputs(2, CHANNELS, STEPS)
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"model{suffix}"
        model.save(path)
        loaded = keras.saving.load_model(path)
        assert type(loaded.layers[0]) is layer_class
        np.testing.assert_allclose(loaded(x), model(x), **ROUNDING)


LOAD_ELSEWHERE = """
import sys
import tfconv
import keras
import numpy as np
folder = sys.argv[1]
x = np.load(f"{folder}/x.npy")
for suffix in ("keras", "h5"):
    model = keras.saving.load_model(f"{folder}/model.{suffix}")
    assert isinstance(model.layers[0], tfconv.DepthwiseConv1D)
    np.save(f"{folder}/{suffix}.npy", model(x))
"""


@legacy_h5
def test_a_saved_model_loads_in_a_program_that_imported_tfconv(tmp_path):
    model = make_model(tfconv)
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    np.save(tmp_path / "x.npy", inputs())
    subprocess.run(
        [sys.executable, "-c", LOAD_ELSEWHERE, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    for suffix in ("keras", "h5"):
        np.testing.assert_allclose(
            np.load(tmp_path / f"{suffix}.npy"), model(inputs()), **ROUNDING
        )


@pytest.mark.parametrize(
    "source, target",
    [(keras.layers, tfconv), (tfconv, keras.layers), (tfconv, tfconv)],
    ids=["keras-tfconv", "tfconv-keras", "tfconv-tfconv"],
)
def test_saved_weights_load_into_the_twin(source, target, tmp_path):
    saved, model = make_model(source), make_model(target)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    assert not np.allclose(saved(inputs()), model(inputs()))
    saved.save_weights(tmp_path / "model.weights.h5")
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(model(inputs()), saved(inputs()), **ROUNDING)


def test_optimizer_state_is_saved_so_that_training_goes_on_as_before(tmp_path):
    model = make_model(tfconv)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    x, y = inputs(), np.ones([3, 2])
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for of in (model, loaded):
        of.train_on_batch(x, y)
    for weight, loaded_weight in zip(
        model.get_weights(), loaded.get_weights(), strict=True
    ):
        np.testing.assert_allclose(loaded_weight, weight, **ROUNDING)


def test_a_saved_model_for_serving_takes_any_batch(tmp_path):
    model = make_model(tfconv)
    model.export(tmp_path / "model", verbose=False)
    served = tf.saved_model.load(tmp_path / "model")
    for batch in (1, 5):
        x = inputs(batch, STEPS, CHANNELS)
        np.testing.assert_allclose(served.serve(x), model(x), **ROUNDING)


# Without tfconv: prints nothing, and leaves outputs, gradients of two orders
# and the kernel after a step of fine-tuning.
FINE_TUNE_ELSEWHERE = """
import sys
import numpy as np
import tensorflow as tf
folder = sys.argv[1]
x = tf.constant(np.load(f"{folder}/x.npy"))
loaded = tf.saved_model.load(f"{folder}/model")
assert "tfconv" not in sys.modules
with tf.GradientTape() as outer:
    outer.watch(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(loaded.serve(x) ** 2)
    gradient = tape.gradient(loss, x)
    norm = tf.reduce_sum(gradient**2)
second = outer.gradient(norm, x)
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(loaded.serve(x) ** 2)
for v, d in zip(loaded.variables, tape.gradient(loss, loaded.variables)):
    v.assign_sub(1e-3 * d)
np.savez(f"{folder}/found.npz", gradient, second, *loaded.variables)
"""


def test_an_exported_model_is_fine_tuned_in_plain_tensorflow(tmp_path):
    """Also where its graph has been saved with the fast gradients in it."""
    model = keras.Sequential(
        [
            keras.Input([60, CHANNELS]),
            tfconv.DepthwiseConv1D(31, padding="same", activation="tanh"),
            tfconv.SeparableConv1D(4, 9, strides=2, depth_multiplier=2),
            tfconv.SeparableConv1D(2, 3, dilation_rate=4, padding="causal"),
        ]
    )
    randomize(model)
    twin = keras_twin(model)
    model.export(tmp_path / "model", verbose=False)
    x = inputs(2, 60, CHANNELS)
    np.save(tmp_path / "x.npy", x)
    subprocess.run(
        [sys.executable, "-c", FINE_TUNE_ELSEWHERE, tmp_path], check=True
    )
    found = np.load(tmp_path / "found.npz").values()
    for value, wanted in zip(found, fine_tuned(twin, x), strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(value / scale, wanted / scale, atol=1e-5)


def keras_twin(model):
    """The same network of Keras's layers; its causal one pads by itself."""
    *layers, causal = model.layers
    twin = keras.Sequential(
        [
            keras.Input(model.input_shape[1:]),
            *(
                getattr(keras.layers, type(layer).__name__).from_config(
                    layer.get_config()
                )
                for layer in layers
            ),
            keras.layers.ZeroPadding1D((8, 0)),
            keras.layers.SeparableConv1D(2, 3, dilation_rate=4),
        ]
    )
    assert causal.geometry.pads(None) == (8, 0)
    twin.set_weights(model.get_weights())
    return twin


def fine_tuned(model, x):
    """Computes what the program above leaves, for a model of Keras's layers."""
    x = tf.constant(x)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(model(x) ** 2)
        gradient = tape.gradient(loss, x)
        norm = tf.reduce_sum(gradient**2)
    second = outer.gradient(norm, x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x) ** 2)
    weights = [weight.value for weight in model.weights]
    slopes = tape.gradient(loss, weights)
    return [
        gradient,
        second,
        *(w - 1e-3 * d for w, d in zip(weights, slopes, strict=True)),
    ]


def test_a_saved_model_with_its_gradients_can_be_differentiated(tmp_path):
    model = make_model(tfconv)
    tf.saved_model.save(
        model,
        tmp_path / "model",
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=True),
    )
    loaded = tf.saved_model.load(tmp_path / "model")
    serve = loaded.signatures["serving_default"]
    x = tf.constant(inputs())
    gradients = []
    for function in (lambda x: next(iter(serve(x).values())), model):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        gradients.append(tape.gradient(y, x))
    np.testing.assert_allclose(*gradients, **ROUNDING)
