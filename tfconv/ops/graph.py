"""The lowering for eager mode and plain graphs: TensorFlow's native op.

On CPU the native op is fast for stride 1, no dilation, no multiplier and 16
channels or more, and has cliffs elsewhere. So whatever else is long enough to
be worth it is brought to that form by reshapes (see reduction.py); distant
segments of a signal with few channels become channels too.
"""

import tensorflow as tf

from tfconv.ops import reduction
from tfconv.ops import xla
from tfconv.ops.geometry import Geometry
from tfconv.ops.reduction import length
from tfconv.ops.tracing import has_accelerator
from tfconv.ops.tracing import in_inference

# Where a form begins to pay, measured with benchmarks/op_benchmark (float32,
# batch 32, 1-2 million elements, 2 cores of an AMD EPYC), in ms for a part, in
# times Keras's speed for y + dx + dw:
#
# - Forward in segments: c=1 k=9 1.2 -> 0.6, k=63 6.1 -> 1.0; c=3 k=63 5.5 ->
#   2.1; c=3 k=9 and c=8 k=31 are even.
# - Kernel gradient in segments: c=1 k=31 6 -> 1.5, c=3 k=63 18 -> 4.7, c=8
#   k=31 13 -> 3.9; at c=40 there is nothing to win.
_MIN_TAPS_OF_SEGMENTED_FORWARD = {1: 9, 2: 31, 3: 31}
_MAX_CHANNELS_OF_SEGMENTED_GRADIENT = 8
_SEGMENTED_CHANNELS = 64


def depthwise_conv1d(
    inputs: tf.Tensor, kernel: tf.Tensor, geometry: Geometry
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], time as the width of an image."""
    if inputs.shape[0] == 0:
        # Of no examples the native op makes outputs of a wrong shape, and a
        # gradient of whatever was in the memory.
        return xla.depthwise_conv1d(inputs, kernel, geometry)
    if inputs.shape[1] is None and geometry.padding == "valid":
        inputs = _at_least_one_window(inputs, geometry)
    pads = geometry.pads(length(inputs))
    if (
        has_accelerator()
        or in_inference()
        # Known when tracing, as explicit padding has to be.
        or not all(isinstance(pad, int) for pad in pads)
        or geometry.kernel_size < _min_taps_of_reduction(kernel, geometry)
    ):
        return _native_with_its_own_gradient(inputs, kernel, geometry)
    return reduction.depthwise_conv1d(
        _Native(),
        inputs,
        kernel,
        pads,
        geometry.strides,
        geometry.dilation_rate,
    )


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, t, c] x [1, c, f] -> [b, t, f], as a convolution."""
    if inputs.shape[0] == 0:
        return xla.pointwise_conv1d(inputs, kernel)
    return tf.nn.conv1d(inputs, kernel, stride=1, padding="VALID")


def _at_least_one_window(inputs, geometry: Geometry) -> tf.Tensor:
    """The inputs; for no windows the native op makes a wrong shape, too."""
    check = tf.debugging.assert_greater_equal(
        tf.shape(inputs)[1],
        geometry.effective_kernel_size,
        "Computed output size would be zero or negative: the inputs have "
        "fewer time steps than one window spans.",
    )
    with tf.control_dependencies([check]):
        return tf.identity(inputs)


def _min_taps_of_reduction(kernel, geometry: Geometry) -> int:
    """From how many taps on the reduction is faster than the native op.

    Below, y + dx + dw would run at 0.6 to 0.95 times its speed; from there on
    at 1 to 24 times.
    """
    _, channels, multiplier = kernel.shape
    if geometry.dilation_rate > 1:
        return 5 if channels >= 64 else 1
    if geometry.strides > 1:
        return 4 * geometry.strides
    if multiplier > 1:
        return 16 if channels * multiplier < 8 else 5
    return 5 if channels > 8 else 7


def _native_with_its_own_gradient(
    inputs, kernel, geometry: Geometry
) -> tf.Tensor:
    # Not inputs[:, tf.newaxis]: the gradient of that is a copy.
    images = tf.expand_dims(inputs, axis=1)
    padding = geometry.padding
    if padding == "causal":
        left, right = geometry.pads(None)
        images = tf.pad(images, [[0, 0], [0, 0], [left, right], [0, 0]])
        padding = "valid"
    outputs = tf.nn.depthwise_conv2d(
        images,
        tf.expand_dims(kernel, axis=0),
        strides=[1, geometry.strides, geometry.strides, 1],
        padding=padding.upper(),
        dilations=[1, geometry.dilation_rate],
    )
    return tf.squeeze(outputs, axis=1)


class _Native:
    def convolve(self, inputs, kernel, pads, stride) -> tf.Tensor:
        segments = _forward_segments(inputs, kernel, pads)
        if stride == 1 and segments > 1:
            return _segmented(inputs, kernel, pads, segments)
        return _native(inputs, kernel, pads, stride)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        segments = _gradient_segments(inputs, upstream, taps)
        if segments > 1:
            return _segmented_kernel_gradient(
                inputs, upstream, taps, pads, segments
            )
        return _native_kernel_gradient(inputs, upstream, taps, pads)

    def repeat_channels(self, inputs, multiplier) -> tf.Tensor:
        return tf.repeat(inputs, multiplier, axis=2)


def _forward_segments(inputs, kernel, pads) -> int:
    taps, channels, _ = kernel.shape
    least = _MIN_TAPS_OF_SEGMENTED_FORWARD.get(channels)
    if least is None or taps < least or inputs.shape[1] is None:
        return 1
    return _segments(channels, inputs.shape[1] + sum(pads) - taps + 1, taps)


def _gradient_segments(inputs, upstream, taps) -> int:
    channels = inputs.shape[2]
    if (
        channels > _MAX_CHANNELS_OF_SEGMENTED_GRADIENT
        or upstream.shape[1] is None
    ):
        return 1
    return _segments(channels, upstream.shape[1], taps)


def _segments(channels: int, windows: int, taps: int) -> int:
    """As many as fill the channels, each at least as long as its halo."""
    return min(_SEGMENTED_CHANNELS // channels, windows // max(taps, 2))


def _segmented(inputs, kernel, pads, segments) -> tf.Tensor:
    taps, channels, _ = kernel.shape
    windows = inputs.shape[1] + sum(pads) - taps + 1
    length = -(-windows // segments)
    outputs = _native(
        _overlapping(inputs, pads[0], taps, length, segments),
        tf.tile(kernel, [1, segments, 1]),
        (0, 0),
    )
    outputs = tf.reshape(outputs, [-1, length, segments, channels])
    outputs = tf.transpose(outputs, [0, 2, 1, 3])
    outputs = tf.reshape(outputs, [-1, segments * length, channels])
    return outputs[:, :windows]


def _segmented_kernel_gradient(inputs, upstream, taps, pads, segments):
    channels = inputs.shape[2]
    windows = upstream.shape[1]
    length = -(-windows // segments)
    upstream = tf.pad(
        upstream, [[0, 0], [0, segments * length - windows], [0, 0]]
    )
    gradient = _native_kernel_gradient(
        _overlapping(inputs, pads[0], taps, length, segments),
        _side_by_side(upstream, length, segments),
        taps,
        (0, 0),
    )
    gradient = tf.reshape(gradient, [taps, segments, channels, 1])
    return tf.reduce_sum(gradient, axis=1)


def _overlapping(inputs, left, taps, length, segments) -> tf.Tensor:
    """[b, t, c] -> [b, length + k - 1, segments * c]."""
    total = segments * length + taps - 1
    steps, channels = inputs.shape[1:]
    padded = tf.pad(
        inputs, [[0, 0], [left, max(0, total - left - steps)], [0, 0]]
    )
    body = _side_by_side(padded[:, : segments * length], length, segments)
    # A segment is followed by the beginning of the next one.
    last = padded[:, segments * length : total]
    halo = tf.concat([body[:, : taps - 1, channels:], last], axis=2)
    return tf.concat([body, halo], axis=1)


def _side_by_side(inputs, length, segments) -> tf.Tensor:
    """[b, segments * length, c] -> [b, length, segments * c]."""
    channels = inputs.shape[2]
    outputs = tf.reshape(inputs, [-1, segments, length, channels])
    outputs = tf.transpose(outputs, [0, 2, 1, 3])
    return tf.reshape(outputs, [-1, length, segments * channels])


def _native(inputs, kernel, pads, stride=1) -> tf.Tensor:
    outputs = tf.nn.depthwise_conv2d(
        tf.expand_dims(inputs, axis=1),
        tf.expand_dims(kernel, axis=0),
        strides=[1, stride, stride, 1],
        padding=[[0, 0], [0, 0], list(pads), [0, 0]],
    )
    return tf.squeeze(outputs, axis=1)


def _native_kernel_gradient(inputs, upstream, taps, pads):
    """With time as the height; as the width it is 2 to 40 times slower.

    So is explicit padding, for which TensorFlow has no oneDNN kernel.
    """
    is_same = pads == Geometry(taps, padding="same").pads(None)
    padding = "SAME" if is_same else "VALID"
    if padding == "VALID" and pads != (0, 0):
        inputs = tf.pad(inputs, [[0, 0], pads, [0, 0]])
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=tf.expand_dims(inputs, axis=2),
        filter_sizes=[taps, 1, inputs.shape[2], 1],
        out_backprop=tf.expand_dims(upstream, axis=2),
        strides=[1, 1, 1, 1],
        padding=padding,
    )
    return tf.squeeze(gradient, axis=1)
