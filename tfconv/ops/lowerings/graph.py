"""The lowering for eager mode and plain graphs: TensorFlow's native op.

Where it pays, the op gets a shape in which it is fast on CPU, and gradients of
our own; `selection` tells where.
"""

import dataclasses
import functools

import tensorflow as tf

from tfconv.ops import selection
from tfconv.ops.forms import core
from tfconv.ops.forms import native
from tfconv.ops.forms import phases
from tfconv.ops.forms import segments
from tfconv.ops.forms.steps import length
from tfconv.ops.geometry import Geometry
from tfconv.ops.lowerings import xla
from tfconv.ops.selection import Form
from tfconv.ops.selection import Workload
from tfconv.ops.tracing import has_accelerator
from tfconv.ops.tracing import in_inference


def depthwise_conv1d(
    inputs: tf.Tensor, kernel: tf.Tensor, geometry: Geometry
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], time as the width of an image."""
    if inputs.shape[0] == 0:
        # Of no examples the native op makes outputs of a wrong shape, and a
        # gradient of whatever was in the memory.
        return xla.depthwise_conv1d(inputs, kernel, geometry)
    if inputs.shape[1] is None:
        inputs = _at_least_one_window(inputs, geometry)
    work = Workload.of(
        inputs, kernel.shape, geometry.strides, geometry.dilation_rate
    )
    possible = Form.NATIVE, Form.PARTS
    if (
        has_accelerator()
        or selection.choose("graph", work, possible) is Form.NATIVE
    ):
        return _native_with_its_own_gradient(inputs, kernel, geometry)
    # One operation that a converter knows, and yet gradients that are fast.
    forward = None
    if in_inference():
        forward = functools.partial(
            _native_with_its_own_gradient, geometry=geometry
        )
    pads = geometry.pads(length(inputs))
    return core.convolve(_core(geometry, pads), inputs, kernel, pads, forward)


def _core(geometry: Geometry, pads) -> core.Core:
    dilation = geometry.dilation_rate
    if dilation == 1:
        parts = _Parts(geometry.strides)
        # Explicit padding has to be known when tracing.
        is_ready = all(isinstance(pad, int) for pad in pads)
    else:
        parts = phases.Dilated(_Parts(phases=dilation), dilation)
        is_ready = all(pad % dilation == 0 for pad in pads)
    return parts if is_ready else core.Padded(parts)


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, t, c] x [1, c, f] -> [b, t, f].

    A convolution is what a converter knows. Forward, it is as fast as the
    product of matrices, but not in its gradients.
    """
    if inputs.shape[0] == 0:
        return xla.pointwise_conv1d(inputs, kernel)
    if has_accelerator():
        return tf.nn.conv1d(inputs, kernel, stride=1, padding="VALID")
    if in_inference():
        return _convolution_with_gradients_of_products(inputs, kernel)
    _, channels, filters = kernel.shape
    outputs = tf.matmul(
        tf.reshape(inputs, [-1, channels]), tf.squeeze(kernel, axis=0)
    )
    return tf.reshape(outputs, [*_batch_and_steps(inputs), filters])


@tf.custom_gradient
def _convolution_with_gradients_of_products(inputs, kernel):
    outputs = tf.nn.conv1d(inputs, kernel, stride=1, padding="VALID")

    def gradient(upstream):
        _, channels, filters = kernel.shape
        upstream = tf.reshape(upstream, [-1, filters])
        of_inputs = tf.matmul(upstream, kernel[0], transpose_b=True)
        of_kernel = tf.matmul(
            tf.reshape(inputs, [-1, channels]), upstream, transpose_a=True
        )
        return tf.reshape(of_inputs, tf.shape(inputs)), of_kernel[tf.newaxis]

    return outputs, gradient


def _batch_and_steps(inputs):
    batch, steps = inputs.shape[:2]
    if steps is not None:
        return -1 if batch is None else batch, steps
    batch, steps, _ = tf.unstack(tf.shape(inputs))
    return batch, steps


def _at_least_one_window(inputs, geometry: Geometry) -> tf.Tensor:
    """The inputs; for no windows the native op makes a wrong shape, too."""
    is_valid = geometry.padding == "valid"
    check = tf.debugging.assert_greater_equal(
        tf.shape(inputs)[1],
        geometry.effective_kernel_size if is_valid else 1,
        "Computed output size would be zero or negative: the inputs have "
        "fewer time steps than one window spans, or none.",
    )
    with tf.control_dependencies([check]):
        return tf.identity(inputs)


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
    if in_inference() or not inputs.shape[1]:
        return tf.squeeze(outputs, axis=1)
    windows = geometry.output_steps(inputs.shape[1])
    return native.without_height(outputs, windows, kernel)


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The outputs and each gradient in the form that suits it.

    Attributes:
        stride: int; 1 if there are phases.
        phases: int, how many signals, each to be convolved with the kernel,
            lie side by side as channels of the inputs.
    """

    stride: int = 1
    phases: int = 1

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        if self.phases > 1:
            kernel = tf.tile(kernel, [1, self.phases, 1])
        taps, channels, multiplier = kernel.shape
        possible = [Form.NATIVE]
        count = 1
        if multiplier > 1:
            possible.append(Form.REPEATED)
        elif self.stride == 1 and inputs.shape[1] is not None:
            windows = inputs.shape[1] + sum(pads) - taps + 1
            count = segments.number(channels, windows, taps)
            if count > 1:
                possible.append(Form.SEGMENTS)
        work = Workload.of(inputs, kernel.shape, self.stride)
        form = selection.choose("graph y", work, possible)
        if form is Form.REPEATED:
            return _Parts(self.stride).convolve(
                native.repeat(inputs, multiplier),
                tf.reshape(kernel, [taps, channels * multiplier, 1]),
                pads,
            )
        if form is Form.SEGMENTS:
            return segments.convolve(inputs, kernel, pads, count)
        return native.convolve(inputs, kernel, pads, self.stride)

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        multiplier = kernel.shape[2]
        gradients = [
            self._input_gradient(*each, pads, steps)
            for each in zip(
                _of_each_multiple(upstream, multiplier),
                tf.split(kernel, multiplier, axis=2),
                strict=True,
            )
        ]
        return gradients[0] if multiplier == 1 else tf.add_n(gradients)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        multiplier = upstream.shape[2] // inputs.shape[2]
        gradients = [
            self._kernel_gradient(inputs, each, taps, pads)
            for each in _of_each_multiple(upstream, multiplier)
        ]
        return tf.concat(gradients, axis=2)

    def _input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        if self.stride == 1:
            flipped = tuple(kernel.shape[0] - 1 - pad for pad in pads)
            return self.convolve(upstream, kernel[::-1], flipped)
        return native.input_gradient(upstream, kernel, pads, self.stride, steps)

    def _kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        channels = inputs.shape[2]
        possible = [Form.NATIVE]
        count = 1
        if self.stride > 1:
            possible += [Form.WIDTH, Form.ROWS]
        else:
            possible.append(Form.HEIGHT)
            if self.phases > 1:
                possible.append(Form.WIDTH)
            if inputs.shape[1] is not None:
                count = segments.number(channels, upstream.shape[1], taps)
            if count > 1:
                possible.append(Form.SEGMENTS)
        work = Workload.of(inputs, (taps, 1, 1), self.stride, self.phases)
        form = selection.choose("graph dw", work, possible)
        operands = inputs, upstream, taps, pads
        if self.stride > 1 and form is not Form.NATIVE:
            return phases.kernel_gradient_of_rows(
                *operands, self.stride, is_wide=form is Form.WIDTH
            )
        if form is Form.WIDTH:
            return native.kernel_gradient_over_height(*operands, self.phases)
        if form is Form.SEGMENTS:
            gradient = segments.kernel_gradient(*operands, count)
        elif form is Form.HEIGHT:
            gradient = native.kernel_gradient_over_height(*operands)
        else:
            gradient = native.kernel_gradient(*operands, self.stride)
        return self._of_all_phases(gradient)

    def _of_all_phases(self, gradient) -> tf.Tensor:
        """[k, phases * c, 1] -> [k, c, 1], the sum."""
        if self.phases == 1:
            return gradient
        taps, channels, _ = gradient.shape
        gradient = tf.reshape(
            gradient, [taps, self.phases, channels // self.phases, 1]
        )
        return tf.reduce_sum(gradient, axis=1)


def _of_each_multiple(upstream, multiplier) -> list[tf.Tensor]:
    """[b, t', c*m] -> m times [b, t', c]."""
    if multiplier == 1:
        return [upstream]
    channels = upstream.shape[2] // multiplier
    return tf.unstack(
        tf.reshape(upstream, [-1, length(upstream), channels, multiplier]),
        axis=3,
    )
