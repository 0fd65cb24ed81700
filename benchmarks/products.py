"""Blocks of a signal of few channels times matrices, for floors.py.

In plain graphs as under XLA. Of tensors `(b, t, c)`.
"""

import math

import tensorflow as tf

from benchmarks.fastest import Parts
from benchmarks.fastest import random
from benchmarks.fastest import shared
from benchmarks.fastest import with_options

_FRAMES = 32  # Of a block, or as many as whole strides hold, or one stride.


def with_products(cell, parts: Parts) -> Parts:
    """With those of blocks and matrices, which few channels are fast with."""
    if cell.channels >= 8 or cell.dilation > 1:
        return parts
    batch, steps, channels, _ = cell.sizes
    windows = math.ceil(steps / cell.stride)
    inputs = shared("inputs", batch, steps, channels)
    upstream = shared("upstream", batch, windows, channels * cell.multiplier)
    stride = cell.stride
    outputs = max(1, _FRAMES // stride)
    size, wide = outputs * stride, outputs * cell.multiplier
    spanned = math.ceil((cell.kernel_size + size - stride) / size)
    shape = spanned, cell.channels
    blocks = cell.steps // size
    if not blocks:
        return parts
    forms = [
        with_options(
            products,
            (inputs, random(*shape, size, wide)),
            blocks=blocks,
        ),
        with_options(
            products,
            (upstream, random(*shape, wide, size)),
            blocks=blocks,
        ),
        with_options(
            products_of_gradients,
            (inputs, upstream),
            spanned=spanned,
            sizes=(size, wide),
            blocks=blocks,
        ),
    ]
    return [[*part, form] for part, form in zip(parts, forms, strict=True)]


def products(inputs, matrices, blocks):
    """[b, t, c] x [n, c, i, o] -> [b, blocks * o, c].

    Of blocks of i frames with n matrices, added. The gradients of the outputs
    of a multiplier count as frames, one after another.
    """
    spanned, channels, size, _ = matrices.shape
    operands = zip(
        _blocks(inputs, channels, spanned, size, blocks),
        tf.unstack(matrices),
        strict=True,
    )
    outputs = tf.add_n([tf.matmul(*each) for each in operands])
    outputs = tf.reshape(outputs, [channels, inputs.shape[0], -1])
    return tf.transpose(outputs, [1, 2, 0])


def products_of_gradients(inputs, upstream, spanned, sizes, blocks):
    """[b, t, c] x [b, t', c * m] -> n times [c, *sizes]."""
    channels = inputs.shape[2]
    size, of_upstream = sizes
    (upstreams,) = _blocks(upstream, channels, 1, of_upstream, blocks)
    return [
        tf.matmul(each, upstreams, transpose_a=True)
        for each in _blocks(inputs, channels, spanned, size, blocks)
    ]


def _blocks(inputs, channels, spanned, size, blocks):
    """[b, t, c] -> n times [c, b * blocks, size], each a block further on."""
    batch = inputs.shape[0]
    reach = (spanned - 1) * size
    signals = tf.reshape(inputs, [batch, -1, channels])
    signals = tf.transpose(signals[:, : blocks * size], [2, 0, 1])
    paddings = [[0, 0], [0, 0], [reach // 2, reach - reach // 2]]
    rows = tf.reshape(tf.pad(signals, paddings), [channels, batch, -1, size])
    return [
        tf.reshape(rows[:, :, nth : nth + blocks], [channels, -1, size])
        for nth in range(spanned)
    ]
