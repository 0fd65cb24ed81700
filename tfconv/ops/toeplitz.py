"""A convolution as matrix products, which XLA on CPU has a fast library for.

A block of neighbouring outputs is the product of the inputs that its windows
span with a Toeplitz matrix: each of its columns is the kernel, one stride
further down than in the column before. About half of the matrix is zeros.
"""

import tensorflow as tf

from tfconv.ops.geometry import Geometry
from tfconv.ops.reduction import ceil_divide

# Inputs from the beginning of one block to that of the next. c=1, y + dx + dw,
# of 16, 32 and 64: k=9 m=4 s=2 1.8 2.2 3.0 ms, k=63 4.0 2.9 2.9, k=130 6.8 5.1
# 5.8; k=400 m=32 s=160, of one output and two: 2.8 2.8.
_STEPS_OF_BLOCK = 32


def convolve(inputs, kernel, geometry: Geometry) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m]; t is known, and no dilation.

    Where the inputs are not finite, the other outputs of a block are not
    either, since 0 * inf is not 0.
    """
    stride = geometry.strides
    batch, steps, channels = inputs.shape
    multiplier = kernel.shape[2]
    windows = geometry.output_steps(steps)
    left, _ = geometry.pads(steps)
    outputs_of_block = max(1, _STEPS_OF_BLOCK // stride)
    size = outputs_of_block * stride
    blocks = ceil_divide(windows, outputs_of_block)
    matrix = _toeplitz(kernel, outputs_of_block, stride)
    # A block's windows end in one of the blocks behind it.
    spanned = matrix.shape[1] // size
    needed = (blocks + spanned - 1) * size
    inputs = inputs[:, : needed - left]
    if batch is None:
        batch = tf.shape(inputs)[0]
    inputs = _with_zeros_around(
        tf.transpose(inputs, [2, 0, 1]), left, [channels, batch, needed]
    )
    inputs = tf.reshape(inputs, [channels, batch, blocks + spanned - 1, size])
    products = [
        tf.matmul(
            tf.reshape(
                inputs[:, :, nth : nth + blocks],
                [channels, batch * blocks, size],
            ),
            matrix[:, nth * size : (nth + 1) * size],
        )
        for nth in range(spanned)
    ]
    outputs = tf.reshape(
        tf.add_n(products),
        [channels, batch, blocks * outputs_of_block, multiplier],
    )
    outputs = tf.transpose(outputs[:, :, :windows], [1, 2, 0, 3])
    return tf.reshape(outputs, [batch, windows, channels * multiplier])


def _toeplitz(kernel, columns: int, stride: int) -> tf.Tensor:
    """[k, c, m] -> [c, rows, columns * m], as many rows as fill whole blocks.

    `T[c, i, j*m + n] = w[i - stride * j, c, n]`, which is to write the kernel
    and zeros, a stride more than a column has rows, again and again.
    """
    taps, channels, multiplier = kernel.shape
    size = columns * stride
    rows = ceil_divide(taps + size - stride, size) * size
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
    """tf.pad of the last axis, with derivatives of every order.

    Under XLA, the gradient of tf.pad has none beyond its own.
    """
    end = before + tensor.shape[2]
    return tf.raw_ops.StridedSliceGrad(
        shape=tf.stack(shape),
        begin=[0, 0, before],
        end=[0, 0, end],
        strides=[1, 1, 1],
        dy=tensor,
        begin_mask=0b011,
        end_mask=0b011,
    )
