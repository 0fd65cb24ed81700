"""The lowering for XLA on CPU: shifted taps, which XLA fuses into one loop.

XLA:CPU runs a grouped convolution tens of times slower than the memory allows;
a sum over the taps of `inputs` shifted and scaled is elementwise to it.
"""

import tensorflow as tf

from tfconv.ops.geometry import Geometry


def depthwise_conv1d(
    inputs: tf.Tensor, kernel: tf.Tensor, geometry: Geometry
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], elementwise."""
    taps, channels, multiplier = kernel.shape
    steps = inputs.shape[1]
    if steps is None:
        steps = tf.shape(inputs)[1]
    left, right = geometry.pads(steps)
    padded = tf.pad(inputs, [[0, 0], [left, right], [0, 0]])
    stride = geometry.strides
    span = steps + left + right - geometry.effective_kernel_size + 1
    products = []
    for tap in range(taps):
        start = tap * geometry.dilation_rate
        shifted = padded[:, start : start + span : stride]
        if multiplier == 1:
            products.append(shifted * kernel[tap, :, 0])
        else:
            products.append(shifted[..., tf.newaxis] * kernel[tap])
    outputs = _tree_sum(products)
    if multiplier == 1:
        return outputs
    batch, output_steps = tf.unstack(tf.shape(outputs)[:2])
    return tf.reshape(outputs, [batch, output_steps, channels * multiplier])


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, t, c] x [1, c, f] -> [b, t, f], as a matrix product."""
    return tf.matmul(inputs, kernel[0])


def _tree_sum(terms: list[tf.Tensor]) -> tf.Tensor:
    """Their sum in balanced order: short chains, and a smaller error."""
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        odd = terms[len(terms) // 2 * 2 :]
        terms = [left + right for left, right in pairs] + odd
    return terms[0]
