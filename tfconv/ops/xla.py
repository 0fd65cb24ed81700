"""The lowering for XLA on CPU: shifted taps, which XLA fuses into one loop.

XLA:CPU runs a grouped convolution tens of times slower than the memory allows;
a sum over the taps of `inputs` shifted and scaled is elementwise to it. Long
kernels of few channels are products of matrices instead.
"""

import dataclasses

import tensorflow as tf

from tfconv.ops import blocks
from tfconv.ops import reduction
from tfconv.ops import regimes
from tfconv.ops import toeplitz
from tfconv.ops.geometry import Geometry
from tfconv.ops.reduction import ceil_divide
from tfconv.ops.reduction import length
from tfconv.ops.reduction import window
from tfconv.ops.regimes import ANY
from tfconv.ops.regimes import Form
from tfconv.ops.regimes import Regime
from tfconv.ops.shifts import Weights
from tfconv.ops.shifts import sum_of_taps
from tfconv.ops.tracing import is_computed

# Padding is a copy (y, k=9: c=64 0.87 -> 0.47 ms, c=256 1.2 -> 0.7). To spare
# it takes another loop, and the time to compile it; worth it when few windows
# reach out of the inputs: from so many times their span on. y + dx + dw of 11
# to 16 spans: c=64 k=31 2.2 -> 2.0 ms, k=9 even, k=63 7.9 -> 9.3. Within a
# network what comes before the layer writes where padding is (ds_cnn, t=800
# k=31, 26 spans: a step even or 71 -> 66, the first one 3.6 -> 2.4 s).
_MIN_SPANS_OF_CUTS = 30
# Of many channels, of which a copy leaves the caches (y + dx + dw, k=31: c=128
# 5.5 -> 4.8 ms, c=256 8.7 -> 7.1; c=96 3.5 -> 2.9), or if the spans of few taps
# are long (c=64 k=31 d=4 9.0 -> 8.2; c=40 k=9 d=8 3.3 -> 2.7). y + dx, of an
# Intel Xeon, 4 to 8 spans: c=256: k=9 d=4 5.2 -> 3.3, k=31 d=2 6.5 -> 5.9;
# c=128 k=40 5.6 -> 4.0, but k=48 4.4 -> 5.6, k=63 d=2 14 -> 22.
_MIN_SPANS_OF_COSTLY_CUTS = 4
_MOST_TAPS_OF_COSTLY_CUTS = 40
_MIN_CHANNELS_OF_COSTLY_CUTS = 96
# The frames between two taps as channels, if that takes no padding: for so many
# channels, taps, and channels then.
_ROWS = (
    # y, d=4: c=8 k=9 0.77 -> 0.35 ms, k=15 and k=21 even; c=4 k=9 0.53 -> 0.35,
    # k=3 0.28 -> 0.64; c=12 k=9 even; c=16 0.25 -> 0.34; d=2: c=8 k=9 0.80 ->
    # 0.37, c=4 0.49 -> 0.75.
    (range(4, 11), range(5, 16), range(16, ANY)),
    # Where they do not fill vectors themselves (y, of an Intel Xeon): c=3: d=8
    # k=15 1.17 -> 0.80, k=31 2.4 -> 1.2, d=2 k=31 2.3 -> 1.5; c=10 d=4 k=31
    # 2.8 -> 1.8; c=2: d=4 k=15 1.14 -> 0.84, but d=2 0.92 -> 1.14; c=8 d=4
    # k=31 1.34 -> 1.41.
    ((2, 3, 4, 5, 6, 7, 9, 10), range(15, ANY), range(6, ANY)),
)
# dx of a stride, its phases one by one: c=3 k=31 s=4 3.3 -> 0.9 ms, c=8 k=31
# s=2 0.9 -> 0.6, c=16 k=15 s=2 0.53 -> 0.41; from 40 channels on no faster.
_CHANNELS_OF_PHASES = (2, 31)
# And of one channel, if so many frames of dy meet in one of dx: s=4 k=9 0.43 ->
# 0.32 ms, but k=5 0.37 -> 0.42, k=13 0.54 -> 0.67; s=3 and s=5 even.
_ROWS_OF_ONE_CHANNEL = 3
# Of one channel and a stride up to this, zeros between the frames of dy: s=2
# k=31 4.9 -> 1.3 ms, s=3 even; s=4 k=31 2.2 -> 1.9, but of an Intel Xeon 1.2 ->
# 1.7, k=63 1.4 -> 2.3; s=2 k=9 0.60 -> 0.84.
_MOST_STRIDE_OF_ZEROS = 3
_MIN_TAPS_OF_ZEROS = 5  # for each frame of the stride
# From so many weights on, which leave the fastest cache, the outputs of a
# multiplier one by one (an Intel Xeon; y: c=256 k=31: m=2 6.8 -> 5.1 ms, m=4 15
# -> 11; c=64 m=4: k=63 45 -> 21, k=31 9.4 -> 10.2), and so their gradients (dx,
# m=4: c=256 k=31 27 -> 18, c=64 k=63 42 -> 25, k=31 even; but m=2 c=256: k=63
# even, k=31 4.1 -> 7.0).
_MIN_WEIGHTS_APART = 12_000
_MIN_CHANNELS_APART = 64
_MOST_MULTIPLES_APART = 4  # Each is a loop to compile.
# Products of so few time steps are faster all at once. Steps of training: t=98
# ds_cnn 9.8 -> 8.9 ms, tc_resnet 5.7 -> 5.2, wavenet 20.2 -> 18.9; but ds_cnn
# t=200 even, t=400 31 -> 34, t=800 32 -> 36.
_MOST_STEPS_OF_ONE_PRODUCT = 128


def depthwise_conv1d(
    inputs: tf.Tensor, kernel: tf.Tensor, geometry: Geometry
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], without a convolution."""
    steps = length(inputs)
    if geometry.padding == "valid" and not isinstance(steps, int):
        inputs = _at_least_one_window(inputs, steps, geometry)
    regime = Regime.of(inputs, kernel, geometry)
    if regimes.choose(regimes.XLA, regime) is Form.TOEPLITZ:
        return _by_products(inputs, kernel, geometry)
    pads = geometry.pads(steps)
    # What comes before writes them where the padding is: a copy of its own for
    # each of y and dw is spared, and so are the loops of what is cut. Training
    # steps a second, and the first one, t=800: ds_cnn k=9 35 -> 35.5, 2.1 ->
    # 1.45 s, k=31 25 -> 26; tc_resnet k=9 45 -> 49, 3.7 -> 3.3 s, k=31 43 ->
    # 44.5; t=98 even. But dilated, wavenet: t=800 even, t=98 45 -> 43.5.
    ahead = geometry.dilation_rate == 1 and is_computed(inputs)
    if ahead or not all(isinstance(pad, int) for pad in pads):
        inputs = tf.pad(inputs, [[0, 0], pads, [0, 0]])
        pads = (0, 0)
    core = _Taps(geometry.strides, geometry.dilation_rate, ahead)
    return reduction.convolve(core, inputs, kernel, pads)


def _by_products(inputs, kernel, geometry: Geometry) -> tf.Tensor:
    """With Toeplitz matrices; the frames between two taps are examples."""
    steps = length(inputs)
    pads = geometry.pads(steps)
    windows = geometry.output_steps(steps)
    dilation = geometry.dilation_rate
    if dilation == 1:
        products = toeplitz.Products(geometry.strides)
        return reduction.convolve(products, inputs, kernel, pads)
    rows = ceil_divide(windows, dilation)
    inputs = window(inputs, -pads[0], (rows + kernel.shape[0] - 1) * dilation)
    inputs = reduction.rows_of(inputs, dilation)
    inputs = reduction.rows_apart(inputs, dilation)
    outputs = reduction.convolve(toeplitz.Products(), inputs, kernel, (0, 0))
    outputs = reduction.rows_together(outputs, dilation)
    return window(outputs, 0, windows)


def _at_least_one_window(inputs, steps, geometry: Geometry) -> tf.Tensor:
    """The inputs; XLA has no assertions, but refuses a negative dimension."""
    surplus = steps - geometry.effective_kernel_size
    return inputs + tf.reduce_sum(tf.zeros([surplus], inputs.dtype))


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, t, c] x [1, c, f] -> [b, t, f], as a matrix product.

    Or rather, for the sake of the kernel's gradient, as one for each example.
    """
    steps = inputs.shape[1]
    if not steps or steps > _MOST_STEPS_OF_ONE_PRODUCT:
        return tf.matmul(inputs, kernel[0])
    _, channels, filters = kernel.shape
    rows = tf.reshape(inputs, [-1, channels])
    return tf.reshape(tf.matmul(rows, kernel[0]), [-1, steps, filters])


@dataclasses.dataclass(frozen=True)
class _Taps:
    """Sums of taps.

    Attributes:
        stride: int.
        dilation: int.
        pads_ahead: whether what computes the inputs pads them too, for free.
    """

    stride: int
    dilation: int
    pads_ahead: bool = False

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        _, channels, multiplier = kernel.shape
        if _is_apart(kernel):
            apart = [
                self._convolve(inputs, Weights(each), pads, multiplier=1)
                for each in tf.unstack(kernel, axis=2)
            ]
            outputs = tf.stack(apart, axis=3)
            return tf.reshape(
                outputs, [-1, length(outputs), channels * multiplier]
            )
        return self._convolve(
            _repeat(inputs, multiplier),
            Weights.of(kernel),
            pads,
            multiplier,
        )

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        taps, channels, multiplier = kernel.shape
        if channels == self.stride == 1 < multiplier:
            return self._input_gradient_of_one(upstream, kernel, pads, steps)
        regime = Regime(taps, channels, multiplier, self.stride, self.dilation)
        form = regimes.choose(regimes.XLA_INPUT_GRADIENT, regime)
        if form is Form.TOEPLITZ and upstream.shape[1] is not None:
            products = toeplitz.Products(self.stride)
            return products.input_gradient(upstream, kernel, pads, steps)
        if self.stride == 1 and multiplier > 2 and _is_apart(kernel):
            return self._input_gradient_apart(upstream, kernel, pads, steps)
        gradient = self._input_gradient(
            upstream,
            tf.reshape(kernel, [taps, channels * multiplier, 1]),
            pads,
            steps,
            multiplier,
        )
        if multiplier == 1:
            return gradient
        gradient = tf.reshape(gradient, [-1, steps, channels, multiplier])
        return tf.reduce_sum(gradient, axis=3)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        channels = inputs.shape[2]
        multiplier = upstream.shape[2] // channels
        left, _ = pads
        options = taps, left, self.stride, self.dilation, self.pads_ahead
        if multiplier == 1:
            return blocks.kernel_gradient(inputs, upstream, *options)
        # Repeating the inputs is slower (c=64 m=2 k=9 5.5 -> 3.0 ms, c=1 2.0 ->
        # 0.5), or even (c=8 m=4 k=9).
        upstream = tf.reshape(
            upstream, [-1, length(upstream), channels, multiplier]
        )
        apart = [
            blocks.kernel_gradient(inputs, each, *options)
            for each in tf.unstack(upstream, axis=3)
        ]
        return tf.concat(apart, axis=2)

    def _input_gradient_of_one(self, upstream, kernel, pads, steps):
        """[b, t', m] x [k, 1, m] -> [b, t, 1], of one signal of m * t' frames.

        Summing the multiplier after the taps is slow (k=9: m=2 2.7 -> 0.5 ms,
        d=2 2.2 -> 1.2; m=4 d=4 2.9 -> 2.0; k=31: m=2 9.0 -> 1.3, m=4 4.7 ->
        4.1, but d=4 2.9 -> 4.0).
        """
        taps, _, multiplier = kernel.shape
        reach = self._span(taps) - 1
        if self.dilation == 1:
            # The signal is convolved with all the weights in a row.
            flat = tf.reshape(upstream, [-1, length(upstream) * multiplier, 1])
            kernel = tf.reshape(
                tf.transpose(kernel[::-1], [0, 2, 1]), [taps * multiplier, 1, 1]
            )
            left, right = ((reach - pad) * multiplier for pad in pads)
            return _Taps(multiplier, 1).convolve(flat, kernel, (left, right))
        upstream = window(upstream, pads[0] - reach, steps + reach)
        flat = tf.reshape(upstream, [-1, (steps + reach) * multiplier, 1])
        each = (steps - 1 + reach) * multiplier + 1
        gradients = [
            sum_of_taps(
                window(flat, output, each),
                Weights(kernel[:, :, output]).backwards(),
                steps,
                stride=multiplier,
                dilation=self.dilation * multiplier,
            )
            for output in range(multiplier)
        ]
        return reduction.tree_sum(gradients)

    def _input_gradient_apart(self, upstream, kernel, pads, steps) -> tf.Tensor:
        """As one sum of [m, b, t', c] x [k, m, 1, 1, c], then over m."""
        taps, channels, multiplier = kernel.shape
        reach = self._span(taps) - 1
        upstream = tf.reshape(
            upstream, [-1, length(upstream), channels, multiplier]
        )
        apart = tf.stack(
            [
                window(each, pads[0] - reach, steps + reach)
                for each in tf.unstack(upstream, axis=3)
            ]
        )
        kernel = tf.stack(tf.unstack(kernel, axis=2), axis=1)
        weights = Weights(kernel[:, :, tf.newaxis, tf.newaxis]).backwards()
        gradients = sum_of_taps(
            apart, weights, steps, dilation=self.dilation, axis=2
        )
        return tf.reduce_sum(gradients, axis=0)

    def _input_gradient(
        self, upstream, kernel, pads, steps, multiplier
    ) -> tf.Tensor:
        taps, channels, _ = kernel.shape
        left, right = pads
        if self.stride == 1:
            reach = self._span(taps) - 1
            flipped = (reach - left, reach - right)
            weights = Weights.of(kernel).backwards(multiplier)
            return self._convolve(upstream, weights, flipped, multiplier)
        enough = taps >= _MIN_TAPS_OF_ZEROS * self.stride
        if channels == 1 and enough and self.stride <= _MOST_STRIDE_OF_ZEROS:
            upstream = _with_zeros_between(upstream, self.stride)
            start, reached = left - taps + 1, steps + taps - 1
            upstream = window(upstream, start, reached)
            weights = Weights.of(kernel).backwards(multiplier)
            return sum_of_taps(upstream, weights, steps)
        rows = reduction.Rows.of(taps, left, self.stride)
        upstream = rows.of_upstream(upstream, steps)
        row_kernel = rows.of_kernel(kernel)
        windows = length(upstream) - rows.taps + 1
        fewest, most = _CHANNELS_OF_PHASES
        of_one = channels == 1 and rows.taps == _ROWS_OF_ONE_CHANNEL
        if of_one or fewest <= channels <= most:
            phases = [
                sum_of_taps(
                    upstream, Weights(each).backwards(multiplier), windows
                )
                for each in tf.unstack(row_kernel, axis=1)
            ]
            gradient = tf.stack(phases, axis=2)
        else:
            # [b, rows, 1, c] x [rows, stride, c]
            upstream = tf.expand_dims(upstream, 2)
            weights = Weights(row_kernel).backwards(multiplier)
            gradient = sum_of_taps(upstream, weights, windows)
        gradient = tf.reshape(gradient, [-1, windows * self.stride, channels])
        return window(gradient, 0, steps)

    def _convolves_rows(self, shape, taps: int, pads) -> bool:
        """Whether the frames between two taps are to be channels."""
        _, steps, channels = shape
        if steps is None or self.dilation == 1:
            return False
        if steps < _MIN_SPANS_OF_CUTS * self._span(taps):
            return False
        if any(each % self.dilation for each in (steps, *pads)):
            return False
        width = channels * self.dilation
        return any(
            channels in of_channels and taps in of_taps and width in of_widths
            for of_channels, of_taps, of_widths in _ROWS
        )

    def _span(self, taps: int) -> int:
        return self.dilation * (taps - 1) + 1

    def _convolve(self, inputs, weights, pads, multiplier) -> tf.Tensor:
        """Windows that reach out of the inputs, and those that do not, apart.

        Padding all of the inputs for the sake of the former would be a copy.
        """
        steps = length(inputs)
        left, right = pads
        if self._convolves_rows(inputs.shape, weights.taps, pads):
            outputs = _Taps(stride=1, dilation=1)._convolve(
                reduction.rows_of(inputs, self.dilation),
                weights.of_rows(self.dilation),
                (left // self.dilation, right // self.dilation),
                multiplier,
            )
            return tf.reshape(
                outputs,
                [-1, length(outputs) * self.dilation, inputs.shape[2]],
            )
        span = self._span(weights.taps)
        windows = (steps + left + right - span) // self.stride + 1
        costly = weights.taps <= _MOST_TAPS_OF_COSTLY_CUTS and (
            self.dilation > 1 or inputs.shape[2] >= _MIN_CHANNELS_OF_COSTLY_CUTS
        )
        spans = _MIN_SPANS_OF_COSTLY_CUTS if costly else _MIN_SPANS_OF_CUTS
        if not isinstance(steps, int) or steps < spans * span:
            return self._sum_of_taps(inputs, weights, 0, windows, left)
        first = ceil_divide(left, self.stride)
        last = min(windows, (steps + left - span) // self.stride + 1)
        cuts = [(0, first), (first, last), (last, windows)]
        cuts = [(begin, end) for begin, end in cuts if begin < end]
        edge = max(first, windows - last)
        if multiplier > 1 or len(cuts) < 3:
            # With a multiplier, XLA makes one loop of them and what it sums.
            parts = [
                self._sum_of_taps(inputs, weights, begin, end, left)
                for begin, end in cuts
            ]
            return tf.concat(parts, axis=1)
        # Both edges together, as examples, are one loop to compile.
        reached = (edge - 1) * self.stride + span
        ends = [
            window(inputs, start * self.stride - left, reached)
            for start in (0, windows - edge)
        ]
        ends = self._sum_of_taps(tf.concat(ends, axis=0), weights, 0, edge, 0)
        before, after = tf.split(ends, 2)
        middle = self._sum_of_taps(inputs, weights, first, last, left)
        parts = [before[:, :first], middle, after[:, edge - windows + last :]]
        return tf.concat(parts, axis=1)

    def _sum_of_taps(self, inputs, weights, begin, end, left) -> tf.Tensor:
        count = end - begin
        reached = (count - 1) * self.stride + self._span(weights.taps)
        inputs = window(inputs, begin * self.stride - left, reached)
        return sum_of_taps(inputs, weights, count, self.stride, self.dilation)


def _with_zeros_between(inputs, stride: int) -> tf.Tensor:
    """[b, t, c] -> [b, stride * t, c]."""
    zeros = [tf.zeros_like(inputs)] * (stride - 1)
    return tf.reshape(
        tf.stack([inputs, *zeros], axis=2),
        [-1, length(inputs) * stride, inputs.shape[2]],
    )


def _is_apart(kernel) -> bool:
    """Whether to deal with the outputs of a multiplier one by one."""
    taps, channels, multiplier = kernel.shape
    return (
        1 < multiplier <= _MOST_MULTIPLES_APART
        and channels >= _MIN_CHANNELS_APART
        and taps * channels * multiplier >= _MIN_WEIGHTS_APART
    )


def _repeat(inputs, multiplier) -> tf.Tensor:
    """[b, t, c] -> [b, t, c*m], each channel m times."""
    return inputs if multiplier == 1 else tf.repeat(inputs, multiplier, axis=2)
