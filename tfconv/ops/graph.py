"""The lowering for eager mode and plain graphs: TensorFlow's native op."""

import tensorflow as tf

from tfconv.ops.geometry import Geometry


def depthwise_conv1d(
    inputs: tf.Tensor, kernel: tf.Tensor, geometry: Geometry
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], time as the width of an image."""
    images = inputs[:, tf.newaxis]
    padding = geometry.padding
    if padding == "causal":
        left, right = geometry.pads(None)
        images = tf.pad(images, [[0, 0], [0, 0], [left, right], [0, 0]])
        padding = "valid"
    outputs = tf.nn.depthwise_conv2d(
        images,
        kernel[tf.newaxis],
        strides=[1, geometry.strides, geometry.strides, 1],
        padding=padding.upper(),
        dilations=[1, geometry.dilation_rate],
    )
    return tf.squeeze(outputs, axis=1)


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, t, c] x [1, c, f] -> [b, t, f], as a convolution."""
    return tf.nn.conv1d(inputs, kernel, stride=1, padding="VALID")
