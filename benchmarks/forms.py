"""Forms of a depthwise convolution and its gradients, for floors.py.

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
    rows = _rows(inputs, kernel.shape[1] // channels)
    outputs = convolve(rows, kernel)
    outputs = tf.reshape(outputs, [batch, -1, channels * kernel.shape[2]])
    if outputs.shape[1] == steps:
        return outputs
    return tf.slice(outputs, [0, 0, 0], [-1, steps, -1])


def _rows(inputs, phases):
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
    return input_gradient(_rows(upstream, phases), kernel, stride=1)


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
    return over_width(_rows(inputs, phases), _rows(upstream, phases), taps)


def over_height_of_phases(inputs, upstream, phases, taps):
    return over_height(_rows(inputs, phases), _rows(upstream, phases), taps)


def over_height_of_images(inputs, upstream, phases, taps):
    """The phases as the width."""
    channels = inputs.shape[2]
    images = [
        tf.reshape(rows, [*rows.shape[:2], phases, channels])
        for rows in (_rows(inputs, phases), _rows(upstream, phases))
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


def sum_of_taps(inputs, kernel, dilation=1, stride=1):
    taps = kernel.shape[0]
    frames = inputs.shape[1] - (taps - 1) * dilation
    shifted = [
        inputs[:, tap * dilation :][:, :frames:stride] for tap in range(taps)
    ]
    weights = tf.unstack(kernel)
    return _tree_sum([x * w for x, w in zip(shifted, weights, strict=True)])


def sums_of_taps(inputs, kernels, dilation, stride):
    outputs = [
        sum_of_taps(inputs, kernel, dilation, stride)
        for kernel in tf.unstack(kernels, axis=2)
    ]
    return tf.stack(outputs, axis=3)


def sum_of_all_taps_and_outputs(upstream, kernels):
    taps, channels, multiplier = kernels.shape
    kernel = tf.reshape(kernels, [taps, channels * multiplier])
    sums = sum_of_taps(upstream, kernel)
    *shape, _ = sums.shape
    apart = tf.reshape(sums, [*shape, channels, multiplier])
    return tf.reduce_sum(apart, axis=3)


def sum_of_taps_side_by_side(upstream, kernels):
    """[b, t, c * m] x [k, c, m] -> [b, t', c], by way of [m, b, t', c]."""
    taps, _, multiplier = kernels.shape
    side_by_side = tf.stack(apart(upstream, multiplier))
    weights = tf.stack(tf.unstack(kernels, axis=2), axis=1)
    frames = upstream.shape[1] - taps + 1
    products = [
        side_by_side[:, :, tap : tap + frames]
        * weights[tap, :, tf.newaxis, tf.newaxis]
        for tap in range(taps)
    ]
    return tf.reduce_sum(_tree_sum(products), axis=0)


def kernel_gradients_of_blocks(*tensors):
    """Products are summed over the frames of a block, sums over the blocks."""
    *inputs, upstream = tensors
    size = upstream.shape[2]
    gradients = []
    for part in inputs:
        taps = part.shape[2] - size + 1
        products = [
            part[:, :, frame : frame + taps] * upstream[:, :, frame : frame + 1]
            for frame in range(size)
        ]
        of_examples = tf.reduce_sum(_tree_sum(products), axis=1)
        gradients.append(tf.reduce_sum(of_examples, axis=0))
    return gradients


def _tree_sum(terms: list[tf.Tensor]) -> tf.Tensor:
    while len(terms) > 1:
        odd = terms[len(terms) // 2 * 2 :]
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [a + b for a, b in pairs] + odd
    return terms[0]
