"""Few channels made many: distant segments of a signal as its channels."""

import tensorflow as tf

from tfconv.ops import native
from tfconv.ops import reduction

_CHANNELS = 64


def number(channels: int, steps: int, taps: int) -> int:
    """As many as fill the channels, each at least as long as its halo."""
    return min(_CHANNELS // channels, steps // max(taps, 2))


def convolve(inputs, kernel, pads, segments, stride=1) -> tf.Tensor:
    """[b, t, c] x [k, c, 1] -> [b, t', c]."""
    taps = kernel.shape[0]
    windows = (inputs.shape[1] + sum(pads) - taps) // stride + 1
    length = reduction.ceil_divide(windows, segments)
    outputs = native.convolve(
        _overlapping(
            inputs, pads[0], max(0, taps - stride), length * stride, segments
        ),
        tf.tile(kernel, [1, segments, 1]),
        (0, 0),
        stride,
    )
    return _one_after_another(outputs, segments)[:, :windows]


def input_gradient(upstream, kernel, pads, segments, stride, steps):
    """[b, t', c] x [k, c, 1] -> [b, steps, c], segments of whole strides."""
    taps = kernel.shape[0]
    rows = reduction.Rows.of(taps, pads[0], stride)
    length = reduction.ceil_divide(steps, stride * segments)
    halo = rows.taps - 1
    kernel = tf.pad(kernel, [[rows.before, rows.after], [0, 0], [0, 0]])
    gradient = native.input_gradient(
        _overlapping(upstream, halo - rows.left, halo, length, segments),
        tf.tile(kernel, [1, segments, 1]),
        (halo * stride, halo * stride),
        stride,
        length * stride,
    )
    return _one_after_another(gradient, segments)[:, :steps]


def kernel_gradient(inputs, upstream, taps, pads, segments) -> tf.Tensor:
    """[b, t, c] x [b, t', c] -> [k, c, 1]."""
    channels = inputs.shape[2]
    windows = upstream.shape[1]
    length = reduction.ceil_divide(windows, segments)
    upstream = tf.pad(
        upstream, [[0, 0], [0, segments * length - windows], [0, 0]]
    )
    gradient = native.kernel_gradient_over_height(
        _overlapping(inputs, pads[0], taps - 1, length, segments),
        _side_by_side(upstream, length, segments),
        taps,
        (0, 0),
    )
    gradient = tf.reshape(gradient, [taps, segments, channels, 1])
    return tf.reduce_sum(gradient, axis=1)


def _overlapping(inputs, left, halo, length, segments) -> tf.Tensor:
    """[b, t, c] -> [b, length + halo, segments * c], from -left on."""
    total = segments * length
    padded = reduction.window(inputs, -left, total + halo)
    body = _side_by_side(padded[:, :total], length, segments)
    # A segment is followed by the beginning of the next one.
    channels = inputs.shape[2]
    following = tf.concat(
        [body[:, :halo, channels:], padded[:, total:]], axis=2
    )
    return tf.concat([body, following], axis=1)


def _side_by_side(inputs, length, segments) -> tf.Tensor:
    """[b, segments * length, c] -> [b, length, segments * c]."""
    channels = inputs.shape[2]
    outputs = tf.reshape(inputs, [-1, segments, length, channels])
    outputs = tf.transpose(outputs, [0, 2, 1, 3])
    return tf.reshape(outputs, [-1, length, segments * channels])


def _one_after_another(outputs, segments) -> tf.Tensor:
    """[b, length, segments * c] -> [b, segments * length, c]."""
    _, length, channels = outputs.shape
    outputs = tf.reshape(outputs, [-1, length, segments, channels // segments])
    outputs = tf.transpose(outputs, [0, 2, 1, 3])
    return tf.reshape(outputs, [-1, segments * length, channels // segments])
