"""The gradient of a kernel under XLA on CPU, in blocks of frames.

XLA makes one fast loop of a sum of products, but a slow one of products that it
reduces at once. So the frames of a block are summed elementwise, and what is
left of them, the blocks, is reduced afterwards.
"""

import tensorflow as tf

from tfconv.ops.reduction import ceil_divide
from tfconv.ops.reduction import length
from tfconv.ops.reduction import tree_sum
from tfconv.ops.reduction import window
from tfconv.ops.regimes import BATCH_IF_UNKNOWN

# Frames of a block: few compile fast, but leave much to reduce.
_LEAST_FRAMES = 12
_LEAST_FRAMES_OF_FEW_CHANNELS = 32  # c=3 k=9 0.71 -> 0.47 ms; c=1, c=8 even.
# There are at least as many as taps, and each is code to compile, so that long
# kernels are dealt with in parts; with many channels also for the sake of the
# fastest cache, of 32 KiB (c=256 k=63 11 -> 4.9 ms, c=1024 k=9 18 -> 9).
MOST_FRAMES = 64
_MOST_ELEMENTS = 8192
# Of fewer sums to reduce XLA makes one slow loop with the products (t=100 c=64
# k=3: 0.8 -> 0.15 ms), so that short kernels need shorter blocks.
_LEAST_TO_REDUCE = 32 * 1024
# Either the windows that reach out of the inputs are apart, which is as much to
# compile again, or the inputs are padded, which is a copy: worth sparing if
# there are so many blocks for each frame of one (an Intel Xeon, k=9, 10 blocks
# of 12 frames: c=128 d=4 3.8 -> 2.7 ms, c=64 d=8 5.1 -> 3.3; a step of training
# ds_cnn, t=800 k=31, 24 blocks of 31 frames 65 -> 72, and 1 s to compile).
_MIN_BLOCKS_PER_FRAME = 0.8


def kernel_gradient(
    inputs, upstream, taps: int, left: int, most_frames: int = MOST_FRAMES
) -> tf.Tensor:
    """[b, t, n*c] x [b, t', c] -> [k, n*c, 1].

    `dw[k, p*c + j] = sum_bi x[b, i + k - left, p*c + j] * dy[b, i, j]`

    Args:
        inputs: tensor; n phases of a stride side by side, or of one.
        upstream: tensor, the gradients of the windows.
        taps: int.
        left: int, zeros before the first time step.
        most_frames: int, of a block; no fewer than taps.
    """
    channels = inputs.shape[2]
    steps, windows = length(inputs), length(upstream)
    most = min(most_frames, max(_MOST_ELEMENTS // channels, _LEAST_FRAMES))
    if taps > most:
        part = ceil_divide(taps, ceil_divide(taps, most))
        least = _least(part, channels)
        size = _size_when_padded(windows, part, least, most)
        gradients = [
            _padded(inputs, upstream, min(part, taps - tap), left - tap, size)
            for tap in range(0, taps, part)
        ]
        return tf.concat(gradients, axis=0)
    least = _least(taps, channels)
    if not isinstance(steps, int):
        return _padded(inputs, upstream, taps, left, least)
    most_to_reduce = _most_to_reduce(inputs, windows, taps)
    if most_to_reduce >= max(taps, 2):
        most = min(most, most_to_reduce)
    size = min(least, most)
    # Whole blocks, from the first window on that lies in the inputs. The last
    # one reads as far as the block after it.
    blocks = min(windows - left, steps - size + 1) // size
    if blocks < _MIN_BLOCKS_PER_FRAME * size:
        size = _size_when_padded(windows, taps, least, most)
        return _padded(inputs, upstream, taps, left, size)
    in_blocks = blocks * size
    gradient = _in_blocks(inputs, window(upstream, left, in_blocks), taps, size)
    edges = [(0, left), (left + in_blocks, windows - left - in_blocks)]
    longer = max(count for _, count in edges)
    if not longer:
        return gradient
    # Both edges as examples, with no gradients after the shorter one.
    edges = [
        (
            window(inputs, first - left, longer + taps - 1),
            window(window(upstream, first, count), 0, longer),
        )
        for first, count in edges
        if count
    ]
    edges = (tf.concat(each, axis=0) for each in zip(*edges, strict=True))
    return gradient + _padded(*edges, taps, 0, size)


def _least(taps: int, channels: int) -> int:
    """Frames of a block."""
    few = 1 < channels < 8
    return max(taps, _LEAST_FRAMES_OF_FEW_CHANNELS if few else _LEAST_FRAMES)


def _most_to_reduce(inputs, windows: int, taps: int) -> int:
    """Frames of a block, so that the sums of all blocks are enough."""
    batch, _, channels = inputs.shape
    if batch is None:
        batch = BATCH_IF_UNKNOWN
    sums = batch * taps * channels
    # Of the last two blocks one is at the edges, and one is not whole.
    return sums * windows // (_LEAST_TO_REDUCE + 2 * sums)


def _size_when_padded(windows, taps: int, least: int, most: int) -> int:
    """Frames of a block; those that divide the windows spare a copy."""

    def cost(size):
        """In windows: work, copies and code to compile."""
        in_blocks = ceil_divide(windows, size) * size
        return in_blocks + size + (windows / 10 if in_blocks > windows else 0)

    if not isinstance(windows, int):
        return least
    most = min(2 * least, most)
    least = min(least, max(taps, ceil_divide(most, 2)))
    return min(range(least, max(least, most) + 1), key=cost)


def _padded(inputs, upstream, taps, left, size) -> tf.Tensor:
    blocks = ceil_divide(length(upstream), size)
    return _in_blocks(
        window(inputs, -left, blocks * size + size - 1),
        window(upstream, 0, blocks * size),
        taps,
        size,
    )


def _in_blocks(inputs, upstream, taps, size) -> tf.Tensor:
    """[b, (blocks + 1) * size - 1, n*c] x [b, blocks * size, c] -> [k, n*c, 1].

    A product is of one frame of all blocks with all the inputs that its taps
    meet: of a row of the inputs from that frame on, as long as a block, the
    beginning. Flat, or else XLA would copy the inputs for each of them.
    """
    channels, of_each = inputs.shape[2], upstream.shape[2]
    blocks = length(upstream) // size
    row = size * channels
    flat = tf.reshape(inputs, [-1, length(inputs) * channels])
    frames = tf.split(
        tf.reshape(upstream, [-1, blocks, size, 1, of_each]), size, axis=2
    )
    # Each once, since to trace constants takes as long as to compile the rest.
    strides = tf.constant([1, 1])
    shape_of_rows = tf.stack([-1, blocks, row])
    beginning = tf.constant([0, 0, 0]), tf.constant([0, 0, taps * channels])
    ones = tf.constant([1, 1, 1])
    shape = tf.stack([-1, blocks, taps, channels // of_each, of_each])
    products = []
    for frame, upstreams in enumerate(frames):
        start = frame * channels
        rows = tf.strided_slice(
            flat,
            [0, start],
            [0, start + blocks * row],
            strides,
            begin_mask=0b01,
            end_mask=0b01,
        )
        rows = tf.reshape(rows, shape_of_rows)
        met = tf.strided_slice(
            rows, *beginning, ones, begin_mask=0b111, end_mask=0b011
        )
        products.append(tf.reshape(met, shape) * upstreams)
    # Over both at once it is up to 3 times slower.
    gradient = tf.reduce_sum(tree_sum(products), axis=1)
    gradient = tf.reduce_sum(gradient, axis=0)
    return tf.reshape(gradient, [taps, channels, 1])
