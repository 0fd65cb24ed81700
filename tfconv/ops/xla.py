"""The lowering for XLA on CPU: shifted taps, which XLA fuses into one loop.

XLA:CPU runs a grouped convolution tens of times slower than the memory allows;
a sum over the taps of `inputs` shifted and scaled is elementwise to it.
"""

import tensorflow as tf

from tfconv.ops import reduction
from tfconv.ops.geometry import Geometry
from tfconv.ops.reduction import length

_SEGMENTS = 4
_MAX_TAPS_OF_SEGMENTS = 12
_BLOCK = 32


def depthwise_conv1d(
    inputs: tf.Tensor, kernel: tf.Tensor, geometry: Geometry
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], elementwise."""
    steps = length(inputs)
    if geometry.padding == "valid" and not isinstance(steps, int):
        inputs = _at_least_one_window(inputs, steps, geometry)
    pads = geometry.pads(steps)
    if not all(isinstance(pad, int) for pad in pads):
        inputs = tf.pad(inputs, [[0, 0], pads, [0, 0]])
        pads = (0, 0)
    return reduction.depthwise_conv1d(
        _Taps(),
        inputs,
        kernel,
        pads,
        geometry.strides,
        geometry.dilation_rate,
    )


def _at_least_one_window(inputs, steps, geometry: Geometry) -> tf.Tensor:
    """The inputs; XLA has no assertions, but refuses a negative dimension."""
    surplus = steps - geometry.effective_kernel_size
    return inputs + tf.reduce_sum(tf.zeros([surplus], inputs.dtype))


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, t, c] x [1, c, f] -> [b, t, f], as a matrix product."""
    return tf.matmul(inputs, kernel[0])


class _Taps:
    def convolve(self, inputs, kernel, pads, stride) -> tf.Tensor:
        return _valid(_pad(inputs, *pads), kernel, stride)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        channels = inputs.shape[2]
        if channels >= 8 and taps <= _MAX_TAPS_OF_SEGMENTS:
            gradient = _gradient_by_segments(inputs, upstream, taps, pads)
        else:
            gradient = _gradient_by_blocks(inputs, upstream, taps, pads)
        return gradient[:, :, tf.newaxis]

    def repeat_channels(self, inputs, multiplier) -> tf.Tensor:
        return tf.repeat(inputs, multiplier, axis=2)


def _valid(inputs, kernel, stride) -> tf.Tensor:
    taps = kernel.shape[0]
    span = length(inputs) - taps + 1
    return _tree_sum(
        [
            inputs[:, tap : tap + span : stride] * kernel[tap, :, 0]
            for tap in range(taps)
        ]
    )


def _gradient_by_segments(inputs, upstream, taps, pads) -> tf.Tensor:
    """One product for each tap, the signal cut so that it is short."""
    windows = length(upstream)
    size = -(-windows // _SEGMENTS)
    total = _SEGMENTS * size
    padded = _pad(inputs, pads[0], total + taps - 1 - pads[0] - length(inputs))
    upstream = _pad(upstream, 0, total - windows)
    cuts = [upstream[:, s * size : (s + 1) * size] for s in range(_SEGMENTS)]
    return tf.stack(
        [
            tf.reduce_sum(
                _tree_sum(
                    [
                        padded[:, s * size + tap : (s + 1) * size + tap] * cut
                        for s, cut in enumerate(cuts)
                    ]
                ),
                axis=[0, 1],
            )
            for tap in range(taps)
        ]
    )


def _gradient_by_blocks(inputs, upstream, taps, pads) -> tf.Tensor:
    """All taps of one frame in one product, the frames of a block summed."""
    channels = inputs.shape[2]
    windows = length(upstream)
    blocks = -(-windows // _BLOCK)
    halo = -(-(taps - 1) // _BLOCK)
    total = (blocks + halo) * _BLOCK
    padded = _pad(inputs, pads[0], total - pads[0] - length(inputs))
    framed = tf.reshape(padded, [-1, blocks + halo, _BLOCK, channels])
    overlapping = tf.concat(
        [framed[:, shift : shift + blocks] for shift in range(halo + 1)], axis=2
    )
    upstream = tf.reshape(
        _pad(upstream, 0, blocks * _BLOCK - windows),
        [-1, blocks, _BLOCK, channels],
    )
    products = _tree_sum(
        [
            overlapping[:, :, frame : frame + taps]
            * upstream[:, :, frame : frame + 1]
            for frame in range(_BLOCK)
        ]
    )
    # Over both at once it is up to 3 times slower.
    return tf.reduce_sum(tf.reduce_sum(products, axis=1), axis=0)


def _pad(inputs, left, right) -> tf.Tensor:
    """Zeros before and after; a negative `right` cuts off instead."""
    if isinstance(right, int):
        if right < 0:
            inputs, right = inputs[:, :right], 0
        if left == right == 0:
            return inputs
    else:
        inputs = inputs[:, : length(inputs) + tf.minimum(right, 0)]
        right = tf.maximum(right, 0)
    return tf.pad(inputs, [[0, 0], [left, right], [0, 0]])


def _tree_sum(terms: list[tf.Tensor]) -> tf.Tensor:
    """Their sum in balanced order: short chains, and a smaller error."""
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        odd = terms[len(terms) // 2 * 2 :]
        terms = [left + right for left, right in pairs] + odd
    return terms[0]
