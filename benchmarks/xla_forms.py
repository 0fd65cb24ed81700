"""Forms of a depthwise convolution and its gradients that XLA makes loops of.

Of tensors `(b, t, c)` and kernels `(k, c)` or `(k, c, m)`, with
`padding="same"`: there is no operation that pads, so that what it takes is in
them.
"""

import tensorflow as tf

from benchmarks.graph_forms import apart
from benchmarks.graph_forms import rows_of


def sum_of_taps_of_padded(inputs, kernel, dilation=1, stride=1):
    padded = _pad(inputs, kernel.shape[0], dilation)
    return _sum_of_taps(padded, kernel, dilation, stride)


def _pad(inputs, taps, dilation=1):
    """For as many windows as time steps; under XLA it is a copy."""
    reach = (taps - 1) * dilation
    left = reach // 2
    return _with_zeros(inputs, left, reach - left)


def _with_zeros(inputs, before, after):
    rest = [[0, 0]] * (len(inputs.shape) - 2)
    return tf.pad(inputs, [[0, 0], [before, after], *rest])


def sum_of_taps_in_parts(inputs, kernel, dilation=1, stride=1):
    """The windows that reach out of the inputs, and those between, apart.

    With a stride, which leaves out frames of each part, as few of them.
    """
    reach = (kernel.shape[0] - 1) * dilation
    left = reach // 2
    last = inputs[:, inputs.shape[1] - reach :]
    parts = [
        _with_zeros(inputs[:, :reach], left, 0),
        inputs,
        _with_zeros(last, 0, reach - left),
    ]
    return tf.concat(
        [_sum_of_taps(part, kernel, dilation, stride) for part in parts], axis=1
    )


def of_rows(inputs, kernel, size, form):
    """A form with `size` frames side by side as channels."""
    batch, steps, channels = inputs.shape
    outputs = form(rows_of(inputs, size), kernel)
    return tf.reshape(outputs, [batch, -1, channels])[:, :steps]


def _sum_of_taps(inputs, kernel, dilation=1, stride=1):
    taps = kernel.shape[0]
    frames = inputs.shape[1] - (taps - 1) * dilation
    shifted = [
        inputs[:, tap * dilation :][:, :frames:stride] for tap in range(taps)
    ]
    weights = tf.unstack(kernel)
    return _tree_sum([x * w for x, w in zip(shifted, weights, strict=True)])


def input_gradient_of_rows(upstream, kernel):
    """[b, t', c] x [k, s, c] -> [b, t' * s, c]."""
    batch, _, channels = upstream.shape
    rows = _sum_of_taps(
        _pad(upstream, kernel.shape[0])[:, :, tf.newaxis], kernel
    )
    return tf.reshape(rows, [batch, -1, channels])


def input_gradient_of_phases(upstream, kernel):
    """As of rows, each phase of the stride apart."""
    batch, _, channels = upstream.shape
    padded = _pad(upstream, kernel.shape[0])
    phases = [_sum_of_taps(padded, each) for each in tf.unstack(kernel, axis=1)]
    return tf.reshape(tf.stack(phases, axis=2), [batch, -1, channels])


def sums_of_taps(inputs, kernels, dilation, stride):
    padded = _pad(inputs, kernels.shape[0], dilation)
    outputs = [
        _sum_of_taps(padded, kernel, dilation, stride)
        for kernel in tf.unstack(kernels, axis=2)
    ]
    return tf.stack(outputs, axis=3)


def sum_of_all_taps_and_outputs(upstream, kernels, dilation):
    taps, channels, multiplier = kernels.shape
    kernel = tf.reshape(kernels, [taps, channels * multiplier])
    sums = _sum_of_taps(_pad(upstream, taps, dilation), kernel, dilation)
    *shape, _ = sums.shape
    outputs = tf.reshape(sums, [*shape, channels, multiplier])
    return tf.reduce_sum(outputs, axis=3)


def sum_of_taps_side_by_side(upstream, kernels, dilation):
    """[b, t, c * m] x [k, c, m] -> [b, t, c], by way of [m, b, t, c]."""
    taps, _, multiplier = kernels.shape
    frames = upstream.shape[1]
    upstreams = apart(upstream, multiplier)
    side_by_side = tf.stack([_pad(each, taps, dilation) for each in upstreams])
    weights = tf.stack(tf.unstack(kernels, axis=2), axis=1)
    products = [
        side_by_side[:, :, tap * dilation :][:, :, :frames]
        * weights[tap, :, tf.newaxis, tf.newaxis]
        for tap in range(taps)
    ]
    return tf.reduce_sum(_tree_sum(products), axis=0)


def sum_of_taps_of_all_outputs(upstream, kernel, multiplier):
    """[b, t, m] x [k * m, 1] -> [b, t, 1]."""
    signal = tf.reshape(upstream, [upstream.shape[0], -1, 1])
    return sum_of_taps_in_parts(signal, kernel, stride=multiplier)


def kernel_gradients_of_rows(
    inputs, upstream, form, folds, as_examples, **options
):
    """A form with frames side by side as channels, or as examples."""
    fold, of_upstream = folds
    rows = rows_of(inputs, fold), rows_of(upstream, of_upstream)
    if as_examples:
        rows = (_as_examples(each, fold) for each in rows)
    return form(*rows, **options)


def _as_examples(rows, size):
    batch, steps, channels = rows.shape
    frames = tf.reshape(rows, [batch, steps, size, channels // size])
    frames = tf.transpose(frames, [0, 2, 1, 3])
    return tf.reshape(frames, [batch * size, steps, channels // size])


def kernel_gradients_of_padded(inputs, upstream, taps, size, runs):
    """In `runs` parts of the taps, and blocks of `size` frames.

    Products are summed over the frames of a block, sums over the blocks.
    """
    surplus = -upstream.shape[1] % size
    left = taps // 2
    inputs = _with_zeros(inputs, left, taps - left + size + surplus)
    if surplus:
        upstream = _with_zeros(upstream, 0, surplus)
    return _of_blocks(inputs, upstream, taps, size, runs)


def kernel_gradients_in_parts(inputs, upstream, taps, size, runs):
    """The windows that reach out of the inputs, and those between, apart."""
    steps = upstream.shape[1]
    between = (steps - taps - size) // size * size
    at_an_end = max(1, (steps - between) // (2 * size)) * size
    ends = (
        tf.concat([each[:, :at_an_end], each[:, -at_an_end:]], axis=0)
        for each in (inputs, upstream)
    )
    left = taps // 2
    options = taps, size, runs
    return [
        kernel_gradients_of_padded(*ends, *options),
        _of_blocks(inputs, upstream[:, left : left + between], *options),
    ]


def _of_blocks(inputs, upstream, taps, size, runs):
    """Of inputs that are not to be padded."""
    batch, steps, channels = inputs.shape
    of_each = upstream.shape[2]
    blocks = upstream.shape[1] // size
    at_once = taps // runs
    # Flat, or else XLA would copy the inputs for each of the frames.
    flat = tf.reshape(inputs, [batch, steps * channels])
    row = size * channels
    upstream = tf.reshape(upstream, [batch, blocks, size, 1, 1, of_each])
    shape = [batch, blocks, at_once, channels // of_each, of_each]
    gradients = []
    for first in range(0, runs * at_once, at_once):
        products = []
        for frame in range(size):
            start = (first + frame) * channels
            rows = flat[:, start : start + blocks * row]
            met = tf.reshape(rows, [batch, blocks, row])
            met = tf.reshape(met[:, :, : at_once * channels], shape)
            products.append(met * upstream[:, :, frame])
        of_examples = tf.reduce_sum(_tree_sum(products), axis=1)
        gradients.append(tf.reduce_sum(of_examples, axis=0))
    return gradients


def _tree_sum(terms: list[tf.Tensor]) -> tf.Tensor:
    while len(terms) > 1:
        odd = terms[len(terms) // 2 * 2 :]
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [a + b for a, b in pairs] + odd
    return terms[0]
