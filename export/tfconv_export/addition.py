"""Keras's addition at a batch of 1."""

import contextlib

import keras
import tensorflow as tf


@contextlib.contextmanager
def not_taken_for_bias():
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
