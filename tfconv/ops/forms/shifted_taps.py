"""The sum over taps of shifted inputs, which XLA on CPU fuses into one loop."""

import tensorflow as tf

from tfconv.ops.forms.steps import ceil_divide
from tfconv.ops.forms.steps import tree_sum

# One loop of more taps falls off a cliff, and takes long to compile.
_MOST_TAPS = 100
_TAPS_OF_PART = 32


def sum_of_taps(
    inputs, weights, windows, stride: int = 1, dilation: int = 1
) -> tf.Tensor:
    """[b, t, ...] x [k, ...] -> [b, t', ...].

    `y[b, i] = sum_k x[b, i*s + k*d] * w[k]`

    Args:
        inputs: tensor whose t is at least what the windows span together.
        weights: tensor, or a list of k tensors.
        windows: int, or an integer scalar tensor, t'.
        stride: int.
        dilation: int.
    """
    options = windows, stride, dilation
    taps = len(weights) if isinstance(weights, list) else weights.shape[0]
    if taps <= _MOST_TAPS:
        # As a list: XLA would look each up in a tensor that was computed.
        if not isinstance(weights, list):
            weights = tf.unstack(weights)
        return _sum(inputs, weights, *options)
    if isinstance(weights, list):
        weights = tf.stack(weights)
    parts = ceil_divide(taps, _TAPS_OF_PART)
    taps, first = divmod(taps, parts)
    step = taps * dilation

    def add(part, inputs, weights, total):
        """A part of the taps, and inputs and weights for the next.

        Both are copied: to slice them from where a part begins that is counted
        has no derivatives beyond the second, and with lists of slices there are
        no Jacobians.
        """
        total += _sum(inputs, tf.unstack(weights[:taps]), *options)
        return (
            part + 1,
            _with_zeros_after(inputs[:, step:], step, axis=1),
            _with_zeros_after(weights[taps:], taps, axis=0),
            total,
        )

    # The taps that the parts leave over; to fill up the last part instead would
    # be to multiply zeros with inputs that need not be finite.
    if first:
        total = _sum(inputs, tf.unstack(weights[:first]), *options)
    else:
        one = tf.zeros_like(inputs[:, :1] * weights[0])
        copies = [1, windows, *[1] * (len(one.shape) - 2)]
        total = tf.tile(one, copies)
    *_, total = tf.while_loop(
        lambda part, *_: part < parts,
        add,
        (0, inputs[:, first * dilation :], weights[first:], total),
        maximum_iterations=parts,
    )
    return total


def _with_zeros_after(tensor, count: int, axis: int) -> tf.Tensor:
    paddings = [[0, 0]] * len(tensor.shape)
    paddings[axis] = [0, count]
    return tf.pad(tensor, paddings)


def _sum(inputs, weights: list, windows, stride, dilation) -> tf.Tensor:
    reached = windows * stride
    # As inputs[:, first : first + reached : stride], of fewer operations: to
    # trace those of a long kernel takes as long as to compile it.
    strides = tf.constant([1, stride])
    terms = []
    for tap, weight in enumerate(weights):
        first = tap * dilation
        shifted = tf.strided_slice(
            inputs,
            [0, first],
            [0, first + reached],
            strides,
            begin_mask=1,
            end_mask=1,
        )
        terms.append(shifted * weight)
    return tree_sum(terms)
