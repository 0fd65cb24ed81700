"""The gradient of a kernel under XLA on CPU, in blocks of frames.

XLA makes one fast loop of a sum of products, but a slow one of products that it
reduces at once. So the frames of a block are summed elementwise, and what is
left of them, the blocks, is reduced afterwards.
"""

import tensorflow as tf

from tfconv.ops.forms.phases import Rows
from tfconv.ops.forms.steps import ceil_divide
from tfconv.ops.forms.steps import length
from tfconv.ops.forms.steps import pad
from tfconv.ops.forms.steps import rows_of
from tfconv.ops.forms.steps import tree_sum
from tfconv.ops.forms.steps import window

# Frames of a block: few compile fast, but leave much to reduce. Each is code to
# compile, and a block of many channels has to stay in the fastest cache.
_LEAST_FRAMES = 12
_MOST_FRAMES = 64
_MOST_ELEMENTS = 8192
# XLA makes one slow loop of the products and the reduction of so many blocks or
# fewer, unless their sums are so many, which it hands to a library.
_MOST_BLOCKS_OF_SLOW_LOOP = 32
_LEAST_TO_REDUCE = 32 * 1024
_MORE_PARTS = 3  # Each reads the inputs again.


def kernel_gradient(
    inputs, upstream, taps: int, left: int, stride: int = 1, dilation: int = 1
) -> tf.Tensor:
    """[b, t, c] x [b, t', c] -> [k, c, 1].

    `dw[k, j] = sum_bi x[b, i*s + k*d - left, j] * dy[b, i, j]`

    Args:
        inputs: tensor.
        upstream: tensor, the gradients of the windows.
        taps: int.
        left: int, zeros before the first time step.
        stride: int.
        dilation: int.
    """
    if stride > 1:
        rows = Rows.of(taps, left, stride)
        return rows.to_kernel(
            _of_frames(rows_of(inputs, stride), upstream, rows.taps, rows.left)
        )
    if dilation == 1:
        return _of_frames(inputs, upstream, taps, left)
    channels = inputs.shape[2]
    left_rows, part_of_row = divmod(left, dilation)
    if part_of_row:
        inputs = pad(inputs, (part_of_row, 0))
    gradient = _of_frames(
        rows_of(inputs, dilation), rows_of(upstream, dilation), taps, left_rows
    )
    gradient = tf.reshape(gradient, [taps, dilation, channels, 1])
    return tf.reduce_sum(gradient, axis=1)


def _of_frames(inputs, upstream, taps: int, left: int) -> tf.Tensor:
    """[b, t, n*c] x [b, t', c] -> [k, n*c, 1].

    `dw[k, p*c + j] = sum_bi x[b, i + k - left, p*c + j] * dy[b, i, j]`

    Args:
        inputs: tensor; n phases of a stride side by side, or of one.
        upstream: tensor, the gradients of the windows.
        taps: int.
        left: int, zeros before the first time step.
    """
    windows = length(upstream)
    most = max(_MOST_ELEMENTS // inputs.shape[2], _LEAST_FRAMES)
    part, most = _part(inputs, windows, taps, min(_MOST_FRAMES, most))
    size = _size(windows, part, most)
    blocks = ceil_divide(windows, size)
    upstream = window(upstream, 0, blocks * size)
    gradients = [
        _in_blocks(
            window(inputs, tap - left, blocks * size + size - 1),
            upstream,
            min(part, taps - tap),
            size,
        )
        for tap in range(0, taps, part)
    ]
    return tf.concat(gradients, axis=0)


def _part(inputs, windows, taps: int, most: int) -> tuple[int, int]:
    """Taps to deal with at once, and the most frames of a block then."""
    fewest = ceil_divide(taps, most)
    if isinstance(windows, int) and inputs.shape[0] is not None:
        for parts in range(fewest, fewest + _MORE_PARTS):
            part = ceil_divide(taps, parts)
            sums = inputs.shape[0] * inputs.shape[2] * part
            # Frames of a block, so that the blocks or all sums are enough.
            # The last block may not be whole.
            enough = max(
                sums * windows // (_LEAST_TO_REDUCE + 2 * sums),
                windows // (_MOST_BLOCKS_OF_SLOW_LOOP + 3),
            )
            if enough >= max(part, 2):
                return part, min(most, enough)
    return ceil_divide(taps, fewest), most


def _size(windows, taps: int, most: int) -> int:
    """Frames of a block; those that divide the windows spare a copy."""
    least = max(taps, _LEAST_FRAMES)
    if not isinstance(windows, int):
        return least
    most = min(2 * least, most)
    least = min(least, max(taps, ceil_divide(most, 2)))

    def cost(size):
        """In windows: work, copies and code to compile."""
        in_blocks = ceil_divide(windows, size) * size
        return in_blocks + size + (windows / 10 if in_blocks > windows else 0)

    return min(range(least, max(least, most) + 1), key=cost)


def _in_blocks(inputs, upstream, taps, size) -> tf.Tensor:
    """[b, (blocks + 1) * size - 1, n*c] x [b, blocks * size, c] -> [k, n*c, 1].

    A product is of one frame of all blocks with all the inputs that its taps
    meet: of a row of the inputs from that frame on, as long as a block, the
    beginning. Flat, or else XLA would copy the inputs for each of them.
    """
    batch, _, channels = inputs.shape
    if batch is None:
        batch = -1
    of_each = upstream.shape[2]
    blocks = length(upstream) // size
    row = size * channels
    flat = tf.reshape(inputs, [batch, length(inputs) * channels])
    frames = tf.split(
        tf.reshape(upstream, [batch, blocks, size, 1, of_each]), size, axis=2
    )
    # Each once, since to trace constants takes as long as to compile the rest.
    strides = tf.constant([1, 1])
    shape_of_rows = tf.stack([batch, blocks, row])
    beginning = tf.constant([0, 0, 0]), tf.constant([0, 0, taps * channels])
    ones = tf.constant([1, 1, 1])
    shape = tf.stack([batch, blocks, taps, channels // of_each, of_each])
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
