"""Every geometry brought to a plain one: no dilation, no multiplier, no stride.

The frames between two taps of a dilated kernel become channels, and so may the
phases of a stride; a multiplier becomes convolutions of its own. A lowering
brings a core of what it does fast, and gets all geometries, with gradients.
The gradients do not have custom gradients themselves: a SavedModel could not
hold those. TensorFlow differentiates the operations that the core is made of.
"""

import dataclasses
from typing import Protocol

import tensorflow as tf

Pads = tuple[int, int]


class Core(Protocol):
    """What a lowering has to bring, made of TensorFlow's operations."""

    def convolve(self, inputs, kernel, pads: Pads, stride: int) -> tf.Tensor:
        """[b, t, c] x [k, c, m] -> [b, t', c*m]."""

    def input_gradient(
        self, upstream, kernel, pads: Pads, stride: int, steps
    ) -> tf.Tensor:
        """[b, t', c] x [k, c, 1] -> [b, steps, c].

        `dx[b, i*stride + k - left, c] += dy[b, i, c] * w[k, c]`
        """

    def kernel_gradient(
        self, inputs, upstream, taps: int, pads: Pads, stride: int
    ) -> tf.Tensor:
        """[b, t, c] x [b, t', c] -> [k, c, 1].

        `dw[k, c] = sum_bi x[b, i*stride + k - left, c] * dy[b, i, c]`
        """


def depthwise_conv1d(
    core: Core, inputs, kernel, pads: Pads, stride: int, dilation: int
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m].

    Args:
        core: the lowering's core.
        inputs: floating tensor; b and t may be unknown.
        kernel: tensor of a known shape.
        pads: zeros to add before the first time step and after the last.
        stride: int.
        dilation: int; 1 if `stride` is not.
    """
    if dilation > 1:
        return _dilated(core, inputs, kernel, pads, dilation)
    taps, _, multiplier = kernel.shape

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradient(upstream):
            steps = length(inputs)
            parts = list(
                zip(
                    _of_each_multiple(upstream, multiplier),
                    tf.split(kernel, multiplier, axis=2),
                    strict=True,
                )
            )
            return (
                _sum(
                    [
                        core.input_gradient(part, single, pads, stride, steps)
                        for part, single in parts
                    ]
                ),
                tf.concat(
                    [
                        core.kernel_gradient(inputs, part, taps, pads, stride)
                        for part, _ in parts
                    ],
                    axis=2,
                ),
            )

        return core.convolve(inputs, kernel, pads, stride), gradient

    return convolve(inputs, kernel)


def _dilated(core, inputs, kernel, pads, dilation) -> tf.Tensor:
    taps, channels, multiplier = kernel.shape
    steps = length(inputs)
    left, right = pads
    if left % dilation or right % dilation:
        inputs = tf.pad(inputs, [[0, 0], [left, right], [0, 0]])
        steps, left, right = steps + left + right, 0, 0
    rows = ceil_divide(steps, dilation)
    inputs = window(inputs, 0, rows * dilation)
    outputs = depthwise_conv1d(
        core,
        tf.reshape(inputs, [-1, rows, dilation * channels]),
        tf.tile(kernel, [1, dilation, 1]),
        (left // dilation, right // dilation),
        stride=1,
        dilation=1,
    )
    rows_out = rows + (left + right) // dilation - taps + 1
    outputs = tf.reshape(
        outputs, [-1, rows_out * dilation, channels * multiplier]
    )
    return window(outputs, 0, steps + left + right - dilation * (taps - 1))


def _of_each_multiple(upstream, multiplier) -> list[tf.Tensor]:
    if multiplier == 1:
        return [upstream]
    channels = upstream.shape[2] // multiplier
    return tf.unstack(
        tf.reshape(upstream, [-1, length(upstream), channels, multiplier]),
        axis=3,
    )


def _sum(terms) -> tf.Tensor:
    return terms[0] if len(terms) == 1 else tf.add_n(terms)


@dataclasses.dataclass(frozen=True)
class Rows:
    """A strided kernel as a plain one over rows of `stride` time steps.

    Attributes:
        stride: int.
        taps: of the plain kernel: the rows that a window spans.
        left: rows of zeros before the first time step.
        before: zeros put before the kernel's taps, so that its padding is
            whole rows.
        after: zeros put after its taps, so that it is whole rows itself.
    """

    stride: int
    taps: int
    left: int
    before: int
    after: int

    @classmethod
    def of(cls, taps: int, left: int, stride: int) -> "Rows":
        left_rows = ceil_divide(left, stride)
        before = left_rows * stride - left
        rows = ceil_divide(taps + before, stride)
        after = rows * stride - taps - before
        return cls(stride, rows, left_rows, before, after)

    def of_kernel(self, kernel) -> tf.Tensor:
        """[k, c, 1] -> [rows, stride, c]."""
        kernel = tf.pad(kernel, [[self.before, self.after], [0, 0], [0, 0]])
        return tf.reshape(kernel, [self.taps, self.stride, kernel.shape[1]])

    def to_kernel(self, rows) -> tf.Tensor:
        """[rows, stride * c, 1] -> [k, c, 1]."""
        channels = rows.shape[1] // self.stride
        taps = tf.reshape(rows, [-1, channels, 1])
        return taps[self.before : self.taps * self.stride - self.after]

    def of_inputs(self, inputs) -> tf.Tensor:
        """[b, t, c] -> [b, ceil(t / stride), stride * c]."""
        rows = ceil_divide(length(inputs), self.stride)
        channels = inputs.shape[2]
        return tf.reshape(
            window(inputs, 0, rows * self.stride),
            [-1, rows, self.stride * channels],
        )

    def of_upstream(self, upstream, steps) -> tf.Tensor:
        """The rows of dy that the rows of dx come from, by a "valid" window."""
        rows = ceil_divide(steps, self.stride)
        return window(upstream, self.left - self.taps + 1, rows + self.taps - 1)


def window(inputs: tf.Tensor, start: int, size) -> tf.Tensor:
    """`size` time steps from `start` on; zeros where there are no inputs."""
    before = max(-start, 0)
    inputs = inputs[:, max(start, 0) :] if start > 0 else inputs
    steps = length(inputs)
    after = size - before - steps
    if isinstance(after, int):
        if after < 0:
            inputs = inputs[:, :after]
        after = max(after, 0)
        if before == after == 0:
            return inputs
    else:
        inputs = inputs[:, : size - before]
        after = tf.maximum(after, 0)
    return tf.pad(inputs, [[0, 0], [before, after], [0, 0]])


def length(inputs: tf.Tensor):
    """The number of time steps: an int if it is known, else a tensor."""
    steps = inputs.shape[1]
    return tf.shape(inputs)[1] if steps is None else steps


def ceil_divide(a, b: int):
    """The quotient of ints or integer tensors, rounded up."""
    return -(-a // b)
