"""TensorFlow's native depthwise op and its gradients, over one time axis."""

import contextlib

import tensorflow as tf

from tfconv.ops.forms.steps import length
from tfconv.ops.forms.steps import pad
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


def kernel_gradient(inputs, upstream, taps, pads, stride=1) -> tf.Tensor:
    """[b, t, c] x [b, t', c] -> [k, c, 1], time as the width of an image."""
    channels = inputs.shape[2]
    inputs, padding = _padded(inputs, pads, taps, stride)
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=tf.expand_dims(inputs, axis=1),
        filter_sizes=[1, taps, channels, 1],
        out_backprop=tf.expand_dims(upstream, axis=1),
        strides=[1, stride, stride, 1],
        padding=padding,
    )
    return tf.reshape(gradient, [taps, channels, 1])


def kernel_gradient_over_height(
    inputs, upstream, taps, pads, width=1, taps_across=1
) -> tf.Tensor:
    """[b, t, width*c] x [b, t', v*c] -> [k, n*c, 1], time as the height.

    Signals that lie side by side are the width of an image, over which a kernel
    of n taps across is summed, or fits once.
    """
    channels = inputs.shape[2] // width
    inputs, padding = _padded(inputs, pads, taps)
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=_images(inputs, channels),
        filter_sizes=[taps, taps_across, channels, 1],
        out_backprop=_images(upstream, channels),
        strides=_NO_STRIDES,
        padding=padding,
    )
    return tf.reshape(gradient, [taps, taps_across * channels, 1])


def _padded(inputs, pads, taps: int, stride: int = 1) -> tuple[tf.Tensor, str]:
    """The inputs, and how the op is to pad them."""
    steps = length(inputs)
    # A kernel longer than its inputs is slow to pad there.
    is_long = isinstance(steps, int) and steps >= taps
    if is_long and _is_same(pads, taps, stride, steps):
        return inputs, "SAME"
    return pad(inputs, pads), "VALID"


def _images(inputs, channels: int) -> tf.Tensor:
    """[b, t, width*c] -> [b, t, width, c]."""
    width = inputs.shape[2] // channels
    return tf.reshape(inputs, [-1, length(inputs), width, channels])


def _is_same(pads, taps, stride, steps) -> bool:
    same = Geometry(taps, stride, "same").pads(steps)
    return all(isinstance(pad, int) for pad in same) and pads == same
