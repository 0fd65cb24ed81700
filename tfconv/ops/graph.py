"""The lowering for eager mode and plain graphs: TensorFlow's native op.

On CPU the native op's outputs are computed at the pace of a copy, but for few
channels and for a multiplier, and so is the gradient of its inputs; that of
its kernel has cliffs. What is long enough to be worth it is brought by reshapes
to a form without (see reduction.py); distant segments of a signal with few
channels become channels, too.

Which form runs, measured with benchmarks/op_benchmark (float32, batch 32, 1-2
million elements, 2 cores of an AMD EPYC), in ms, native -> other:

| of            | where                 | form          | because              |
|---------------|-----------------------|---------------|----------------------|
| y             | c=1 k>=9, c<=3 k>=31  | segments      | c=1 k=9 0.9 -> 0.5,  |
|               |                       |               | k=31 2.8 -> 0.6      |
| y             | m>1 k>9               | inputs        | c=64 k=31 38 -> 4.1, |
|               |                       | repeated      | k=9 2.9 -> 3.5       |
| dx, stride>1  | c=1                   | rows          | k=9 0.9 -> 0.6,      |
|               |                       |               | c=3 0.35 -> 0.7      |
| dw            | c<=8                  | segments      | c=1 k=31 6 -> 1.5,   |
|               |                       |               | c=8 k=31 13 -> 3.9   |
| dw            | c>8                   | time as the   | c=64 k=9 2.5 -> 0.9, |
|               |                       | height        | k=31 82 -> 1.8       |
| dw, stride>1  | k>9, or c>=8 and      | rows          | c=64 s=2 k=9 1.7 ->  |
|               | k>4*stride            |               | 1.2, k=31 14 -> 2.2  |
"""

import dataclasses
import functools

import tensorflow as tf

from tfconv.ops import reduction
from tfconv.ops import xla
from tfconv.ops.geometry import Geometry
from tfconv.ops.reduction import length
from tfconv.ops.tracing import has_accelerator
from tfconv.ops.tracing import in_inference

# From how many taps on, for up to so many channels.
_MIN_TAPS_OF_SEGMENTED_FORWARD = {1: 9, 2: 31, 3: 31}
_MAX_CHANNELS_OF_SEGMENTED_GRADIENT = 8
_SEGMENTED_CHANNELS = 64
# Beyond, the native op's gradients of a kernel, and all with a multiplier,
# are 3 to 10 times slower.
_MAX_NATIVE_TAPS = 9


def depthwise_conv1d(
    inputs: tf.Tensor, kernel: tf.Tensor, geometry: Geometry
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], time as the width of an image."""
    if inputs.shape[0] == 0:
        # Of no examples the native op makes outputs of a wrong shape, and a
        # gradient of whatever was in the memory.
        return xla.depthwise_conv1d(inputs, kernel, geometry)
    if inputs.shape[1] is None and geometry.padding == "valid":
        inputs = _at_least_one_window(inputs, geometry)
    pads = geometry.pads(length(inputs))
    if (
        has_accelerator()
        or in_inference()
        # Known when tracing, as explicit padding has to be.
        or not all(isinstance(pad, int) for pad in pads)
        or geometry.kernel_size
        < _min_taps_of_reduction(inputs, kernel, geometry)
    ):
        return _native_with_its_own_gradient(inputs, kernel, geometry)
    plain = functools.partial(reduction.convolve, _Native(geometry.strides))
    if geometry.dilation_rate == 1:
        return plain(inputs, kernel, pads)
    return reduction.convolve_dilated(
        plain, inputs, kernel, pads, geometry.dilation_rate
    )


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, t, c] x [1, c, f] -> [b, t, f].

    A convolution is what a converter knows. Forward, it is as fast as the
    product of matrices, but not in its gradients (c=f=64, y + dx + dw, 1.6 ->
    1.1 ms).
    """
    if inputs.shape[0] == 0:
        return xla.pointwise_conv1d(inputs, kernel)
    if has_accelerator() or in_inference():
        return tf.nn.conv1d(inputs, kernel, stride=1, padding="VALID")
    _, channels, filters = kernel.shape
    outputs = tf.matmul(
        tf.reshape(inputs, [-1, channels]), tf.squeeze(kernel, axis=0)
    )
    return tf.reshape(outputs, [*_batch_and_steps(inputs), filters])


def _batch_and_steps(inputs):
    batch, steps = inputs.shape[:2]
    if steps is not None:
        return -1 if batch is None else batch, steps
    batch, steps, _ = tf.unstack(tf.shape(inputs))
    return batch, steps


def _at_least_one_window(inputs, geometry: Geometry) -> tf.Tensor:
    """The inputs; for no windows the native op makes a wrong shape, too."""
    check = tf.debugging.assert_greater_equal(
        tf.shape(inputs)[1],
        geometry.effective_kernel_size,
        "Computed output size would be zero or negative: the inputs have "
        "fewer time steps than one window spans.",
    )
    with tf.control_dependencies([check]):
        return tf.identity(inputs)


def _min_taps_of_reduction(inputs, kernel, geometry: Geometry) -> int:
    """From how many taps on the reduction is faster than the native op.

    Below, y + dx + dw would run at 0.6 to 0.95 times its speed; from there on
    at 1 to 24 times.
    """
    _, channels, multiplier = kernel.shape
    if geometry.dilation_rate > 1:
        return 1
    if multiplier > 1:
        return 10 if channels < 8 else 7 if channels < 32 else 1
    if geometry.strides > 1:
        return 8
    if channels > 8:
        return 5
    # In so few elements a call of an operation is what costs.
    elements = inputs.shape.num_elements()
    return 7 if elements is None or elements > 100_000 else 20


def _native_with_its_own_gradient(
    inputs, kernel, geometry: Geometry
) -> tf.Tensor:
    # Not inputs[:, tf.newaxis]: the gradient of that is a copy.
    images = tf.expand_dims(inputs, axis=1)
    padding = geometry.padding
    if padding == "causal":
        left, right = geometry.pads(None)
        images = tf.pad(images, [[0, 0], [0, 0], [left, right], [0, 0]])
        padding = "valid"
    outputs = tf.nn.depthwise_conv2d(
        images,
        tf.expand_dims(kernel, axis=0),
        strides=[1, geometry.strides, geometry.strides, 1],
        padding=padding.upper(),
        dilations=[1, geometry.dilation_rate],
    )
    return tf.squeeze(outputs, axis=1)


@dataclasses.dataclass(frozen=True)
class _Native:
    stride: int

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        taps, channels, multiplier = kernel.shape
        if multiplier > 1 and taps > _MAX_NATIVE_TAPS:
            inputs = tf.repeat(inputs, multiplier, axis=2)
            kernel = tf.reshape(kernel, [taps, channels * multiplier, 1])
        segments = _forward_segments(inputs, kernel, pads)
        if self.stride == 1 and segments > 1:
            return _segmented(inputs, kernel, pads, segments)
        return _native(inputs, kernel, pads, self.stride)

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        taps, channels, _ = kernel.shape
        left, right = pads
        if self.stride == 1:
            flipped = (taps - 1 - left, taps - 1 - right)
            return self.convolve(upstream, kernel[::-1], flipped)
        if channels > 1:
            return _native_input_gradient(
                upstream, kernel, pads, self.stride, steps
            )
        rows = reduction.Rows.of(taps, left, self.stride)
        gradient = _PLAIN.convolve(
            tf.tile(rows.of_upstream(upstream, steps), [1, 1, self.stride]),
            tf.reshape(rows.of_kernel(kernel)[::-1], [-1, self.stride, 1]),
            (0, 0),
        )
        gradient = tf.reshape(gradient, [-1, length(gradient) * self.stride, 1])
        return reduction.window(gradient, 0, steps)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        if self.stride == 1:
            segments = _gradient_segments(inputs, upstream, taps)
            if segments > 1:
                return _segmented_kernel_gradient(
                    inputs, upstream, taps, pads, segments
                )
            return _kernel_gradient_over_height(inputs, upstream, taps, pads)
        short = 4 * self.stride if inputs.shape[2] >= 8 else _MAX_NATIVE_TAPS
        if taps <= min(short, _MAX_NATIVE_TAPS):
            return _native_kernel_gradient(
                inputs, upstream, taps, pads, self.stride
            )
        rows = reduction.Rows.of(taps, pads[0], self.stride)
        inputs = reduction.rows_of(inputs, self.stride)
        needed = length(upstream) + rows.taps - 1
        pads = (rows.left, needed - rows.left - length(inputs))
        if not isinstance(pads[1], int) or pads[1] < 0:
            inputs = reduction.window(inputs, -rows.left, needed)
            pads = (0, 0)
        gradient = _PLAIN.kernel_gradient(
            inputs, tf.tile(upstream, [1, 1, self.stride]), rows.taps, pads
        )
        return rows.to_kernel(gradient)


_PLAIN = _Native(stride=1)


def _forward_segments(inputs, kernel, pads) -> int:
    taps, channels, multiplier = kernel.shape
    least = _MIN_TAPS_OF_SEGMENTED_FORWARD.get(channels)
    if (
        least is None
        or taps < least
        or multiplier > 1
        or inputs.shape[1] is None
    ):
        return 1
    return _segments(channels, inputs.shape[1] + sum(pads) - taps + 1, taps)


def _gradient_segments(inputs, upstream, taps) -> int:
    channels = inputs.shape[2]
    if (
        channels > _MAX_CHANNELS_OF_SEGMENTED_GRADIENT
        or upstream.shape[1] is None
    ):
        return 1
    return _segments(channels, upstream.shape[1], taps)


def _segments(channels: int, windows: int, taps: int) -> int:
    """As many as fill the channels, each at least as long as its halo."""
    return min(_SEGMENTED_CHANNELS // channels, windows // max(taps, 2))


def _segmented(inputs, kernel, pads, segments) -> tf.Tensor:
    taps, channels, _ = kernel.shape
    windows = inputs.shape[1] + sum(pads) - taps + 1
    length = -(-windows // segments)
    outputs = _native(
        _overlapping(inputs, pads[0], taps, length, segments),
        tf.tile(kernel, [1, segments, 1]),
        (0, 0),
    )
    outputs = tf.reshape(outputs, [-1, length, segments, channels])
    outputs = tf.transpose(outputs, [0, 2, 1, 3])
    outputs = tf.reshape(outputs, [-1, segments * length, channels])
    return outputs[:, :windows]


def _segmented_kernel_gradient(inputs, upstream, taps, pads, segments):
    channels = inputs.shape[2]
    windows = upstream.shape[1]
    length = -(-windows // segments)
    upstream = tf.pad(
        upstream, [[0, 0], [0, segments * length - windows], [0, 0]]
    )
    gradient = _kernel_gradient_over_height(
        _overlapping(inputs, pads[0], taps, length, segments),
        _side_by_side(upstream, length, segments),
        taps,
        (0, 0),
    )
    gradient = tf.reshape(gradient, [taps, segments, channels, 1])
    return tf.reduce_sum(gradient, axis=1)


def _overlapping(inputs, left, taps, length, segments) -> tf.Tensor:
    """[b, t, c] -> [b, length + k - 1, segments * c]."""
    total = segments * length + taps - 1
    steps, channels = inputs.shape[1:]
    padded = tf.pad(
        inputs, [[0, 0], [left, max(0, total - left - steps)], [0, 0]]
    )
    body = _side_by_side(padded[:, : segments * length], length, segments)
    # A segment is followed by the beginning of the next one.
    last = padded[:, segments * length : total]
    halo = tf.concat([body[:, : taps - 1, channels:], last], axis=2)
    return tf.concat([body, halo], axis=1)


def _side_by_side(inputs, length, segments) -> tf.Tensor:
    """[b, segments * length, c] -> [b, length, segments * c]."""
    channels = inputs.shape[2]
    outputs = tf.reshape(inputs, [-1, segments, length, channels])
    outputs = tf.transpose(outputs, [0, 2, 1, 3])
    return tf.reshape(outputs, [-1, length, segments * channels])


def _native(inputs, kernel, pads, stride=1) -> tf.Tensor:
    outputs = tf.nn.depthwise_conv2d(
        tf.expand_dims(inputs, axis=1),
        tf.expand_dims(kernel, axis=0),
        strides=[1, stride, stride, 1],
        padding=[[0, 0], [0, 0], list(pads), [0, 0]],
    )
    return tf.squeeze(outputs, axis=1)


# TensorFlow has no oneDNN kernel for gradients with explicit padding: those are
# 2 to 40 times slower.


def _native_input_gradient(upstream, kernel, pads, stride, steps) -> tf.Tensor:
    taps, channels, _ = kernel.shape
    same = _is_same(pads, taps, stride, steps)
    left, right = (0, 0) if same else pads
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=[tf.shape(upstream)[0], 1, left + steps + right, channels],
        filter=tf.expand_dims(kernel, axis=0),
        out_backprop=tf.expand_dims(upstream, axis=1),
        strides=[1, stride, stride, 1],
        padding="SAME" if same else "VALID",
    )
    return reduction.window(tf.squeeze(gradient, axis=1), left, steps)


def _native_kernel_gradient(inputs, upstream, taps, pads, stride) -> tf.Tensor:
    same = _is_same(pads, taps, stride, length(inputs))
    if not same:
        inputs = tf.pad(inputs, [[0, 0], pads, [0, 0]])
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=tf.expand_dims(inputs, axis=1),
        filter_sizes=[1, taps, inputs.shape[2], 1],
        out_backprop=tf.expand_dims(upstream, axis=1),
        strides=[1, stride, stride, 1],
        padding="SAME" if same else "VALID",
    )
    return tf.squeeze(gradient, axis=0)


def _kernel_gradient_over_height(inputs, upstream, taps, pads) -> tf.Tensor:
    steps = length(inputs)
    # A kernel longer than its inputs is 3 to 10 times slower to pad there.
    longer = not isinstance(steps, int) or steps < taps
    same = not longer and _is_same(pads, taps, 1, steps)
    if not same:
        inputs = tf.pad(inputs, [[0, 0], pads, [0, 0]])
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=tf.expand_dims(inputs, axis=2),
        filter_sizes=[taps, 1, inputs.shape[2], 1],
        out_backprop=tf.expand_dims(upstream, axis=2),
        strides=[1, 1, 1, 1],
        padding="SAME" if same else "VALID",
    )
    return tf.squeeze(gradient, axis=1)


def _is_same(pads, taps, stride, steps) -> bool:
    same = Geometry(taps, stride, "same").pads(steps)
    return all(isinstance(pad, int) for pad in same) and pads == same
