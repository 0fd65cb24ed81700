"""Keras's operations, in forms that the converter can read."""

import contextlib

import keras
import tensorflow as tf

from tfconv.ops.tracing import Lowering
from tfconv.ops.tracing import current_lowering


@contextlib.contextmanager
def for_the_converter():
    """Has Keras's layers compute what they do in those forms, for a while."""
    with (
        _not_taken_for_bias(),
        _dilated_in_one_operation(),
        _strided_and_dilated_in_one_operation(),
    ):
        yield


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


@contextlib.contextmanager
def _strided_and_dilated_in_one_operation():
    """Has Keras's depthwise layers stride and dilate at once.

    TensorFlow's CPU runtime cannot: so Keras dilates at a stride of 1, and
    leaves out what lies between two strides. TFLite can.
    """
    try:
        backend = keras.src.backend.tensorflow.nn
        decomposed = backend._depthwise_conv_stride_dilation_decomposition
    except AttributeError:  # It is not public, and not in older releases.
        yield
        return

    def plain(
        inputs,
        kernel,
        strides,
        padding,
        data_format,
        dilation_rate,
        pointwise_kernel=None,
    ):
        if current_lowering() is not Lowering.EDGE or len(set(strides)) > 1:
            return decomposed(
                inputs,
                kernel,
                strides,
                padding,
                data_format,
                dilation_rate,
                pointwise_kernel,
            )
        if data_format == "channels_first":
            rank = len(inputs.shape)
            outputs = plain(
                tf.transpose(inputs, [0, *range(2, rank), 1]),
                kernel,
                strides,
                padding,
                "channels_last",
                dilation_rate,
                pointwise_kernel,
            )
            return tf.transpose(outputs, [0, rank - 1, *range(1, rank - 1)])
        if len(strides) == 1:
            pointwise_kernel = (
                None
                if pointwise_kernel is None
                else pointwise_kernel[tf.newaxis]
            )
            outputs = plain(
                tf.expand_dims(inputs, 1),
                kernel[tf.newaxis],
                2 * strides,
                padding,
                data_format,
                (1, *dilation_rate),
                pointwise_kernel,
            )
            return tf.squeeze(outputs, 1)
        outputs = tf.raw_ops.DepthwiseConv2dNative(
            input=inputs,
            filter=kernel,
            strides=[1, *strides, 1],
            padding=padding,
            dilations=[1, *dilation_rate, 1],
        )
        if pointwise_kernel is None:
            return outputs
        return tf.nn.conv2d(outputs, pointwise_kernel, 1, "VALID")

    backend._depthwise_conv_stride_dilation_decomposition = plain
    try:
        yield
    finally:
        backend._depthwise_conv_stride_dilation_decomposition = decomposed


@contextlib.contextmanager
def _not_taken_for_bias():
    """Has Keras add `(1, t, 1)` as it adds `(b, t, 1)`, for a while.

    What has one axis longer than 1 looks like a bias to Keras, and at a batch
    of 1 that is the time axis of a single channel. It adds it along axis 1,
    which the converter cannot read, or along the last axis, which is wrong, if
    that happens to be as long.
    """
    try:
        backend = keras.src.backend.numpy
        add = backend.add
    except AttributeError:  # It is not public, and may have moved.
        yield
        return

    def plain(x1, x2):
        if _spreads_over_channels(x1, x2) or _are_alike(x1, x2):
            return tf.add(x1, x2)
        return add(x1, x2)

    backend.add = plain
    try:
        yield
    finally:
        backend.add = add


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
