"""TensorFlow's native depthwise op and its gradients, over one time axis."""

import contextlib

import tensorflow as tf

from tfconv.ops.forms.steps import length
from tfconv.ops.forms.steps import window
from tfconv.ops.geometry import Geometry

_NO_STRIDES = [1, 1, 1, 1]

# TensorFlow has no fast kernel for gradients with explicit padding, so that it
# is "SAME", or there is none.


def convolve(inputs, kernel, pads, stride=1) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], time as the width of an image."""
    outputs = tf.nn.depthwise_conv2d(
        tf.expand_dims(inputs, axis=1),
        tf.expand_dims(kernel, axis=0),
        strides=[1, stride, stride, 1],
        padding=[[0, 0], [0, 0], list(pads), [0, 0]],
    )
    steps = inputs.shape[1]
    if not steps:
        return tf.squeeze(outputs, axis=1)
    windows = (steps + sum(pads) - kernel.shape[0]) // stride + 1
    return without_height(outputs, windows, kernel)


def without_height(outputs, windows: int, kernel) -> tf.Tensor:
    """[b, 1, t', c*m] -> [b, t', c*m], also where b turns out to be 0.

    The op makes outputs of another shape without examples.
    """
    _, channels, multiplier = kernel.shape
    return tf.reshape(outputs, [-1, windows, channels * multiplier])


def repeat(inputs, multiplier: int) -> tf.Tensor:
    """[b, t, c] -> [b, t, c*m], each channel m times.

    As the parts of complex numbers, since tf.repeat is slow.
    """
    dtype = inputs.dtype
    if multiplier == 2:
        repeated = tf.bitcast(tf.complex(inputs, inputs), dtype)
    elif multiplier == 4 and dtype == tf.float32:
        pairs = tf.bitcast(tf.complex(inputs, inputs), tf.float64)
        repeated = tf.bitcast(tf.complex(pairs, pairs), dtype)
    else:
        return tf.repeat(inputs, multiplier, axis=2)
    channels = inputs.shape[2] * multiplier
    return tf.reshape(repeated, [-1, length(inputs), channels])


def _bitcast_gradient(op, upstream) -> tf.Tensor:
    """Numbers regarded as the parts of complex ones, and back.

    TensorFlow has no gradient of it. Backpropagation does not need one, since
    the convolution has a gradient of its own; forward mode does.
    """
    return tf.bitcast(upstream, op.inputs[0].dtype)


with contextlib.suppress(KeyError):  # Somebody else has registered one.
    tf.RegisterGradient("Bitcast")(_bitcast_gradient)


def input_gradient(upstream, kernel, pads, stride, steps) -> tf.Tensor:
    """[b, t', c] x [k, c, 1] -> [b, steps, c]."""
    taps, channels, _ = kernel.shape
    same = _is_same(pads, taps, stride, steps)
    left, right = (0, 0) if same else pads
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=[tf.shape(upstream)[0], 1, left + steps + right, channels],
        filter=tf.expand_dims(kernel, axis=0),
        out_backprop=tf.expand_dims(upstream, axis=1),
        strides=[1, stride, stride, 1],
        padding="SAME" if same else "VALID",
    )
    return window(tf.squeeze(gradient, axis=1), left, steps)


def kernel_gradient(inputs, upstream, taps, pads, stride) -> tf.Tensor:
    """[b, t, c] x [b, t', c*m] -> [k, c, m]."""
    same = _is_same(pads, taps, stride, length(inputs))
    channels = inputs.shape[2]
    multiplier = upstream.shape[2] // channels
    if not same:
        inputs = tf.pad(inputs, [[0, 0], pads, [0, 0]])
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=tf.expand_dims(inputs, axis=1),
        filter_sizes=[1, taps, channels, multiplier],
        out_backprop=tf.expand_dims(upstream, axis=1),
        strides=[1, stride, stride, 1],
        padding="SAME" if same else "VALID",
    )
    return tf.squeeze(gradient, axis=0)


def kernel_gradient_over_height(
    inputs, upstream, taps, pads, width=1
) -> tf.Tensor:
    """[b, t, width*c] x [b, t', width*c] -> [k, c, 1], time as the height."""
    steps = length(inputs)
    # A kernel longer than its inputs is slow to pad there.
    longer = not isinstance(steps, int) or steps < taps
    same = not longer and _is_same(pads, taps, 1, steps)
    if not same:
        inputs = tf.pad(inputs, [[0, 0], pads, [0, 0]])
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=_images(inputs, width),
        filter_sizes=[taps, 1, inputs.shape[2] // width, 1],
        out_backprop=_images(upstream, width),
        strides=_NO_STRIDES,
        padding="SAME" if same else "VALID",
    )
    return tf.squeeze(gradient, axis=1)


def kernel_gradient_of_rows(inputs, upstream, taps, width) -> tf.Tensor:
    """[b, t' + k - 1, width*c] x [b, t', c] -> [k, width*c, 1].

    The kernel is as wide as the image, and time is its height.
    """
    channels = upstream.shape[2]
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=_images(inputs, width),
        filter_sizes=[taps, width, channels, 1],
        out_backprop=_images(upstream, 1),
        strides=_NO_STRIDES,
        padding="VALID",
    )
    return tf.reshape(gradient, [taps, width * channels, 1])


def _images(inputs, width) -> tf.Tensor:
    """[b, t, width*c] -> [b, t, width, c]."""
    channels = inputs.shape[2] // width
    return tf.reshape(inputs, [-1, length(inputs), width, channels])


def _is_same(pads, taps, stride, steps) -> bool:
    same = Geometry(taps, stride, "same").pads(steps)
    return all(isinstance(pad, int) for pad in same) and pads == same
