"""The sum over taps of shifted inputs, which XLA on CPU fuses into one loop."""

import dataclasses

import tensorflow as tf

from tfconv.ops.reduction import ceil_divide
from tfconv.ops.reduction import tree_sum

# A loop of more taps falls off a cliff, c=256 k=130 181 -> 15 ms, k=400 620 ->
# 60, and what it takes to compile grows with the taps. Of pairs it does so
# earlier: c=2 k=40 3.9 -> 1.3, c=64 m=2 k=40 dx 24 -> 12.
_MOST_TAPS = 100
_MOST_TAPS_OF_PAIRS = 32
_TAPS_OF_PART = 32


@dataclasses.dataclass(frozen=True)
class Weights:
    """What the taps are multiplied with.

    Attributes:
        tensor: of shape `(k, ...)`.
        reverse: whether the last of them is the first tap's.
        in_pairs: whether what is summed will be added two by two.
    """

    tensor: tf.Tensor
    reverse: bool = False
    in_pairs: bool = False

    @classmethod
    def of(cls, kernel) -> "Weights":
        """Of a kernel `(k, c, m)`: `(k, c*m)`."""
        return cls(tf.reshape(kernel, [kernel.shape[0], -1]))

    def backwards(self, multiplier: int = 1) -> "Weights":
        """For the gradients of inputs, of as many channels for each."""
        return Weights(self.tensor, not self.reverse, multiplier == 2)

    def of_rows(self, size: int) -> "Weights":
        """For rows of so many frames, all with the same weights.

        In the words of tf.tile, XLA would look each of them up (y, c=8 k=9
        d=4: 0.4 -> 1.4 ms).
        """
        rows = tf.concat([self.tensor] * size, axis=-1)
        return dataclasses.replace(self, tensor=rows)

    @property
    def taps(self) -> int:
        return self.tensor.shape[0]

    @property
    def most_taps(self) -> int:
        """As many as one loop may have."""
        pairs = self.in_pairs or self.tensor.shape[1:].num_elements() == 2
        return _MOST_TAPS_OF_PAIRS if pairs else _MOST_TAPS

    def of_taps(self) -> list[tf.Tensor]:
        """One for each tap.

        Reversed as a list: XLA would look up each in a reversed tensor (dx,
        c=64 m=2 k=9: 1.2 -> 2.3 ms).
        """
        each = tf.unstack(self.tensor)
        return each[::-1] if self.reverse else each

    def in_order(self) -> tf.Tensor:
        """As of_taps, in one tensor.

        Reversed as such: a list, stacked again, takes seconds to compile.
        """
        return tf.reverse(self.tensor, [0]) if self.reverse else self.tensor


def sum_of_taps(
    inputs,
    weights: Weights,
    windows,
    stride: int = 1,
    dilation: int = 1,
    axis: int = 1,
) -> tf.Tensor:
    """[b, t, ...] x [k, ...] -> [b, t', ...].

    `y[b, i] = sum_k x[b, i*s + k*d] * w[k]`

    Args:
        inputs: tensor whose t is what the windows span together.
        weights: `Weights`.
        windows: int, or an integer scalar tensor, t'.
        stride: int.
        dilation: int.
        axis: int, of t.
    """
    options = windows, stride, dilation, axis
    if weights.taps <= weights.most_taps:
        return _sum(inputs, weights.of_taps(), *options)
    parts = ceil_divide(weights.taps, _TAPS_OF_PART)
    taps, first = divmod(weights.taps, parts)
    step = taps * dilation
    weights = weights.in_order()

    def add(part, inputs, weights, total):
        """A part of the taps, and inputs and weights for the next.

        Both are copied: to slice them from where a part begins that is counted
        has no derivatives beyond the second, and with lists of slices there are
        no Jacobians.
        """
        part_of_weights = tf.unstack(weights[:taps])
        total += _sum(inputs, part_of_weights, *options)
        return (
            part + 1,
            _with_zeros_after(_after(inputs, step, axis), step, axis),
            _with_zeros_after(weights[taps:], taps, axis=0),
            total,
        )

    # The taps that the parts leave over; to fill up the last part instead would
    # be to multiply zeros with inputs that need not be finite.
    if first:
        ahead = tf.unstack(weights[:first])
        total = _sum(inputs, ahead, *options)
    else:
        one, _ = tf.split(inputs, [1, -1], axis)
        total = tf.zeros_like(one * weights[0])
        copies = [1] * len(inputs.shape)
        copies[axis] = windows
        total = tf.tile(total, copies)
    *_, total = tf.while_loop(
        lambda part, *_: part < parts,
        add,
        (0, _after(inputs, first * dilation, axis), weights[first:], total),
        maximum_iterations=parts,
    )
    return total


def _after(tensor, first: int, axis: int) -> tf.Tensor:
    keep = [slice(None)] * axis
    return tensor[(*keep, slice(first, None))]


def _with_zeros_after(tensor, count: int, axis: int) -> tf.Tensor:
    paddings = [[0, 0]] * len(tensor.shape)
    paddings[axis] = [0, count]
    return tf.pad(tensor, paddings)


def _sum(inputs, weights, windows, stride, dilation, axis) -> tf.Tensor:
    reached = windows * stride
    # As inputs[:, first : first + reached : stride], of fewer operations: to
    # trace those of a long kernel takes as long as to compile it.
    zeros, mask = [0] * axis, 2**axis - 1
    strides = tf.constant([*[1] * axis, stride])
    terms = []
    for tap, weight in enumerate(weights):
        first = tap * dilation
        shifted = tf.strided_slice(
            inputs,
            [*zeros, first],
            [*zeros, first + reached],
            strides,
            begin_mask=mask,
            end_mask=mask,
        )
        terms.append(shifted * weight)
    return tree_sum(terms)
