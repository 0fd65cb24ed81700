"""The gradient of a kernel under XLA on CPU, in blocks of frames.

XLA makes one fast loop of a sum of products, but a slow one of products that it
reduces at once. So the frames of a block are summed elementwise, and what is
left of them, the blocks, is reduced afterwards.
"""

import tensorflow as tf

from tfconv.ops.reduction import Rows
from tfconv.ops.reduction import ceil_divide
from tfconv.ops.reduction import length
from tfconv.ops.reduction import rows_apart
from tfconv.ops.reduction import rows_of
from tfconv.ops.reduction import tree_sum
from tfconv.ops.reduction import window
from tfconv.ops.regimes import BATCH_IF_UNKNOWN

# Frames of a block: few compile fast, but leave much to reduce.
_LEAST_FRAMES = 12
_LEAST_FRAMES_OF_FEW_CHANNELS = 32  # c=3 k=9 0.71 -> 0.47 ms; c=1, c=8 even.
# There are at least as many as taps, and each is code to compile, so that long
# kernels are dealt with in parts; with many channels also for the sake of the
# fastest cache, of 32 KiB (c=256 k=63 11 -> 4.9 ms, c=1024 k=9 18 -> 9).
_MOST_FRAMES = 64
_MOST_ELEMENTS = 8192
# XLA makes one slow loop of the products and the reduction of so many blocks or
# fewer, unless their sums are so many, which it hands to a library (t=100 c=64
# k=3: 0.8 -> 0.15 ms). So short kernels need shorter blocks, long ones parts
# (one example, t=800 c=40 k=31: 1.06 -> 0.35), and few short signals go one
# after another (8 examples, t=98 c=40 k=9 0.34 -> 0.16, k=31 0.68 -> 0.27).
_MOST_BLOCKS_OF_SLOW_LOOP = 32
_LEAST_TO_REDUCE = 32 * 1024
_MORE_PARTS = 3  # Each reads the inputs again.
# Of so many channels it is worth another part that its blocks are a divisor of
# the windows, so that those need no copy: t=250 c=256 k=31 5.0 -> 4.2 ms, k=63
# 8.0 -> 5.9; t=500 c=128 k=63 5.8 -> 4.9, but t=1000 c=64 4.5 -> 5.5.
_MIN_CHANNELS_OF_A_DIVISOR = 128
# Either the windows that reach out of the inputs are apart, which is as much to
# compile again, or the inputs are padded, which is a copy: worth sparing if
# there are so many blocks for each frame of one (an Intel Xeon, k=9, 10 blocks
# of 12 frames: c=128 d=4 3.8 -> 2.7 ms, c=64 d=8 5.1 -> 3.3; a step of training
# ds_cnn, t=800 k=31, 24 blocks of 31 frames 65 -> 72, and 1 s to compile).
_MIN_BLOCKS_PER_FRAME = 0.8
# A block of so many channels and sums leaves the fastest cache; copying the
# frames apart takes less (dw, k=31 d=8: c=256 15 -> 4.1 ms, c=64 7.2 -> 5.3,
# but d=2 3.9 -> 5.4). y + dx + dw, of an Intel Xeon, k=15 d=4: c=128 8.1 ->
# 6.8, but c=64 5.2 -> 6.8; k=9 d=8: c=64 5.0 -> 6.6, c=128 even.
_MIN_CHANNELS_OF_EXAMPLES = 512
_MIN_SUMS_OF_EXAMPLES = 7_500
# Of one channel, two or three frames side by side fill no vectors: k=9: d=2 1.3
# -> 0.9 ms, d=3 1.0 -> 0.7; d=2: k=31 1.8 -> 1.1, k=63 5.7 -> 2.0; but d=4 m=2
# k=9 0.9 -> 1.2, d=6 k=31 1.45 -> 1.64.
_MOST_DILATION_OF_EXAMPLES = 3
# Of more frames at once XLA copies them again and again, it seems (dw, t=500
# c=128 d=8: k=3 3.3 -> 1.9 ms, k=9 3.6 -> 2.1, k=15 4.3 -> 3.1).
_MOST_FRAMES_OF_EXAMPLES = 15


def kernel_gradient(
    inputs,
    upstream,
    taps: int,
    left: int,
    stride: int = 1,
    dilation: int = 1,
    pads_ahead: bool = False,
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
        pads_ahead: whether what computes the inputs pads them too, for free.
    """
    if stride > 1:
        return _of_phases(inputs, upstream, taps, left, stride, pads_ahead)
    if dilation > 1:
        return _of_dilated(inputs, upstream, taps, left, dilation)
    return _of_frames(inputs, upstream, taps, left, pads_ahead=pads_ahead)


def _of_phases(inputs, upstream, taps, left, stride, pads_ahead) -> tf.Tensor:
    """The phases of a stride as channels."""
    rows = Rows.of(taps, left, stride)
    inputs = rows_of(inputs, stride)
    phases = [inputs]
    if stride == inputs.shape[2] == 2:
        # c=1 k=9 0.88 -> 0.47 ms, k=31 0.98 -> 0.74; s=4 and c=3 even.
        phases = tf.unstack(inputs[..., tf.newaxis], axis=2)
    gradients = [
        _of_frames(phase, upstream, rows.taps, rows.left, pads_ahead=pads_ahead)
        for phase in phases
    ]
    return rows.to_kernel(tf.concat(gradients, axis=1))


def _of_dilated(inputs, upstream, taps, left, dilation) -> tf.Tensor:
    """The frames between two taps as channels, or as examples."""
    channels = inputs.shape[2]
    left_rows, part_of_row = divmod(left, dilation)
    if part_of_row:
        inputs = tf.pad(inputs, [[0, 0], [part_of_row, 0], [0, 0]])
    inputs, upstream = rows_of(inputs, dilation), rows_of(upstream, dilation)
    most_frames = _MOST_FRAMES
    if _as_examples(taps, channels, dilation):
        inputs, upstream = (
            rows_apart(each, dilation) for each in (inputs, upstream)
        )
        if taps <= _MOST_FRAMES_OF_EXAMPLES:
            most_frames = _MOST_FRAMES_OF_EXAMPLES
    gradient = _of_frames(inputs, upstream, taps, left_rows, most_frames)
    gradient = tf.reshape(gradient, [taps, -1, channels, 1])
    return tf.reduce_sum(gradient, axis=1)


def _as_examples(taps: int, channels: int, dilation: int) -> bool:
    if channels == 1:
        return dilation <= _MOST_DILATION_OF_EXAMPLES
    channels *= dilation
    return (
        channels >= _MIN_CHANNELS_OF_EXAMPLES
        and channels * taps >= _MIN_SUMS_OF_EXAMPLES
    )


def _of_frames(
    inputs, upstream, taps, left, most_frames=_MOST_FRAMES, pads_ahead=False
) -> tf.Tensor:
    """[b, t, n*c] x [b, t', c] -> [k, n*c, 1].

    `dw[k, p*c + j] = sum_bi x[b, i + k - left, p*c + j] * dy[b, i, j]`

    Args:
        inputs: tensor; n phases of a stride side by side, or of one.
        upstream: tensor, the gradients of the windows.
        taps: int.
        left: int, zeros before the first time step.
        most_frames: int, of a block; no fewer than taps.
        pads_ahead: whether what computes the inputs pads them too, for free.
    """
    channels = inputs.shape[2]
    steps, windows = length(inputs), length(upstream)
    most = min(most_frames, max(_MOST_ELEMENTS // channels, _LEAST_FRAMES))
    part, most = _part(inputs, windows, taps, most)
    if part == taps and isinstance(steps, int) and not pads_ahead:
        size = min(_least(taps, channels), most)
        # Whole blocks, from the first window on that lies in the inputs. The
        # last one reads as far as the block after it.
        blocks = min(windows - left, steps - size + 1) // size
        if blocks >= _MIN_BLOCKS_PER_FRAME * size:
            return _with_edges_apart(inputs, upstream, taps, left, size, blocks)
    part, size = _part_and_size_when_padded(windows, taps, part, channels, most)
    gradients = [
        _padded(inputs, upstream, min(part, taps - tap), left - tap, size)
        for tap in range(0, taps, part)
    ]
    return tf.concat(gradients, axis=0)


def _with_edges_apart(inputs, upstream, taps, left, size, blocks) -> tf.Tensor:
    """Windows that reach out of the inputs, and others, apart."""
    in_blocks = blocks * size
    gradient = _in_blocks(inputs, window(upstream, left, in_blocks), taps, size)
    windows = length(upstream)
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


def _part(inputs, windows, taps: int, most: int) -> tuple[int, int]:
    """Taps to deal with at once, and the most frames of a block then."""
    fewest = ceil_divide(taps, most)
    if isinstance(windows, int):
        for parts in range(fewest, fewest + _MORE_PARTS):
            part = ceil_divide(taps, parts)
            most_to_reduce = _most_to_reduce(inputs, windows, part)
            if most_to_reduce >= max(part, 2):
                return part, min(most, most_to_reduce)
    return ceil_divide(taps, fewest), most


def _most_to_reduce(inputs, windows: int, taps: int) -> int:
    """Frames of a block, so that the blocks or the sums of all are enough."""
    sums = _examples(inputs) * taps * inputs.shape[2]
    # Of the last two blocks one is at the edges, and one is not whole.
    return max(
        sums * windows // (_LEAST_TO_REDUCE + 2 * sums),
        windows // (_MOST_BLOCKS_OF_SLOW_LOOP + 3),
    )


def _size_when_padded(windows, taps: int, channels: int, most: int) -> int:
    """Frames of a block; those that divide the windows spare a copy."""
    least = _least(taps, channels)

    def cost(size):
        """In windows: work, copies and code to compile."""
        in_blocks = ceil_divide(windows, size) * size
        return in_blocks + size + (windows / 10 if in_blocks > windows else 0)

    if not isinstance(windows, int):
        return least
    most = min(2 * least, most)
    least = min(least, max(taps, ceil_divide(most, 2)))
    return min(range(least, max(least, most) + 1), key=cost)


def _part_and_size_when_padded(
    windows, taps: int, part: int, channels: int, most: int
) -> tuple[int, int]:
    """Taps to deal with at once, those or fewer, and frames of a block."""
    size = _size_when_padded(windows, part, channels, most)
    if isinstance(windows, int) and channels >= _MIN_CHANNELS_OF_A_DIVISOR:
        smaller = ceil_divide(taps, ceil_divide(taps, part) + 1)
        other = _size_when_padded(windows, smaller, channels, most)
        if windows % size and not windows % other:
            return smaller, other
    return part, size


def _padded(inputs, upstream, taps, left, size) -> tf.Tensor:
    blocks = ceil_divide(length(upstream), size)
    if not _loops_slowly(inputs, blocks, taps):
        return _in_blocks(
            window(inputs, -left, blocks * size + size - 1),
            window(upstream, 0, blocks * size),
            taps,
            size,
        )
    # The examples one after another, with a block of no gradients between.
    steps = (blocks + 1) * size
    inputs, upstream = (
        tf.reshape(each, [1, -1, each.shape[2]])
        for each in (window(inputs, -left, steps), window(upstream, 0, steps))
    )
    inputs = tf.pad(inputs, [[0, 0], [0, size - 1], [0, 0]])
    return _in_blocks(inputs, upstream, taps, size)


def _loops_slowly(inputs, blocks, taps: int) -> bool:
    """Whether each example has too few blocks, though all in a row have not."""
    if not isinstance(blocks, int):
        return False
    examples = _examples(inputs)
    sums_of_block = taps * inputs.shape[2]
    in_a_row = examples * (blocks + 1)
    return _is_slow(blocks, examples * blocks * sums_of_block) and not _is_slow(
        in_a_row, in_a_row * sums_of_block
    )


def _is_slow(blocks: int, sums: int) -> bool:
    return blocks <= _MOST_BLOCKS_OF_SLOW_LOOP and sums < _LEAST_TO_REDUCE


def _examples(inputs) -> int:
    batch = inputs.shape[0]
    return BATCH_IF_UNKNOWN if batch is None else batch


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
