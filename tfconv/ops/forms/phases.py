"""Time steps that lie a dilation or a stride apart, side by side.

A dilated kernel is a plain one for the frames between two of its taps, each a
signal of its own; a strided one is plain over rows of as many frames.
"""

import dataclasses

import tensorflow as tf

from tfconv.ops.forms import native
from tfconv.ops.forms.core import Core
from tfconv.ops.forms.steps import Pads
from tfconv.ops.forms.steps import ceil_divide
from tfconv.ops.forms.steps import length
from tfconv.ops.forms.steps import rows_of
from tfconv.ops.forms.steps import window


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


def kernel_gradient_of_rows(
    inputs, upstream, taps: int, pads: Pads, stride: int, is_wide: bool
) -> tf.Tensor:
    """[b, t, c] x [b, t', c] -> [k, c, 1], of a stride.

    Its phases are channels, or the width of an image.
    """
    rows = Rows.of(taps, pads[0], stride)
    inputs = window(
        rows_of(inputs, stride), -rows.left, length(upstream) + rows.taps - 1
    )
    across = stride if is_wide else 1
    if not is_wide:
        upstream = tf.tile(upstream, [1, 1, stride])
    gradient = native.kernel_gradient_over_height(
        inputs, upstream, rows.taps, (0, 0), across, across
    )
    return rows.to_kernel(gradient)
