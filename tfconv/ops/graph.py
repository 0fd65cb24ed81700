"""The lowering for eager mode and plain graphs: TensorFlow's native op.

What regimes.py calls worth it is brought by reshapes to a form of it that is
fast on CPU (see reduction.py).
"""

import dataclasses
import functools

import tensorflow as tf

from tfconv.ops import reduction
from tfconv.ops import regimes
from tfconv.ops import xla
from tfconv.ops.geometry import Geometry
from tfconv.ops.reduction import length
from tfconv.ops.regimes import Form
from tfconv.ops.regimes import Regime
from tfconv.ops.tracing import has_accelerator
from tfconv.ops.tracing import in_inference

_SEGMENTED_CHANNELS = 64


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
        or _form(inputs, kernel, geometry) is Form.NATIVE
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


def _form(inputs, kernel, geometry: Geometry) -> Form:
    _, channels, multiplier = kernel.shape
    elements = inputs.shape.num_elements()
    if tf.executing_eagerly() or inputs.shape[1] is None:
        # Every operation costs a call; segments need the number of steps.
        elements = 0
    return regimes.choose(
        regimes.OPERATION,
        Regime(
            geometry.kernel_size,
            channels,
            multiplier,
            geometry.strides,
            geometry.dilation_rate,
            regimes.ANY if elements is None else elements,
        ),
    )


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
        regime = Regime(taps, channels, multiplier, self.stride)
        form = regimes.choose(regimes.OUTPUTS, regime)
        if form is Form.REPEATED:
            return self.convolve(
                tf.repeat(inputs, multiplier, axis=2),
                tf.reshape(kernel, [taps, channels * multiplier, 1]),
                pads,
            )
        if form is Form.SEGMENTS and inputs.shape[1] is not None:
            windows = inputs.shape[1] + sum(pads) - taps + 1
            segments = _segments(channels, windows, taps)
            if segments > 1:
                return _segmented(inputs, kernel, pads, segments)
        return _native(inputs, kernel, pads, self.stride)

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        multiplier = kernel.shape[2]
        upstreams = _of_each_multiple(upstream, multiplier)
        kernels = tf.split(kernel, multiplier, axis=2)
        gradients = [
            self._input_gradient(*each, pads, steps)
            for each in zip(upstreams, kernels, strict=True)
        ]
        return gradients[0] if multiplier == 1 else tf.add_n(gradients)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        multiplier = upstream.shape[2] // inputs.shape[2]
        return tf.concat(
            [
                self._kernel_gradient(inputs, each, taps, pads)
                for each in _of_each_multiple(upstream, multiplier)
            ],
            axis=2,
        )

    def _input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        taps, channels, _ = kernel.shape
        left, right = pads
        if self.stride == 1:
            flipped = (taps - 1 - left, taps - 1 - right)
            return self.convolve(upstream, kernel[::-1], flipped)
        regime = Regime(taps, channels, 1, self.stride)
        if regimes.choose(regimes.INPUT_GRADIENT, regime) is Form.NATIVE:
            return _native_input_gradient(
                upstream, kernel, pads, self.stride, steps
            )
        rows = reduction.Rows.of(taps, left, self.stride)
        row_kernel = tf.reshape(
            rows.of_kernel(kernel)[::-1], [rows.taps, -1, 1]
        )
        gradient = _PLAIN.convolve(
            tf.tile(rows.of_upstream(upstream, steps), [1, 1, self.stride]),
            row_kernel,
            (0, 0),
        )
        gradient = tf.reshape(
            gradient, [-1, length(gradient) * self.stride, channels]
        )
        return reduction.window(gradient, 0, steps)

    def _kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        channels = inputs.shape[2]
        regime = Regime(taps, channels, 1, self.stride)
        form = regimes.choose(regimes.KERNEL_GRADIENT, regime)
        if form is Form.NATIVE:
            return _native_kernel_gradient(
                inputs, upstream, taps, pads, self.stride
            )
        if form is Form.ROWS:
            return self._kernel_gradient_of_rows(inputs, upstream, taps, pads)
        if form is Form.SEGMENTS and upstream.shape[1] is not None:
            segments = _segments(channels, upstream.shape[1], taps)
            if segments > 1:
                return _segmented_kernel_gradient(
                    inputs, upstream, taps, pads, segments
                )
        return _kernel_gradient_over_height(inputs, upstream, taps, pads)

    def _kernel_gradient_of_rows(self, inputs, upstream, taps, pads):
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


def _of_each_multiple(upstream, multiplier) -> list[tf.Tensor]:
    """[b, t', c*m] -> m times [b, t', c]."""
    if multiplier == 1:
        return [upstream]
    channels = upstream.shape[2] // multiplier
    return tf.unstack(
        tf.reshape(upstream, [-1, length(upstream), channels, multiplier]),
        axis=3,
    )


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
