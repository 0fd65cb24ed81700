"""Networks of our layers learn, with XLA and without it, and alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv

EXAMPLES, STEPS, CHANNELS, BATCH = 96, 20, 4, 16
EPOCHS = 5
# Thirty steps of SGD carry each float32 rounding (1e-7) on; where nothing is
# unstable they multiply it by less than a thousand.
DRIFT = {"rtol": 1e-4, "atol": 1e-5}

MODELS = {
    "depthwise": lambda **kwargs: [
        tfconv.DepthwiseConv1D(
            5, padding="causal", depth_multiplier=2, activation="relu", **kwargs
        ),
        tfconv.DepthwiseConv1D(3, strides=2, padding="same", **kwargs),
    ],
    "separable": lambda **kwargs: [
        tfconv.SeparableConv1D(
            8, 5, padding="causal", dilation_rate=2, activation="relu", **kwargs
        ),
        tfconv.SeparableConv1D(8, 3, strides=2, **kwargs),
    ],
}


def task(data_format):
    """Does a sawtooth rise or fall? Only the order of the steps tells."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, size=EXAMPLES)
    phase = rng.uniform(size=(EXAMPLES, 1, CHANNELS))
    rising = (np.arange(STEPS)[:, None] / 6 + phase) % 1 - 0.5
    x = np.where(label[:, None, None] == 1, rising, rising[:, ::-1])
    x = 4 * x + rng.normal(size=x.shape)
    if data_format == "channels_first":
        x = x.transpose([0, 2, 1])
    return tf.data.Dataset.from_tensor_slices((x.astype(np.float32), label))


def make_model(name, data_format):
    keras.utils.set_random_seed(5)
    shape = (STEPS, CHANNELS)
    if data_format == "channels_first":
        shape = shape[::-1]
    return keras.Sequential(
        [
            keras.Input(shape),
            *MODELS[name](data_format=data_format),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )


def fit(name, data_format, jit_compile):
    model = make_model(name, data_format)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    batches = task(data_format).batch(BATCH)
    history = model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=0)
    return model, history.history["loss"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_fit_learns_and_xla_makes_no_difference(name, data_format):
    compiled, compiled_losses = fit(name, data_format, jit_compile=True)
    plain, plain_losses = fit(name, data_format, jit_compile=False)
    assert compiled_losses[-1] < 0.85 * compiled_losses[0]
    np.testing.assert_allclose(compiled_losses, plain_losses, **DRIFT)
    for weight, plain_weight in zip(
        compiled.get_weights(), plain.get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, plain_weight, **DRIFT)


@pytest.mark.parametrize("name", MODELS)
def test_data_formats_learn_the_same(name):
    """The Dense layer after Flatten aside: its inputs are in another order."""
    losses = []
    for data_format in ("channels_last", "channels_first"):
        keras.utils.set_random_seed(5)
        model = keras.Sequential(
            [
                *MODELS[name](data_format=data_format),
                keras.layers.GlobalMaxPooling1D(data_format=data_format),
                keras.layers.Dense(2),
            ]
        )
        model.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        batches = task(data_format).batch(BATCH)
        history = model.fit(batches, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, **DRIFT)


def test_a_short_last_batch_is_trained_on_and_evaluated_under_xla():
    model = make_model("separable", "channels_last")
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
    )
    ten = task("channels_last").take(10)
    before = model.get_weights()
    model.fit(ten.batch(7), shuffle=False, verbose=0)
    for weight, old in zip(model.get_weights(), before, strict=True):
        assert np.all(np.isfinite(weight))
        assert np.any(weight != old)
    np.testing.assert_allclose(
        model.evaluate(ten.batch(7), verbose=0),
        model.evaluate(ten.batch(10), verbose=0),
        **DRIFT,
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_several_lengths_in_one_training_run(jit_compile):
    """A dataset of ragged lengths, bucketed: T is None in the model."""
    model = keras.Sequential(
        [
            keras.Input([None, CHANNELS]),
            tfconv.SeparableConv1D(4, 9, padding="same", strides=2),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse", jit_compile=jit_compile)
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(size=(4, steps, CHANNELS)), np.ones([4, 1]))
        for steps in (20, 7)
    ]
    signature = (
        tf.TensorSpec([None, None, CHANNELS]),
        tf.TensorSpec([None, 1]),
    )
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature=signature
    ).apply(tf.data.experimental.assert_cardinality(len(batches)))
    history = model.fit(dataset, epochs=3, shuffle=False, verbose=0)
    losses = history.history["loss"]
    assert np.all(np.isfinite(losses))
    assert losses[-1] < losses[0]
