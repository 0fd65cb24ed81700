"""TensorFlow's native depthwise op and its gradients, over one time axis.

Which of them is fast where, regimes.py says.
"""

import tensorflow as tf

from tfconv.ops import reduction
from tfconv.ops.geometry import Geometry
from tfconv.ops.reduction import length

_NO_STRIDES = [1, 1, 1, 1]

# TensorFlow has no oneDNN kernel for gradients with explicit padding: those are
# 2 to 40 times slower.


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

    Of no examples the op makes outputs of another shape.
    """
    _, channels, multiplier = kernel.shape
    return tf.reshape(outputs, [-1, windows, channels * multiplier])


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
    return reduction.window(tf.squeeze(gradient, axis=1), left, steps)


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
    # A kernel longer than its inputs is 3 to 10 times slower to pad there.
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

    Of a kernel as wide as the image, time as its height.
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
