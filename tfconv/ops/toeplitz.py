"""A convolution as matrix products, which have a fast library everywhere.

A block of neighbouring outputs is the product of the inputs that its windows
span with a Toeplitz matrix: each of its columns is the kernel, one stride
further down than in the column before. About half of the matrix is zeros.

Where the inputs are not finite, the other outputs of a block are not either,
since 0 * inf is not 0.
"""

import tensorflow as tf

from tfconv.ops.reduction import ceil_divide
from tfconv.ops.tracing import Lowering
from tfconv.ops.tracing import current_lowering

# Inputs from the beginning of one block to that of the next. c=1, y + dx + dw,
# of 16, 32 and 64: k=9 m=4 s=2 1.8 2.2 3.0 ms, k=63 4.0 2.9 2.9, k=130 6.8 5.1
# 5.8; k=400 m=32 s=160, of one output and two: 2.8 2.8.
_STEPS_OF_BLOCK = 32


def convolve(inputs, kernel, left: int, windows: int, stride=1) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, windows, c*m]; t is known."""
    batch, _, channels = inputs.shape
    multiplier = kernel.shape[2]
    outputs_of_block = max(1, _STEPS_OF_BLOCK // stride)
    size = outputs_of_block * stride
    blocks = ceil_divide(windows, outputs_of_block)
    matrix = _toeplitz(kernel, outputs_of_block, stride)
    products = [
        _products(each, matrix[:, nth * size : (nth + 1) * size])
        for nth, each in enumerate(
            _blocks_behind(inputs, left, size, blocks, matrix.shape[1] // size)
        )
    ]
    if batch is None:
        batch = tf.shape(inputs)[0]
    outputs = tf.reshape(
        tf.add_n(products),
        [channels, batch, blocks * outputs_of_block, multiplier],
    )
    outputs = tf.transpose(outputs[:, :, :windows], [1, 2, 0, 3])
    return tf.reshape(outputs, [batch, windows, channels * multiplier])


def kernel_gradient(inputs, upstream, taps: int, left: int) -> tf.Tensor:
    """[b, t, c] x [b, t', c] -> [k, c, 1]; t and t' are known."""
    channels, windows = inputs.shape[2], upstream.shape[1]
    size = _STEPS_OF_BLOCK
    blocks = ceil_divide(windows, size)
    spanned = _blocks_spanned(taps, size, stride=1)
    rows = spanned * size
    (upstream,) = _blocks_behind(upstream, 0, size, blocks, 1)
    # Of the matrix [c, columns, rows]; those of a tap are on one diagonal.
    gradient = tf.concat(
        [
            _products(upstream, each, transpose_a=True)
            for each in _blocks_behind(inputs, left, size, blocks, spanned)
        ],
        axis=2,
    )
    # A row longer, each column begins one tap further on.
    gradient = _with_zeros_around(
        tf.reshape(gradient, [channels, 1, size * rows]),
        0,
        [channels, 1, size * (rows + 1)],
    )
    gradient = tf.reshape(gradient, [channels, size, rows + 1])[:, :, :taps]
    gradient = tf.transpose(tf.reduce_sum(gradient, axis=1))
    return tf.reshape(gradient, [taps, channels, 1])


def _blocks_behind(
    inputs, left: int, size: int, blocks: int, spanned: int
) -> list[tf.Tensor]:
    """[b, t, c] -> `spanned` times [c, b * blocks, size].

    The blocks themselves, those one block behind them, and so on.
    """
    batch, _, channels = inputs.shape
    if batch is None:
        batch = tf.shape(inputs)[0]
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


def _blocks_spanned(taps: int, size: int, stride: int) -> int:
    """By all the windows of one block."""
    return ceil_divide(taps + size - stride, size)


def _toeplitz(kernel, columns: int, stride: int) -> tf.Tensor:
    """[k, c, m] -> [c, rows, columns * m], as many rows as fill whole blocks.

    `T[c, i, j*m + n] = w[i - stride * j, c, n]`, which is to write the kernel
    and zeros, a stride more than a column has rows, again and again.
    """
    taps, channels, multiplier = kernel.shape
    size = columns * stride
    rows = _blocks_spanned(taps, size, stride) * size
    kernel = _with_zeros_around(
        tf.transpose(kernel, [1, 2, 0]),
        0,
        [channels, multiplier, rows + stride],
    )
    repeated = tf.tile(kernel, [1, 1, columns])[:, :, : columns * rows]
    matrix = tf.reshape(repeated, [channels, multiplier, columns, rows])
    return tf.reshape(
        tf.transpose(matrix, [0, 3, 2, 1]),
        [channels, rows, columns * multiplier],
    )


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
