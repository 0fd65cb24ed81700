"""The lowering for XLA on CPU: shifted taps, which XLA fuses into one loop.

XLA:CPU runs a grouped convolution tens of times slower than the memory allows;
a sum over the taps of `inputs` shifted and scaled is elementwise to it.
"""

import dataclasses
import itertools

import tensorflow as tf

from tfconv.ops import selection
from tfconv.ops.forms import blocks
from tfconv.ops.forms import core
from tfconv.ops.forms.phases import Rows
from tfconv.ops.forms.row_products import RowProducts
from tfconv.ops.forms.shifted_taps import sum_of_taps
from tfconv.ops.forms.steps import ceil_divide
from tfconv.ops.forms.steps import length
from tfconv.ops.forms.steps import pad
from tfconv.ops.forms.steps import window
from tfconv.ops.geometry import Geometry
from tfconv.ops.selection import Form
from tfconv.ops.selection import Workload
from tfconv.ops.tracing import is_computed

# XLA makes a product of matrices for each example, but of so few time steps it
# is faster to have one of all.
_MOST_STEPS_OF_ONE_PRODUCT = 128


def depthwise_conv1d(
    inputs: tf.Tensor, kernel: tf.Tensor, geometry: Geometry
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], without a convolution."""
    steps = length(inputs)
    if geometry.padding == "valid" and not isinstance(steps, int):
        inputs = _at_least_one_window(inputs, steps, geometry)
    work = Workload.of(
        inputs, kernel.shape, geometry.strides, geometry.dilation_rate
    )
    possible = [Form.TAPS]
    pads = geometry.pads(steps)
    is_padded = not all(isinstance(each, int) for each in pads)
    if kernel.shape[1] == work.dilation == 1 and not is_padded:
        possible.append(Form.PRODUCTS)
    if selection.choose("xla", work, possible) is Form.PRODUCTS:
        products = RowProducts(geometry.strides)
        return core.convolve(products, inputs, kernel, pads)
    # What computes the inputs writes them where the padding is.
    is_free = geometry.dilation_rate == 1 and is_computed(inputs)
    if is_free or is_padded:
        inputs, pads = pad(inputs, pads), (0, 0)
    taps_core = _Taps(geometry.strides, geometry.dilation_rate)
    return core.convolve(taps_core, inputs, kernel, pads)


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
    """Sums of taps, and the kernel's gradient in blocks.

    Attributes:
        stride: int.
        dilation: int.
    """

    stride: int
    dilation: int

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        taps, channels, multiplier = kernel.shape
        if multiplier > 1:
            inputs = tf.repeat(inputs, multiplier, axis=2)
        weights = tf.unstack(tf.reshape(kernel, [taps, channels * multiplier]))
        return self._convolve(inputs, weights, pads)

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        taps, channels, multiplier = kernel.shape
        kernel = tf.reshape(kernel, [taps, channels * multiplier])
        if self.stride == 1:
            # Reversed as a list: XLA would look each up in a reversed tensor.
            weights = tf.unstack(kernel)[::-1]
            reach = self._span(taps) - 1
            flipped = tuple(reach - each for each in pads)
            gradient = self._convolve(upstream, weights, flipped)
        else:
            gradient = self._of_phases(upstream, kernel, pads[0], steps)
        if multiplier == 1:
            return gradient
        gradient = tf.reshape(gradient, [-1, steps, channels, multiplier])
        return tf.reduce_sum(gradient, axis=3)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        channels = inputs.shape[2]
        multiplier = upstream.shape[2] // channels
        options = taps, pads[0], self.stride, self.dilation
        if multiplier == 1:
            return blocks.kernel_gradient(inputs, upstream, *options)
        upstream = tf.reshape(
            upstream, [-1, length(upstream), channels, multiplier]
        )
        apart = [
            blocks.kernel_gradient(inputs, each, *options)
            for each in tf.unstack(upstream, axis=3)
        ]
        return tf.concat(apart, axis=2)

    def _of_phases(self, upstream, kernel, left, steps) -> tf.Tensor:
        """[b, t', c] x [k, c] -> [b, steps, c], the gradient of a stride."""
        taps, channels = kernel.shape
        rows = Rows.of(taps, left, self.stride)
        windows = ceil_divide(steps, self.stride)
        # The rows of dy that the rows of dx come from.
        upstream = window(
            upstream, rows.left - rows.taps + 1, windows + rows.taps - 1
        )
        row_kernel = rows.of_kernel(kernel[..., tf.newaxis])
        # [b, rows, 1, c] x [rows, stride, c]
        gradient = sum_of_taps(
            tf.expand_dims(upstream, 2), tf.unstack(row_kernel)[::-1], windows
        )
        gradient = tf.reshape(gradient, [-1, windows * self.stride, channels])
        return window(gradient, 0, steps)

    def _span(self, taps: int) -> int:
        return self.dilation * (taps - 1) + 1

    def _convolve(self, inputs, weights: list, pads) -> tf.Tensor:
        steps, span = length(inputs), self._span(len(weights))
        left, right = pads
        windows = (steps + left + right - span) // self.stride + 1
        work = Workload.of(
            inputs, (len(weights), 1, 1), self.stride, self.dilation
        )
        possible = [Form.TAPS]
        if isinstance(steps, int) and steps >= span and (left or right):
            possible.append(Form.CUT)
        cuts = [0, windows]
        if selection.choose("xla y", work, possible) is Form.CUT:
            # Windows that reach out of the inputs, and those that do not,
            # apart: to pad all of the inputs for a few would be a copy.
            last = min(windows, (steps + left - span) // self.stride + 1)
            cuts[1:1] = [ceil_divide(left, self.stride), last]
        parts = [
            self._sum_of_taps(inputs, weights, begin, end, left)
            for begin, end in itertools.pairwise(cuts)
            if not isinstance(end, int) or begin < end
        ]
        return tf.concat(parts, axis=1) if len(parts) > 1 else parts[0]

    def _sum_of_taps(self, inputs, weights, begin, end, left) -> tf.Tensor:
        count = end - begin
        reached = (count - 1) * self.stride + self._span(len(weights))
        inputs = window(inputs, begin * self.stride - left, reached)
        return sum_of_taps(inputs, weights, count, self.stride, self.dilation)
