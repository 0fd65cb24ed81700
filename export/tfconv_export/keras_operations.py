"""Keras's operations, in forms that the converter can read."""

import contextlib

import keras
import tensorflow as tf

from tfconv.ops.tracing import Lowering
from tfconv.ops.tracing import current_lowering
from tfconv_export import recurrent


@contextlib.contextmanager
def for_the_converter(*, fuses_lstm: bool = True):
    """Has Keras's layers compute what they do in those forms, for a while.

    Args:
        fuses_lstm: bool, whether an LSTM becomes one operator, which keeps its
            state from one invocation of the file to the next.
    """
    with (
        _not_taken_for_bias(),
        _dilated_in_one_operation(),
        recurrent.in_their_forms(fuses=fuses_lstm),
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
