"""One channel and a long stride as products of rows with matrices.

Rows are as long as the stride, and a window spans a few of them: a filter bank
on a waveform is that.
"""

import dataclasses

import tensorflow as tf

from tfconv.ops.forms.phases import Rows
from tfconv.ops.forms.steps import length
from tfconv.ops.forms.steps import rows_of
from tfconv.ops.forms.steps import window


@dataclasses.dataclass(frozen=True)
class RowProducts:
    """The core for one channel.

    Where the inputs are not finite, neither are the outputs of the whole rows.

    Attributes:
        stride: int.
    """

    stride: int

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        rows = Rows.of(kernel.shape[0], pads[0], self.stride)
        windows = (length(inputs) + sum(pads) - kernel.shape[0]) // self.stride
        met = self._rows_met(inputs, rows, windows + 1)
        matrices = tf.unstack(self._matrices(kernel, rows))
        return tf.add_n(
            [tf.matmul(*each) for each in zip(met, matrices, strict=True)]
        )

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        rows = Rows.of(kernel.shape[0], pads[0], self.stride)
        reached = length(upstream) + rows.taps - 1
        gradients = [
            window(tf.matmul(upstream, matrix, transpose_b=True), -row, reached)
            for row, matrix in enumerate(
                tf.unstack(self._matrices(kernel, rows))
            )
        ]
        frames = tf.reshape(tf.add_n(gradients), [-1, reached * self.stride, 1])
        return window(frames, rows.left * self.stride, steps)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        rows = Rows.of(taps, pads[0], self.stride)
        multiplier = upstream.shape[2]
        gradients = [
            tf.matmul(
                tf.reshape(each, [-1, self.stride]),
                tf.reshape(upstream, [-1, multiplier]),
                transpose_a=True,
            )
            for each in self._rows_met(inputs, rows, length(upstream))
        ]
        gradient = tf.concat(gradients, axis=0)[:, tf.newaxis]
        return gradient[rows.before : rows.before + taps]

    def _rows_met(self, inputs, rows: Rows, windows) -> list[tf.Tensor]:
        """The rows that the first row of each kernel meets, and so on."""
        inputs = rows_of(inputs, self.stride)
        return [
            window(inputs, row - rows.left, windows) for row in range(rows.taps)
        ]

    def _matrices(self, kernel, rows: Rows) -> tf.Tensor:
        """[k, 1, m] -> [rows, stride, m]."""
        return rows.of_kernel(tf.transpose(kernel, [0, 2, 1]))
