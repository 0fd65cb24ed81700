"""The lowering for export: what the TFLite converter keeps as one operator.

`tf.nn.depthwise_conv2d` wraps a dilated convolution into SpaceToBatchND, which
the converter does not always take out again; the raw op carries `dilations` as
an attribute. TensorFlow's CPU runtime cannot run that, so it is for graphs on
their way to the converter. Shapes are static there, and reshapes, unlike
squeezes and expanded dimensions, cancel between two layers.
"""

import tensorflow as tf

from tfconv.ops.geometry import Geometry


def depthwise_conv1d(
    inputs: tf.Tensor, kernel: tf.Tensor, geometry: Geometry
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m] as one DepthwiseConv2dNative."""
    batch, steps, channels = inputs.shape
    images = tf.reshape(inputs, [batch, 1, steps, channels])
    padding = geometry.padding
    if padding == "causal":
        # Not EXPLICIT padding of a dilated convolution: the converter turns
        # that into SAME, which looks ahead.
        left, right = geometry.pads(steps)
        images = tf.pad(images, [[0, 0], [0, 0], [left, right], [0, 0]])
        padding = "valid"
    outputs = tf.raw_ops.DepthwiseConv2dNative(
        input=images,
        filter=kernel[tf.newaxis],
        strides=[1, geometry.strides, geometry.strides, 1],
        padding=padding.upper(),
        dilations=[1, 1, geometry.dilation_rate, 1],
    )
    return tf.reshape(outputs, [batch, outputs.shape[2], outputs.shape[3]])


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, t, c] x [1, c, f] -> [b, t, f] as one Conv2D of 1x1."""
    batch, steps, channels = inputs.shape
    outputs = tf.nn.conv2d(
        tf.reshape(inputs, [batch, 1, steps, channels]),
        kernel[tf.newaxis],
        strides=1,
        padding="VALID",
    )
    return tf.reshape(outputs, [batch, steps, kernel.shape[-1]])
