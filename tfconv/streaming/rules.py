"""Which rule is whose."""

import keras

from tfconv import layers
from tfconv.streaming import frame_rules
from tfconv.streaming import window_rules
from tfconv.streaming.calls import Call
from tfconv.streaming.calls import Treatment
from tfconv.streaming.calls import unknown
from tfconv.streaming.errors import CannotStream

_OPERATION_MODULES = ("keras.src.ops.", "keras.src.activations.")


def treatment(call: Call) -> Treatment:
    """How a call goes on a stream.

    Raises:
        CannotStream: if it does not.
    """
    if call.kwargs.get("training"):
        raise CannotStream(
            "it is called with training=True", "Build the model without"
        )
    if call.kwargs.get("mask") is not None:
        raise CannotStream("it takes a mask", "Build the model without")
    operation = call.operation
    rule = _LAYERS.get(type(operation))
    if type(operation).__module__.startswith(_OPERATION_MODULES):
        rule = _OPERATIONS.get(type(operation).__name__)
    if rule is None:
        rule = unknown
    return rule(call)


_KERAS = keras.layers
_LAYERS = {
    **dict.fromkeys(
        (
            layers.DepthwiseConv1D,
            layers.SeparableConv1D,
            _KERAS.Conv1D,
            _KERAS.DepthwiseConv1D,
            _KERAS.SeparableConv1D,
        ),
        window_rules.convolution,
    ),
    **dict.fromkeys(
        (_KERAS.AveragePooling1D, _KERAS.MaxPooling1D), window_rules.pooling
    ),
    **dict.fromkeys(
        (
            _KERAS.Flatten,
            _KERAS.GlobalAveragePooling1D,
            _KERAS.GlobalMaxPooling1D,
        ),
        window_rules.gathered,
    ),
    **dict.fromkeys(
        (
            _KERAS.ActivityRegularization,
            _KERAS.AlphaDropout,
            _KERAS.Dropout,
            _KERAS.GaussianDropout,
            _KERAS.GaussianNoise,
            _KERAS.Identity,
            _KERAS.LeakyReLU,
            _KERAS.SpatialDropout1D,
        ),
        frame_rules.identity,
    ),
    **dict.fromkeys((_KERAS.ELU, _KERAS.ReLU), frame_rules.elementwise),
    **dict.fromkeys(
        (
            _KERAS.Add,
            _KERAS.Average,
            _KERAS.Maximum,
            _KERAS.Minimum,
            _KERAS.Multiply,
            _KERAS.Subtract,
        ),
        frame_rules.arithmetic,
    ),
    **dict.fromkeys(
        (
            _KERAS.LayerNormalization,
            _KERAS.RMSNormalization,
            _KERAS.Softmax,
            _KERAS.UnitNormalization,
        ),
        frame_rules.along_axes,
    ),
    **dict.fromkeys(
        (_KERAS.BatchNormalization, _KERAS.Normalization),
        frame_rules.normalization,
    ),
    _KERAS.Activation: frame_rules.activation,
    _KERAS.Concatenate: frame_rules.concatenation,
    _KERAS.Cropping1D: window_rules.cropping,
    _KERAS.Dense: frame_rules.dense,
    _KERAS.Embedding: frame_rules.embedding,
    _KERAS.PReLU: frame_rules.prelu,
    _KERAS.Rescaling: frame_rules.rescaling,
    _KERAS.Reshape: window_rules.reshape,
    _KERAS.TimeDistributed: frame_rules.elementwise,
    _KERAS.ZeroPadding1D: window_rules.zero_padding,
}
_ELEMENTWISE = """
Absolute Celu Clip Cos Divide Elu Exp Gelu HardSigmoid HardSilu HardTanh
LeakyRelu Log Log1p LogSigmoid Mish Negative Power ReLU Reciprocal Relu Relu6
Selu Sigmoid Silu Sin Softplus Softsign Sqrt Square Tanh TanhShrink TrueDivide
"""
# By name: Keras keeps the classes of `keras.ops` to itself.
_OPERATIONS = {
    **dict.fromkeys(
        _ELEMENTWISE.split(),
        frame_rules.elementwise,
    ),
    **dict.fromkeys(
        ("Add", "Maximum", "Minimum", "Multiply", "Subtract"),
        frame_rules.arithmetic,
    ),
    **dict.fromkeys(("LogSoftmax", "Softmax"), frame_rules.along_axes),
    **dict.fromkeys(
        ("Amax", "Amin", "Max", "Mean", "Min", "Sum"), window_rules.reduction
    ),
    **dict.fromkeys(
        ("ArraySplit", "Flip", "Repeat", "Split", "Squeeze", "Unstack"),
        frame_rules.parting,
    ),
    **dict.fromkeys(("ExpandDims", "Stack"), frame_rules.putting_together),
    "Concatenate": frame_rules.concatenation,
    "GetItem": window_rules.slicing,
    "Reshape": window_rules.reshape,
    "Slice": window_rules.box,
    "Take": frame_rules.taking,
}
