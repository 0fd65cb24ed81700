"""Every layer that Keras 2 and 3 both have, from files that Keras 2 writes."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.export import models
from tfconv_export import loading

layers = tf_keras.layers

SHAPES = {
    "steps": (8, 4),
    "images": (8, 8, 4),
    "volumes": (5, 5, 5, 2),
    "features": (4,),
    "series of steps": (3, 8, 4),
    "series of images": (3, 5, 5, 2),
    "series of volumes": (2, 4, 4, 4, 2),
    "tokens": (8,),
}

WINDOWS = [
    {"strides": 2, "padding": "same"},
    {"padding": "same", "dilation_rate": 2, "activation": "hard_sigmoid"},
    {"use_bias": False},
]
CONVOLUTIONS = [dict(filters=3, kernel_size=3, **window) for window in WINDOWS]
TRANSPOSED = [
    *CONVOLUTIONS,
    {"filters": 3, "kernel_size": 4, "strides": 2, "padding": "same"},
    {"filters": 3, "kernel_size": 3, "strides": 2, "output_padding": 1},
]
CONVOLUTIONAL_RNN = [
    {"filters": 2, "kernel_size": 3, "padding": "same"},
    {
        "filters": 2,
        "kernel_size": 3,
        "return_sequences": True,
        "go_backwards": True,
        "recurrent_activation": "sigmoid",
    },
]
RECURRENT = [
    {"units": 3, "dropout": 0.1},
    {"units": 3, "return_sequences": True, "go_backwards": True},
]
GATED = [
    *RECURRENT,
    {"units": 3, "implementation": 1, "recurrent_activation": "hard_sigmoid"},
]
POOLING = [{"pool_size": 2}, {"pool_size": 3, "strides": 2, "padding": "same"}]
GLOBAL = [{}, {"keepdims": True}, {"data_format": "channels_first"}]

ACTIVATIONS = """
    elu exponential gelu hard_sigmoid leaky_relu linear log_softmax mish
    relu relu6 selu sigmoid silu softmax softplus softsign swish tanh
"""
# What the classes are made with, once for each; nothing if they are not here.
ARGUMENTS = {
    "Activation": [{"activation": name} for name in ACTIVATIONS.split()],
    "AlphaDropout": [{"rate": 0.1}],
    "Attention": [{"use_scale": True}, {"score_mode": "concat"}],
    "AveragePooling": POOLING,
    "BatchNormalization": [{}, {"axis": 1, "scale": False, "epsilon": 0.1}],
    "Bidirectional": [
        {"layer": layers.SimpleRNN(3), "merge_mode": "sum"},
        {
            "layer": layers.LSTM(3, return_sequences=True),
            "backward_layer": layers.GRU(
                2, return_sequences=True, go_backwards=True
            ),
        },
    ],
    "CategoryEncoding": [{"num_tokens": 7, "output_mode": "count"}],
    "CenterCrop": [{"height": 5, "width": 4}, {"height": 12, "width": 12}],
    "Concatenate": [{}, {"axis": 1}],
    "Conv": [*CONVOLUTIONS, {"filters": 4, "kernel_size": 2, "groups": 2}],
    "ConvLSTM": CONVOLUTIONAL_RNN,
    "Cropping": [{"cropping": 1}],
    "Dense": [
        {"units": 3, "kernel_regularizer": "l2", "bias_constraint": "max_norm"}
    ],
    "DepthwiseConv": [
        dict(kernel_size=3, depth_multiplier=2, **window) for window in WINDOWS
    ],
    "Discretization": [{"bin_boundaries": [-1.0, 0.5]}],
    "Dot": [{"axes": 1}, {"axes": 2, "normalize": True}],
    "Dropout": [{"rate": 0.1}],
    "EinsumDense": [
        {"equation": "abc,cd->abd", "output_shape": (None, 5), "bias_axes": "d"}
    ],
    "Embedding": [
        {"input_dim": 7, "output_dim": 3, "input_length": 8},
        {"input_dim": 7, "output_dim": 3, "mask_zero": True},
    ],
    "Flatten": [{}, {"data_format": "channels_first"}],
    "GRU": [*GATED, {"units": 3, "reset_after": False}],
    "GaussianDropout": [{"rate": 0.1}],
    "GaussianNoise": [{"stddev": 0.1}],
    "GlobalAveragePooling": GLOBAL,
    "GlobalMaxPooling": GLOBAL,
    "GroupNormalization": [{"groups": 2}, {"groups": 2, "axis": 1}],
    "LSTM": [*GATED, {"units": 3, "unit_forget_bias": False}],
    "LayerNormalization": [{"epsilon": 0.1}, {"axis": [1, 2], "center": False}],
    "LeakyReLU": [{"alpha": 0.1}],
    "MaxPooling": POOLING,
    "MultiHeadAttention": [{"num_heads": 2, "key_dim": 3}],
    "Normalization": [{"mean": [1.0] * 4, "variance": [2.0] * 4}],
    "PReLU": [{}, {"shared_axes": [1]}],
    "Permute": [{"dims": (2, 1)}],
    "RNN": [
        {"cell": layers.LSTMCell(3, recurrent_activation="hard_sigmoid")},
        {"cell": [layers.GRUCell(3), layers.SimpleRNNCell(2)]},
        {"cell": layers.StackedRNNCells([layers.LSTMCell(2)])},
    ],
    "RandomBrightness": [{"factor": 0.1}],
    "RandomContrast": [{"factor": 0.1}],
    "RandomCrop": [{"height": 5, "width": 5}],
    "RandomRotation": [{"factor": 0.1}],
    "RandomTranslation": [{"height_factor": 0.1, "width_factor": 0.1}],
    "RandomZoom": [{"height_factor": 0.1}],
    "ReLU": [{}, {"max_value": 6.0, "negative_slope": 0.1, "threshold": 0.3}],
    "RepeatVector": [{"n": 2}],
    "Rescaling": [{"scale": 2.0, "offset": 1.0}],
    "Reshape": [{"target_shape": (2, -1)}],
    "Resizing": [
        {"height": 5, "width": 12},
        {"height": 5, "width": 12, "interpolation": "nearest"},
        {"height": 5, "width": 12, "crop_to_aspect_ratio": True},
    ],
    "SeparableConv": [dict(depth_multiplier=2, **c) for c in CONVOLUTIONS],
    "SimpleRNN": [*RECURRENT, {"units": 3, "unroll": True}],
    "Softmax": [{}, {"axis": 1}],
    "SpatialDropout": [{"rate": 0.1}],
    "TimeDistributed": [
        {"layer": layers.SeparableConv1D(3, 3)},
        {"layer": layers.BatchNormalization()},
        {
            "layer": tf_keras.Sequential(
                [layers.Conv1D(3, 3), layers.BatchNormalization()]
            )
        },
    ],
    "Transpose": TRANSPOSED,
    "UpSampling": [{"size": 2}],
    "ZeroPadding": [{"padding": 2}],
}
PLACES = {
    "CategoryEncoding": "tokens",
    "CenterCrop": "images",
    "Embedding": "tokens",
    "Random": "images",
    "RepeatVector": "features",
    "Resizing": "images",
    "TimeDistributed": "series of steps",
}
ON_TWO = """
    Add Average Concatenate Dot Maximum Minimum Multiply Subtract Attention
    AdditiveAttention
"""
# Base classes, parts of others, what no TFLite file can hold, and what tf-keras
# cannot build.
LEFT_OUT = """
    Layer InputLayer Wrapper Lambda GRUCell LSTMCell SimpleRNNCell
    StackedRNNCells Hashing HashedCrossing IntegerLookup StringLookup
    TextVectorization
    SpectralNormalization
"""
# Keras 3 takes other arguments of them, or computes something else.
OF_KERAS_2_ALONE = ("MultiHeadAttention", "RandomCrop")


def classes() -> dict[str, type]:
    """Those in both modules by their names, each once."""
    found = {
        member: name
        for name, member in reversed(
            inspect.getmembers(layers, inspect.isclass)
        )
        if issubclass(member, layers.Layer) and hasattr(keras.layers, name)
    }
    return {
        member.__name__: member
        for member, name in found.items()
        if member.__name__ not in LEFT_OUT.split()
    }


def base(name: str) -> str:
    """`Conv1D` -> `Conv`, and the like."""
    name = name.removesuffix("1D").removesuffix("2D").removesuffix("3D")
    return "Transpose" if name.endswith("Transpose") else name


def place(name: str) -> str:
    for start, found in PLACES.items():
        if name.startswith(start):
            return found
    dimension = next((d for d in "123" if f"{d}D" in name), "1")
    found = {"1": "steps", "2": "images", "3": "volumes"}[dimension]
    return f"series of {found}" if name.startswith("ConvLSTM") else found


def made(name: str, member: type, x) -> list:
    inputs = [x, layers.ReLU()(x)] if name in ON_TWO.split() else x
    choices = ARGUMENTS.get(base(name), ARGUMENTS.get(name, [{}]))
    return [member(**arguments)(inputs) for arguments in choices]


def assert_loaded_alike(model, path, kind):
    """Saves the model, and compares it with what is loaded of the file."""
    model.save(path)
    shape = model.inputs[0].shape[1:]
    data = models.examples(*shape, count=3)
    if len(shape) == 1:  # tokens, of which there are 7
        data = np.abs(2 * data).clip(max=6)
    source = loading.load(path)
    assert source.kind == kind
    expected = tf.nest.flatten(model(data, training=False))
    found = source.reference({source.inputs[0].name: tf.constant(data)})
    for tensor, wanted, value in zip(
        model.outputs, expected, found.values(), strict=True
    ):
        # Sums of up to 200 products in float32, and recurrences of 8 steps.
        np.testing.assert_allclose(
            value, wanted, rtol=2e-4, atol=2e-5, err_msg=str(tensor)
        )


@pytest.mark.parametrize(
    ("where", "suffix"),
    [
        *((where, "h5") for where in SHAPES),
        ("images", "keras"),
        ("series of steps", "keras"),
    ],
)
def test_layers_of_both_are_taken_by_keras_3(tmp_path, where, suffix):
    x = layers.Input(SHAPES[where])
    outputs = [
        output
        for name, member in classes().items()
        if place(name) == where and name not in OF_KERAS_2_ALONE
        for output in made(name, member, x)
    ]
    model = models.randomize(tf_keras.Model(x, outputs))
    assert_loaded_alike(model, tmp_path / f"model.{suffix}", "keras")


def of_keras_2_alone() -> tf_keras.Model:
    x = layers.Input((8, 8, 4))
    y = layers.Reshape((16, 16))(x)
    state = layers.Dense(3)(layers.GlobalMaxPooling1D()(y))
    return tf_keras.Model(
        x,
        [
            layers.RandomCrop(5, 5)(x),
            layers.ThresholdedReLU(0.5)(y),
            layers.LocallyConnected1D(3, 2)(y),
            layers.LSTM(3, time_major=True)(y),
            layers.LSTM(3)(y, initial_state=[state, state]),
            layers.MultiHeadAttention(2, 3)(y, y),
            tf.concat([y[:, 1:3], tf.nn.relu(y) * 2 + 1], axis=1),
            tf_keras.backend.mean(y, axis=1),
        ],
    )


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_what_keras_3_does_not_take_is_taken_by_keras_2(tmp_path, suffix):
    model = models.randomize(of_keras_2_alone())
    assert_loaded_alike(model, tmp_path / f"model.{suffix}", "keras2")


def test_every_class_is_made_with_arguments_that_it_takes():
    named = {*map(base, classes())} | {*classes()}
    assert set(ARGUMENTS) <= named
    assert set(map(place, classes())) == set(SHAPES)
