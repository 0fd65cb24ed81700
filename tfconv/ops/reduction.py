"""Geometries brought to plainer ones, and gradients put together.

The frames between two taps of a dilated kernel become channels, and so may the
phases of a stride. A lowering brings a core of what it does fast. The gradients
do not have custom gradients themselves: a SavedModel could not hold those.
TensorFlow differentiates the operations that the core is made of.
"""

import dataclasses
from typing import Protocol

import tensorflow as tf

from tfconv.ops.tracing import Lowering
from tfconv.ops.tracing import current_lowering

Pads = tuple[int, int]


class Core(Protocol):
    """One geometry, in a form of TensorFlow's operations that is fast.

    Below, `left` is the first of `pads`, zeros to add before the first time
    step and after the last.
    """

    def convolve(self, inputs, kernel, pads: Pads) -> tf.Tensor:
        """[b, t, c] x [k, c, m] -> [b, t', c*m].

        `y[b, i, c*m + j] = sum_k x[b, i*s + k*d - left, c] * w[k, c, j]`
        """

    def input_gradient(self, upstream, kernel, pads: Pads, steps) -> tf.Tensor:
        """[b, t', c*m] x [k, c, m] -> [b, steps, c].

        `dx[b, i*s + k*d - left, c] += sum_j dy[b, i, c*m + j] * w[k, c, j]`
        """

    def kernel_gradient(
        self, inputs, upstream, taps: int, pads: Pads
    ) -> tf.Tensor:
        """[b, t, c] x [b, t', c*m] -> [k, c, m].

        `dw[k, c, j] = sum_bi x[b, i*s + k*d - left, c] * dy[b, i, c*m + j]`
        """


def convolve(core: Core, inputs, kernel, pads: Pads, forward=None) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], with the core's gradients.

    Args:
        core: how it is computed.
        inputs: floating tensor; b and t may be unknown.
        kernel: tensor of a known shape.
        pads: zeros to add before the first time step and after the last.
        forward: function from inputs and kernel to the same outputs, which is
            called in the place of the core's.
    """

    @tf.custom_gradient
    def with_gradient(inputs, kernel):
        if forward is None:
            outputs = core.convolve(inputs, kernel, pads)
        else:
            outputs = forward(inputs, kernel)

        def gradient(upstream):
            # A tape takes gradients of whatever shape they were traced with.
            upstream.set_shape(outputs.shape)
            return (
                core.input_gradient(upstream, kernel, pads, length(inputs)),
                core.kernel_gradient(inputs, upstream, kernel.shape[0], pads),
            )

        return outputs, gradient

    return with_gradient(inputs, kernel)


@dataclasses.dataclass(frozen=True)
class Padded:
    """A core on inputs that are padded ahead: its own pads are zero.

    Attributes:
        core: the core for what is padded.
    """

    core: Core

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        return self.core.convolve(_pad(inputs, pads), kernel, (0, 0))

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        left, right = pads
        gradient = self.core.input_gradient(
            upstream, kernel, (0, 0), left + steps + right
        )
        return _slice(gradient, left, steps)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        return self.core.kernel_gradient(
            _pad(inputs, pads), upstream, taps, (0, 0)
        )


@dataclasses.dataclass(frozen=True)
class Dilated:
    """A dilated kernel as a plain one; pads are multiples of the dilation.

    Attributes:
        core: the core for inputs and outputs in which `dilation` signals lie
            side by side as channels, all for the same kernel.
        dilation: int.
    """

    core: Core
    dilation: int

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        taps, channels, multiplier = kernel.shape
        outputs = self.core.convolve(
            rows_of(inputs, self.dilation), kernel, self._rows(pads)
        )
        span = self.dilation * (taps - 1)
        windows = length(inputs) + sum(pads) - span
        return self._frames(outputs, channels * multiplier, windows)

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        gradient = self.core.input_gradient(
            rows_of(upstream, self.dilation),
            kernel,
            self._rows(pads),
            ceil_divide(steps, self.dilation),
        )
        return self._frames(gradient, kernel.shape[1], steps)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        return self.core.kernel_gradient(
            rows_of(inputs, self.dilation),
            rows_of(upstream, self.dilation),
            taps,
            self._rows(pads),
        )

    def _rows(self, pads) -> Pads:
        left, right = pads
        return left // self.dilation, right // self.dilation

    def _frames(self, rows, channels, steps) -> tf.Tensor:
        frames = tf.reshape(rows, [-1, length(rows) * self.dilation, channels])
        return window(frames, 0, steps)


@dataclasses.dataclass(frozen=True)
class Spread:
    """A kernel with zeros between its taps, for a core of fewer signals.

    Attributes:
        core: the core for the longer kernel.
        by: int, the time steps from one tap to the next.
    """

    core: Core
    by: int

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        return self.core.convolve(inputs, self._spread(kernel), pads)

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        return self.core.input_gradient(
            upstream, self._spread(kernel), pads, steps
        )

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        taps = (taps - 1) * self.by + 1
        return self.core.kernel_gradient(inputs, upstream, taps, pads)[
            :: self.by
        ]

    def _spread(self, kernel) -> tf.Tensor:
        """[k, c, m] -> [(k - 1) * by + 1, c, m]."""
        taps, channels, multiplier = kernel.shape
        kernel = tf.pad(
            tf.expand_dims(kernel, axis=1),
            [[0, 0], [0, self.by - 1], [0, 0], [0, 0]],
        )
        kernel = tf.reshape(kernel, [taps * self.by, channels, multiplier])
        return kernel[: (taps - 1) * self.by + 1]


def _pad(inputs, pads) -> tf.Tensor:
    return tf.pad(inputs, [[0, 0], pads, [0, 0]])


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

    def of_upstream(self, upstream, steps) -> tf.Tensor:
        """The rows of dy that the rows of dx come from, by a "valid" window."""
        rows = ceil_divide(steps, self.stride)
        return window(upstream, self.left - self.taps + 1, rows + self.taps - 1)


def rows_of(inputs: tf.Tensor, size: int) -> tf.Tensor:
    """[b, t, c] -> [b, ceil(t / size), size * c], zeros in the last row."""
    rows = ceil_divide(length(inputs), size)
    return tf.reshape(
        window(inputs, 0, rows * size), [-1, rows, size * inputs.shape[2]]
    )


def rows_apart(rows: tf.Tensor, size: int) -> tf.Tensor:
    """[b, t, size * c] -> [b * size, t, c]."""
    steps, channels = length(rows), rows.shape[2] // size
    frames = tf.reshape(rows, [-1, steps, size, channels])
    return tf.reshape(tf.transpose(frames, [0, 2, 1, 3]), [-1, steps, channels])


def rows_together(apart: tf.Tensor, size: int) -> tf.Tensor:
    """[b * size, t, c] -> [b, t * size, c]."""
    steps, channels = length(apart), apart.shape[2]
    frames = tf.reshape(apart, [-1, size, steps, channels])
    return tf.reshape(
        tf.transpose(frames, [0, 2, 1, 3]), [-1, steps * size, channels]
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
        inputs = _slice(inputs, start, taken)
    after = wanted - taken
    if not isinstance(after, int) or before or after:
        inputs = tf.pad(inputs, [[0, 0], [before, after], [0, 0]])
    inputs.set_shape([batch, None, channels])
    return inputs


def _slice(inputs, start, size) -> tf.Tensor:
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
