"""Forms of a depthwise convolution and its gradients, in a plain graph.

Of tensors `(b, t, c)` and kernels `(k, c, m)`, with `padding="same"`. What a
form cannot do without is in it: of few channels, laying segments of the signal
side by side; of a multiplier, taking its outputs apart; of a dilation, padding
to whole rows of phases.
"""

import tensorflow as tf


def convolve(inputs, kernel, stride=1, segments=1):
    outputs = tf.nn.depthwise_conv2d(
        _side_by_side(inputs, segments)[:, tf.newaxis],
        kernel[tf.newaxis],
        [1, stride, stride, 1],
        "SAME",
    )
    return _one_after_another(outputs[:, 0], segments)


def _side_by_side(inputs, segments):
    """[b, t, c] -> [b, t / segments, segments * c]."""
    if segments == 1:
        return inputs
    batch, _, channels = inputs.shape
    apart = tf.reshape(inputs, [batch, segments, -1, channels])
    return tf.reshape(
        tf.transpose(apart, [0, 2, 1, 3]), [batch, -1, segments * channels]
    )


def _one_after_another(outputs, segments):
    """[b, t / segments, segments * c] -> [b, t, c]."""
    if segments == 1:
        return outputs
    batch, steps, _ = outputs.shape
    apart = tf.reshape(outputs, [batch, steps, segments, -1])
    return tf.reshape(
        tf.transpose(apart, [0, 2, 1, 3]), [batch, segments * steps, -1]
    )


def repeat(inputs, multiplier, axis):
    """As tf.repeat of the last axis, which copies one number at a time."""
    if multiplier not in (2, 4):
        return tf.repeat(inputs, multiplier, axis)
    parts = inputs
    if multiplier == 4:
        parts = tf.bitcast(tf.complex(parts, parts), tf.float64)
    repeated = tf.bitcast(tf.complex(parts, parts), tf.float32)
    return tf.reshape(repeated, [*inputs.shape[:-1], -1])


def apart(upstream, multiplier):
    """[..., c * m] -> m times [..., c]."""
    *shape, _ = upstream.shape
    return tf.unstack(tf.reshape(upstream, [*shape, -1, multiplier]), axis=-1)


def convolve_phases(inputs, kernel):
    """Padded, and the padding cut off, only where there must be."""
    batch, steps, channels = inputs.shape
    rows = rows_of(inputs, kernel.shape[1] // channels)
    outputs = convolve(rows, kernel)
    outputs = tf.reshape(outputs, [batch, -1, channels * kernel.shape[2]])
    if outputs.shape[1] == steps:
        return outputs
    return tf.slice(outputs, [0, 0, 0], [-1, steps, -1])


def rows_of(inputs, phases):
    """[b, t, c] -> [b, ceil(t / phases), phases * c]."""
    batch, steps, channels = inputs.shape
    if steps % phases:
        inputs = tf.pad(inputs, [[0, 0], [0, -steps % phases], [0, 0]])
    return tf.reshape(inputs, [batch, -1, phases * channels])


def input_gradient(upstream, kernel, stride, segments=1):
    upstream = _side_by_side(upstream, segments)
    batch, windows, _ = upstream.shape
    gradient = tf.nn.depthwise_conv2d_backprop_input(
        [batch, 1, windows * stride, kernel.shape[1]],
        kernel[tf.newaxis],
        upstream[:, tf.newaxis],
        [1, stride, stride, 1],
        "SAME",
    )
    return _one_after_another(gradient[:, 0], segments)


def input_gradient_of_phases(upstream, kernel, phases):
    return input_gradient(rows_of(upstream, phases), kernel, stride=1)


def convolve_repeated(upstream, kernel, stride):
    return convolve(tf.tile(upstream, [1, 1, stride]), kernel)


def over_height_of_rows(inputs, upstream, stride, taps):
    """The phases of a stride as channels."""
    repeated = tf.tile(upstream, [1, 1, stride])
    return over_height(rows_of(inputs, stride), repeated, taps)


def over_width(inputs, upstream, taps, stride=1, segments=1):
    images = [
        _side_by_side(each, segments)[:, tf.newaxis]
        for each in (inputs, upstream)
    ]
    return filter_gradient(*images, [1, taps], stride)


def over_height(inputs, upstream, taps, segments=1):
    images = [
        _side_by_side(each, segments)[:, :, tf.newaxis]
        for each in (inputs, upstream)
    ]
    return filter_gradient(*images, [taps, 1])


def over_width_of_phases(inputs, upstream, phases, taps):
    return over_width(rows_of(inputs, phases), rows_of(upstream, phases), taps)


def over_height_of_phases(inputs, upstream, phases, taps):
    return over_height(rows_of(inputs, phases), rows_of(upstream, phases), taps)


def over_height_of_images(inputs, upstream, phases, taps):
    """The phases as the width."""
    channels = inputs.shape[2]
    images = [
        tf.reshape(rows, [*rows.shape[:2], phases, channels])
        for rows in (rows_of(inputs, phases), rows_of(upstream, phases))
    ]
    return filter_gradient(*images, size=[taps, 1])


def filter_gradient(images, upstream, size, stride=1, padding="SAME"):
    channels = images.shape[3]
    return tf.nn.depthwise_conv2d_backprop_filter(
        images,
        [*size, channels, upstream.shape[3] // channels],
        upstream,
        [1, stride, stride, 1],
        padding,
    )
