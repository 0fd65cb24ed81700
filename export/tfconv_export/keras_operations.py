"""Keras's operations, in forms that the converter can read."""

import contextlib
import functools

import keras
import tensorflow as tf

from tfconv.ops.tracing import Lowering
from tfconv.ops.tracing import current_lowering
from tfconv_export import recurrent

# A slope that is 1 for what is left of it. The converter leaves out 1 itself.
MARK = 1 + 2.0**-23

# Those of "Self-Normalizing Neural Networks", 2017.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


@contextlib.contextmanager
def for_the_converter(*, fuses_lstm: bool = True):
    """Has Keras's layers compute what they do in those forms, for a while.

    Args:
        fuses_lstm: bool, whether an LSTM becomes one operator, which keeps its
            state from one invocation of the file to the next.
    """
    with (
        _replaced("numpy", add=_add, max=_maximum),
        _replaced("nn", elu=_elu, selu=_selu),
        _replaced(
            "nn", _depthwise_conv_stride_dilation_decomposition=_depthwise
        ),
        _dilated_in_one_operation(),
        recurrent.in_their_forms(fuses=fuses_lstm),
    ):
        yield


@contextlib.contextmanager
def _replaced(module: str, **functions):
    """Puts functions, which take Keras's own first, in their places."""
    try:
        backend = getattr(keras.src.backend, module)
        originals = {name: getattr(backend, name) for name in functions}
    except AttributeError:  # They are not public, and may have moved.
        yield
        return
    for name, original in originals.items():
        setattr(backend, name, functools.partial(functions[name], original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(backend, name, original)


def _elu(original, x, alpha=1.0):
    """ELU without an operator that chooses, which TFLite Micro may not have.

    It keeps the sign of what it is given, so that its slope can come after it.
    """
    if alpha < 0 or current_lowering() is not Lowering.EDGE:
        return original(x, alpha)
    # Even with a slope of 1; see `integer_operators.without_marks`.
    return tf.nn.leaky_relu(tf.nn.elu(x), MARK if alpha == 1 else alpha)


def _selu(original, x):
    if current_lowering() is not Lowering.EDGE:
        return original(x)
    return _SELU_SCALE * tf.nn.leaky_relu(tf.nn.elu(x), _SELU_ALPHA)


def _maximum(original, x, axis=None, keepdims=False, initial=None):
    """The maximum over time, or over height and width, in one pool.

    TFLite Micro has a MAX_POOL_2D in int16, but no REDUCE_MAX.
    """
    if (
        current_lowering() is not Lowering.EDGE
        or initial is not None
        or not _is_over_space(x, axis)
    ):
        return original(x, axis, keepdims, initial)
    batch, *space, channels = x.shape
    size = (1, *space)[-2:]
    pools = tf.nn.max_pool2d(
        tf.reshape(x, (batch, *size, channels)), size, size, "VALID"
    )
    ones = [1] * len(space) if keepdims else []
    return tf.reshape(pools, (batch, *ones, channels))


def _is_over_space(x, axis) -> bool:
    if not tf.is_symbolic_tensor(x) or not x.shape.is_fully_defined():
        return False
    rank = x.shape.rank
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return (
        x.dtype == tf.float32
        and rank in (3, 4)
        and None not in axes
        and sorted(a % rank for a in axes) == list(range(1, rank - 1))
    )


@contextlib.contextmanager
def _dilated_in_one_operation():
    """Has dilated `Conv1D` layers carry `dilations` as an attribute.

    TensorFlow wraps them into SpaceToBatchND. The converter takes that out
    again, but not if two layers share it: those of a gate, on one tensor.
    """
    convolution = tf.nn.convolution

    def plain(inputs, filters, strides=1, padding="VALID", **options):
        dilations = options.get("dilations")
        if (
            dilations in (None, 1, (1,), [1])
            or inputs.shape.rank != 3
            or options.get("data_format") not in (None, "NWC")
            or current_lowering() is not Lowering.EDGE
        ):
            return convolution(inputs, filters, strides, padding, **options)
        outputs = tf.nn.conv2d(
            tf.expand_dims(inputs, 1),
            filters[tf.newaxis],
            strides=(1, 1),
            padding=padding,
            dilations=(1, *dilations),
        )
        return tf.squeeze(outputs, 1)

    tf.nn.convolution = plain
    try:
        yield
    finally:
        tf.nn.convolution = convolution


def _depthwise(
    original,
    inputs,
    kernel,
    strides,
    padding,
    data_format,
    dilation_rate,
    pointwise_kernel=None,
):
    """A depthwise layer that strides and dilates at once, in one operation.

    TensorFlow's CPU runtime cannot do so: Keras dilates at a stride of 1, and
    leaves out what lies between two strides. TFLite can.
    """
    if current_lowering() is not Lowering.EDGE or len(set(strides)) > 1:
        return original(
            inputs,
            kernel,
            strides,
            padding,
            data_format,
            dilation_rate,
            pointwise_kernel,
        )
    is_first = data_format == "channels_first"
    rank = len(inputs.shape)
    if is_first:
        inputs = tf.transpose(inputs, [0, *range(2, rank), 1])
    is_flat = len(strides) == 1
    if is_flat:
        inputs, kernel = tf.expand_dims(inputs, 1), kernel[tf.newaxis]
        strides, dilation_rate = 2 * strides, (1, *dilation_rate)
    outputs = tf.raw_ops.DepthwiseConv2dNative(
        input=inputs,
        filter=kernel,
        strides=[1, *strides, 1],
        padding=padding,
        dilations=[1, *dilation_rate, 1],
    )
    if pointwise_kernel is not None:
        if is_flat:
            pointwise_kernel = pointwise_kernel[tf.newaxis]
        outputs = tf.nn.conv2d(outputs, pointwise_kernel, 1, "VALID")
    if is_flat:
        outputs = tf.squeeze(outputs, 1)
    if is_first:
        outputs = tf.transpose(outputs, [0, rank - 1, *range(1, rank - 1)])
    return outputs


def _add(original, x1, x2):
    """Adds `(1, t, 1)` as Keras adds `(b, t, 1)`.

    What has one axis longer than 1 looks like a bias to Keras, and at a batch
    of 1 that is the time axis of a single channel. It adds it along axis 1,
    which the converter cannot read, or along the last axis, which is wrong, if
    that happens to be as long.
    """
    if _is_one_for_all(x1, x2):
        x2 = x2.op.inputs[0]
    if _spreads_over_channels(x1, x2) or _are_alike(x1, x2):
        return tf.add(x1, x2)
    return original(x1, x2)


def _is_one_for_all(x1, x2) -> bool:
    """The bias of a single filter, which Keras gives as many axes as `x1`.

    As a vector, the converter makes it a part of the convolution.
    """
    return (
        tf.is_symbolic_tensor(x1)
        and tf.is_symbolic_tensor(x2)
        and x1.dtype == x2.dtype
        and x1.shape.rank == x2.shape.rank
        and x2.op.type == "Reshape"
        and x2.op.inputs[0].shape == (1,)
    )


def _spreads_over_channels(x1, x2) -> bool:
    return (
        isinstance(x1, tf.Tensor)
        and isinstance(x2, tf.Tensor)
        and x1.dtype == x2.dtype
        and bool(x2.shape.rank)
        and x2.shape.rank > 1
        and x2.shape[-1] == 1
    )


def _are_alike(x1, x2) -> bool:
    """One frame of channels and another; Keras's bias costs a RESHAPE."""
    return (
        isinstance(x1, tf.Tensor)
        and isinstance(x2, tf.Tensor)
        and x1.dtype == x2.dtype
        and x1.shape.is_fully_defined()
        and x1.shape == x2.shape
    )
