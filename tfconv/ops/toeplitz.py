"""A convolution as matrix products, which have a fast library everywhere.

A block of neighbouring outputs is the product of the inputs that its windows
span with a Toeplitz matrix: each of its columns is the kernel, one stride
further down than in the column before. About half of the matrix is zeros.

Where the inputs are not finite, the other outputs of a block are not either,
since 0 * inf is not 0.
"""

import dataclasses

import tensorflow as tf

from tfconv.ops.reduction import ceil_divide
from tfconv.ops.reduction import window
from tfconv.ops.tracing import Lowering
from tfconv.ops.tracing import current_lowering

# Inputs from the beginning of one block to that of the next. c=1, y + dx + dw,
# of 16, 32 and 64: k=9 m=4 s=2 1.8 2.2 3.0 ms, k=63 4.0 2.9 2.9, k=130 6.8 5.1
# 5.8; k=400 m=32 s=160, of one output and two: 2.8 2.8.
_STEPS_OF_BLOCK = 32


@dataclasses.dataclass(frozen=True)
class Products:
    """The core of reduction.py, of time steps that are known.

    Attributes:
        stride: int.
    """

    stride: int = 1

    @property
    def columns(self) -> int:
        """Outputs of a block."""
        return max(1, _STEPS_OF_BLOCK // self.stride)

    @property
    def size(self) -> int:
        """Inputs from the beginning of a block to that of the next."""
        return self.columns * self.stride

    def spanned(self, taps: int) -> int:
        """Blocks of inputs that the windows of one block span."""
        return ceil_divide(taps + self.size - self.stride, self.size)

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        batch, (taps, channels, multiplier) = _batch(inputs), kernel.shape
        windows = (inputs.shape[1] + sum(pads) - taps) // self.stride + 1
        blocks = ceil_divide(windows, self.columns)
        blocks_met = _blocks_behind(
            inputs, pads[0], self.size, blocks, self.spanned(taps)
        )
        products = [
            _products(each, matrix)
            for each, matrix in zip(
                blocks_met, self._matrices(kernel), strict=True
            )
        ]
        outputs = tf.reshape(
            tf.add_n(products),
            [channels, batch, blocks * self.columns, multiplier],
        )
        outputs = tf.transpose(outputs[:, :, :windows], [1, 2, 0, 3])
        return tf.reshape(outputs, [batch, windows, channels * multiplier])

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        batch, channels = _batch(upstream), kernel.shape[1]
        upstream, blocks = self._blocks_of_upstream(upstream, channels)
        matrices = self._matrices(kernel)
        reached = (blocks + len(matrices) - 1) * self.size
        # Of the blocks of inputs themselves, of those one block behind, ...
        gradients = [
            _with_zeros_around(
                tf.reshape(
                    _products(upstream, matrix, transpose_b=True),
                    [channels, batch, blocks * self.size],
                ),
                nth * self.size,
                [channels, batch, reached],
            )
            for nth, matrix in enumerate(matrices)
        ]
        gradient = tf.transpose(tf.add_n(gradients), [1, 2, 0])
        return window(gradient, pads[0], steps)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        channels = inputs.shape[2]
        multiplier = upstream.shape[2] // channels
        upstream, blocks = self._blocks_of_upstream(upstream, channels)
        spanned = self.spanned(taps)
        rows = spanned * self.size
        # Of the matrix [c, rows, columns * m], where a tap is on a diagonal.
        gradient = tf.concat(
            [
                _products(each, upstream, transpose_a=True)
                for each in _blocks_behind(
                    inputs, pads[0], self.size, blocks, spanned
                )
            ],
            axis=1,
        )
        shape = [channels, rows, self.columns, multiplier]
        gradient = tf.transpose(tf.reshape(gradient, shape), [0, 3, 2, 1])
        # In rows that are a stride longer, each column begins a stride later.
        longer = rows + self.stride
        gradient = _with_zeros_around(
            tf.reshape(gradient, [channels, multiplier, self.columns * rows]),
            0,
            [channels, multiplier, self.columns * longer],
        )
        shape = [channels, multiplier, self.columns, longer]
        gradient = tf.reshape(gradient, shape)[..., :taps]
        return tf.transpose(tf.reduce_sum(gradient, axis=2), [2, 0, 1])

    def _blocks_of_upstream(self, upstream, channels: int):
        """[b, t', c*m] -> [c, b * blocks, columns * m], and how many blocks."""
        _, windows, width = upstream.shape
        multiplier = width // channels
        upstream = tf.reshape(upstream, [-1, windows, channels, multiplier])
        upstream = tf.reshape(
            tf.transpose(upstream, [0, 1, 3, 2]),
            [-1, windows * multiplier, channels],
        )
        blocks = ceil_divide(windows, self.columns)
        size = self.columns * multiplier
        (upstream,) = _blocks_behind(upstream, 0, size, blocks, 1)
        return upstream, blocks

    def _matrices(self, kernel) -> list[tf.Tensor]:
        """[k, c, m] -> as many times [c, size, columns * m] as are spanned.

        Of `T[c, i, j*m + n] = w[i - stride * j, c, n]`, which is to write the
        kernel and zeros, a stride more than a column has rows, again and again.
        """
        taps, channels, multiplier = kernel.shape
        spanned = self.spanned(taps)
        rows = spanned * self.size
        kernel = _with_zeros_around(
            tf.transpose(kernel, [1, 2, 0]),
            0,
            [channels, multiplier, rows + self.stride],
        )
        repeated = tf.tile(kernel, [1, 1, self.columns])
        matrix = tf.reshape(
            repeated[:, :, : self.columns * rows],
            [channels, multiplier, self.columns, rows],
        )
        matrix = tf.reshape(
            tf.transpose(matrix, [0, 3, 2, 1]),
            [channels, rows, self.columns * multiplier],
        )
        return tf.split(matrix, spanned, axis=1)


def _batch(tensor):
    """An int if it is known, else a tensor."""
    batch = tensor.shape[0]
    return tf.shape(tensor)[0] if batch is None else batch


def _blocks_behind(
    inputs, left: int, size: int, blocks: int, spanned: int
) -> list[tf.Tensor]:
    """[b, t, c] -> `spanned` times [c, b * blocks, size].

    The blocks themselves, those one block behind them, and so on.
    """
    batch, channels = _batch(inputs), inputs.shape[2]
    count = blocks + spanned - 1
    inputs = tf.transpose(inputs[:, : count * size - left], [2, 0, 1])
    inputs = _with_zeros_around(inputs, left, [channels, batch, count * size])
    inputs = tf.reshape(inputs, [channels, batch, count, size])
    return [
        tf.reshape(
            inputs[:, :, nth : nth + blocks], [channels, batch * blocks, size]
        )
        for nth in range(spanned)
    ]


def _with_zeros_around(tensor, before: int, shape: list) -> tf.Tensor:
    """[c, b, steps] -> [c, b, shape[2]]."""
    end = before + tensor.shape[2]
    if current_lowering() is not Lowering.XLA:
        return tf.pad(tensor, [[0, 0], [0, 0], [before, shape[2] - end]])
    # Slow elsewhere, but the gradient of tf.pad has no derivatives beyond its
    # own under XLA.
    return tf.raw_ops.StridedSliceGrad(
        shape=tf.stack(shape),
        begin=[0, 0, before],
        end=[0, 0, end],
        strides=[1, 1, 1],
        dy=tensor,
        begin_mask=0b011,
        end_mask=0b011,
    )


def _products(a, b, **kwargs) -> tf.Tensor:
    """[c, i, j] x [c, j, k] -> [c, i, k]."""
    if a.shape[0] > 1:
        return tf.matmul(a, b, **kwargs)
    product = tf.matmul(tf.squeeze(a, 0), tf.squeeze(b, 0), **kwargs)
    return tf.expand_dims(product, 0)
