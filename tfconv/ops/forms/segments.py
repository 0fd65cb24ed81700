"""Few channels made many: distant segments of a signal as its channels."""

import tensorflow as tf

from tfconv.ops.forms import native
from tfconv.ops.forms.steps import ceil_divide
from tfconv.ops.forms.steps import window

_CHANNELS = 64


def number(channels: int, steps: int, taps: int) -> int:
    """As many as fill the channels, each at least as long as its halo.

    Somewhat fewer, if they are whole: those spare padding and cutting off.
    """
    most = min(_CHANNELS // channels, steps // max(taps, 2))
    whole = (
        count for count in range(most, most // 2, -1) if steps % count == 0
    )
    return next(whole, most)


def convolve(inputs, kernel, pads, segments) -> tf.Tensor:
    """[b, t, c] x [k, c, 1] -> [b, t', c]."""
    taps = kernel.shape[0]
    windows = inputs.shape[1] + sum(pads) - taps + 1
    length = ceil_divide(windows, segments)
    outputs = native.convolve(
        _overlapping(inputs, pads[0], taps - 1, length, segments),
        tf.tile(kernel, [1, segments, 1]),
        (0, 0),
    )
    return _one_after_another(outputs, segments)[:, :windows]


def kernel_gradient(inputs, upstream, taps, pads, segments) -> tf.Tensor:
    """[b, t, c] x [b, t', c] -> [k, c, 1]."""
    channels = inputs.shape[2]
    windows = upstream.shape[1]
    length = ceil_divide(windows, segments)
    upstream = window(upstream, 0, segments * length)
    gradient = native.kernel_gradient_over_height(
        _overlapping(inputs, pads[0], taps - 1, length, segments),
        _side_by_side(upstream, length, segments),
        taps,
        (0, 0),
    )
    gradient = tf.reshape(gradient, [taps, segments, channels, 1])
    return tf.reduce_sum(gradient, axis=1)


def _overlapping(inputs, left, halo, length, segments) -> tf.Tensor:
    """[b, t, c] -> [b, length + halo, segments * c], from -left on.

    A segment comes after the end of the one before it, and before the beginning
    of the next. So the inputs need not be padded first, which is a copy.
    """
    channels = inputs.shape[2]
    total = segments * length
    body = _side_by_side(window(inputs, 0, total), length, segments)
    right = halo - left
    parts = [body if right >= 0 else body[:, :right]]
    if left:
        first = window(inputs, -left, left)
        ends = body[:, length - left :, :-channels]
        parts.insert(0, tf.concat([first, ends], axis=2))
    if right > 0:
        last = window(inputs, total, right)
        beginnings = body[:, :right, channels:]
        parts.append(tf.concat([beginnings, last], axis=2))
    return tf.concat(parts, axis=1)


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
