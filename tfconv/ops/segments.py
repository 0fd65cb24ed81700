"""Few channels made many: distant segments of a signal as its channels."""

import tensorflow as tf

from tfconv.ops import native

_CHANNELS = 64


def number(channels: int, windows: int, taps: int) -> int:
    """As many as fill the channels, each at least as long as its halo."""
    return min(_CHANNELS // channels, windows // max(taps, 2))


def convolve(inputs, kernel, pads, segments) -> tf.Tensor:
    """[b, t, c] x [k, c, 1] -> [b, t', c]."""
    taps, channels, _ = kernel.shape
    windows = inputs.shape[1] + sum(pads) - taps + 1
    length = -(-windows // segments)
    outputs = native.convolve(
        _overlapping(inputs, pads[0], taps, length, segments),
        tf.tile(kernel, [1, segments, 1]),
        (0, 0),
    )
    outputs = tf.reshape(outputs, [-1, length, segments, channels])
    outputs = tf.transpose(outputs, [0, 2, 1, 3])
    outputs = tf.reshape(outputs, [-1, segments * length, channels])
    return outputs[:, :windows]


def kernel_gradient(inputs, upstream, taps, pads, segments) -> tf.Tensor:
    """[b, t, c] x [b, t', c] -> [k, c, 1]."""
    channels = inputs.shape[2]
    windows = upstream.shape[1]
    length = -(-windows // segments)
    upstream = tf.pad(
        upstream, [[0, 0], [0, segments * length - windows], [0, 0]]
    )
    gradient = native.kernel_gradient_over_height(
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
