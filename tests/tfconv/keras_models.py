"""Keras models of every kind that tfconv.from_keras converts."""

import keras
import numpy as np
import pytest

STEPS, CHANNELS = 12, 3


def inputs(*shape):
    shape = shape or (2, STEPS, CHANNELS)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def randomize(model):
    """Weights as after some training: BatchNormalization's statistics too."""
    rng = np.random.default_rng(1)
    model.set_weights(
        [rng.uniform(0.1, 0.5, w.shape) for w in model.get_weights()]
    )
    return model


def convolutional_block():
    return [
        keras.layers.SeparableConv1D(6, 3, padding="same", name="mix"),
        keras.layers.BatchNormalization(name="normalize"),
        keras.layers.ReLU(name="rectify"),
        keras.layers.DepthwiseConv1D(
            4, strides=2, depth_multiplier=2, use_bias=False, name="filter"
        ),
        keras.layers.Dropout(0.3, name="drop"),
        keras.layers.GlobalAveragePooling1D(name="pool"),
        keras.layers.Dense(2, name="classify"),
    ]


def sequential():
    return keras.Sequential(
        [keras.Input([STEPS, CHANNELS], name="audio"), *convolutional_block()],
        name="network",
    )


def functional():
    """Two inputs, two outputs, a residual, and a layer that is shared."""
    one = keras.Input([STEPS, CHANNELS], name="one")
    two = keras.Input([None, CHANNELS], name="two")
    shared = keras.layers.SeparableConv1D(
        CHANNELS, 3, padding="same", name="shared"
    )
    x, y = shared(one), shared(two)
    x = keras.layers.Add(name="residual")([x, shared(x)])
    x = keras.layers.DepthwiseConv1D(3, dilation_rate=2, name="wide")(x)
    y = keras.layers.GlobalMaxPooling1D(name="pool")(y)
    return keras.Model([one, two], {"x": x, "y": y}, name="network")


def nested():
    inner = keras.Sequential(
        [
            keras.Input([STEPS, CHANNELS]),
            keras.layers.DepthwiseConv1D(3, padding="same", name="filter"),
            keras.Sequential(
                [
                    keras.Input([STEPS, CHANNELS]),
                    keras.layers.SeparableConv1D(5, 3, name="mix"),
                ],
                name="innermost",
            ),
        ],
        name="inner",
    )
    x = keras.Input([STEPS, CHANNELS])
    y = keras.layers.SeparableConv1D(4, 2, name="outermost")(inner(x))
    return keras.Model(x, y, name="outer")


def wrapped():
    return keras.Sequential(
        [
            keras.Input([4, STEPS, CHANNELS]),
            keras.layers.TimeDistributed(
                keras.layers.SeparableConv1D(5, 3, name="mix"), name="each"
            ),
        ]
    )


def wrapped_model():
    """What TimeDistributed is most used with: a network for each frame."""
    frame = keras.Sequential(
        [
            keras.Input([STEPS, CHANNELS]),
            keras.layers.SeparableConv1D(5, 3, name="mix"),
            keras.layers.GlobalAveragePooling1D(),
        ],
        name="frame",
    )
    return keras.Sequential(
        [
            keras.Input([4, STEPS, CHANNELS]),
            keras.layers.TimeDistributed(frame, name="each"),
        ]
    )


MODELS = {
    "sequential": (sequential, [(2, STEPS, CHANNELS)]),
    "functional": (functional, [(2, STEPS, CHANNELS), (2, 17, CHANNELS)]),
    "nested": (nested, [(2, STEPS, CHANNELS)]),
    "wrapped": (wrapped, [(2, 4, STEPS, CHANNELS)]),
    "wrapped_model": (wrapped_model, [(2, 4, STEPS, CHANNELS)]),
}
each_model = pytest.mark.parametrize("name", MODELS)


def make(name):
    build, shapes = MODELS[name]
    arrays = [inputs(*shape) for shape in shapes]
    return randomize(build()), arrays[0] if len(arrays) == 1 else arrays
