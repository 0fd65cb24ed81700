"""Time steps: windows of them, rows of them, and how many there are."""

import tensorflow as tf

from tfconv.ops.tracing import Lowering
from tfconv.ops.tracing import current_lowering

Pads = tuple[int, int]


def pad(inputs: tf.Tensor, pads) -> tf.Tensor:
    """[b, t, c] with zeros before the first time step and after the last."""
    return tf.pad(inputs, [[0, 0], pads, [0, 0]])


def rows_of(inputs: tf.Tensor, size: int) -> tf.Tensor:
    """[b, t, c] -> [b, ceil(t / size), size * c], zeros in the last row."""
    rows = ceil_divide(length(inputs), size)
    return tf.reshape(
        window(inputs, 0, rows * size), [-1, rows, size * inputs.shape[2]]
    )


def window(inputs: tf.Tensor, start: int, size) -> tf.Tensor:
    """`size` time steps from `start` on; zeros where there are no inputs.

    Args:
        inputs: tensor of shape `(b, t, c)`.
        start: int; negative ones lie before the inputs.
        size: int, or an integer scalar tensor.
    """
    batch, _, channels = inputs.shape
    before = max(-start, 0)
    start = minimum(max(start, 0), length(inputs))
    wanted = maximum(size - before, 0)
    taken = minimum(length(inputs) - start, wanted)
    if not isinstance(taken, int) or taken < length(inputs):
        inputs = cut(inputs, start, taken)
    after = wanted - taken
    if not isinstance(after, int) or before or after:
        inputs = tf.pad(inputs, [[0, 0], [before, after], [0, 0]])
    inputs.set_shape([batch, None, channels])
    return inputs


def cut(inputs, start, size) -> tf.Tensor:
    """`size` time steps from `start` on, which must be there."""
    if current_lowering() is Lowering.XLA:
        # The gradient of tf.slice has none there.
        return inputs[:, start : start + size]
    # The gradient of the other is several times slower here.
    return tf.slice(inputs, [0, start, 0], [-1, size, -1])


def length(inputs: tf.Tensor):
    """The number of time steps: an int if it is known, else a tensor."""
    steps = inputs.shape[1]
    return tf.shape(inputs)[1] if steps is None else steps


def maximum(a, b):
    """The larger of two ints or integer scalar tensors."""
    both = isinstance(a, int) and isinstance(b, int)
    return max(a, b) if both else tf.maximum(a, b)


def minimum(a, b):
    """The smaller of two ints or integer scalar tensors."""
    return -maximum(-a, -b)


def ceil_divide(a, b: int):
    """The quotient of ints or integer tensors, rounded up."""
    return -(-a // b)


def tree_sum(terms: list[tf.Tensor]) -> tf.Tensor:
    """Their sum in balanced order: short chains, and a smaller error."""
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        odd = terms[len(terms) // 2 * 2 :]
        terms = [left + right for left, right in pairs] + odd
    return terms[0]
