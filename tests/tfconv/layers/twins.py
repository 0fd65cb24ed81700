"""Our layers and Keras's, in pairs of the same arguments."""

import dataclasses
import re

import keras
import numpy as np
import pytest

import tfconv

LAYERS = ("DepthwiseConv1D", "SeparableConv1D")
each_layer = pytest.mark.parametrize("layer_name", LAYERS)

BATCH, STEPS, CHANNELS = 3, 14, 5

# Both compute in float32 sums of some 15 products (9 taps; 10 channels), in
# whatever order; what enters and leaves them is of the size of 1.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


def make(module, layer_name, **arguments):
    """A layer of `module` (keras.layers or tfconv) with little to say."""
    if layer_name == "SeparableConv1D":
        arguments = {"filters": 4, **arguments}
    return getattr(module, layer_name)(**{"kernel_size": 3, **arguments})


def ours(layer_name, **arguments):
    return make(tfconv, layer_name, **arguments)


def kerass(layer_name, **arguments):
    return make(keras.layers, layer_name, **arguments)


def both(layer_name, **arguments):
    return ours(layer_name, **arguments), kerass(layer_name, **arguments)


def inputs(*shape, dtype=np.float32):
    """Normally distributed, the same in every run."""
    shape = shape or (BATCH, STEPS, CHANNELS)
    return np.random.default_rng(list(shape)).normal(size=shape).astype(dtype)


def randomize(*layers):
    """Gives the layers the same weights, with no zero and no one among them."""
    rng = np.random.default_rng(1)
    weights = [
        rng.uniform(0.1, 0.9, w.shape) * rng.choice([-1, 1], w.shape)
        for w in layers[0].get_weights()
    ]
    for layer in layers:
        layer.set_weights(weights)


@dataclasses.dataclass(frozen=True)
class Twins:
    """One row of the table: a layer name and its arguments."""

    layer_name: str
    arguments: tuple[tuple[str, object], ...]

    def ours(self):
        return ours(self.layer_name, **dict(self.arguments))

    def kerass(self):
        return kerass(self.layer_name, **dict(self.arguments))

    def make(self):
        return self.ours(), self.kerass()

    def built(self, *shape):
        """Both layers, built for `shape`, with the same weights."""
        shape = shape or (BATCH, STEPS, CHANNELS)
        layers = self.make()
        for layer in layers:
            layer.build(shape)
        randomize(*layers)
        return layers

    def __str__(self):
        described = ",".join(f"{k}={v}" for k, v in self.arguments)
        return f"{self.layer_name}({re.sub('<.*?>', '', described)})"


ARGUMENTS = [
    {},
    {"kernel_size": 1},
    {"kernel_size": [4], "strides": [2], "padding": "same"},
    {"kernel_size": (5,), "strides": (3,), "dilation_rate": (1,)},
    {"kernel_size": 2, "dilation_rate": 3, "padding": "SAME"},
    {"kernel_size": 9, "padding": "same", "depth_multiplier": 2},
    {"depth_multiplier": 3, "use_bias": False, "activation": "relu"},
    {"activation": "softmax", "padding": "Valid", "name": "named"},
    {
        "depthwise_initializer": "ones",
        "bias_initializer": keras.initializers.Constant(2.0),
        "activation": keras.activations.tanh,
    },
    {
        "depthwise_regularizer": "l2",
        "bias_regularizer": keras.regularizers.L1(0.3),
        "activity_regularizer": keras.regularizers.L2(0.2),
    },
    {
        "depthwise_constraint": keras.constraints.NonNeg(),
        "bias_constraint": keras.constraints.MaxNorm(0.1),
    },
    {"trainable": False},
]
SEPARABLE_ARGUMENTS = [
    {"filters": 1},
    {"filters": 10, "depth_multiplier": 2, "strides": 2, "padding": "same"},
    {
        "pointwise_initializer": "he_normal",
        "pointwise_regularizer": keras.regularizers.L2(0.4),
        "pointwise_constraint": "unit_norm",
    },
]
TABLE = [
    Twins(layer_name, tuple(arguments.items()))
    for layer_name in LAYERS
    for arguments in ARGUMENTS
    + SEPARABLE_ARGUMENTS * (layer_name == "SeparableConv1D")
]
each_twins = pytest.mark.parametrize("twins", TABLE, ids=str)
