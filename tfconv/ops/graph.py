"""The lowering for eager mode and plain graphs: TensorFlow's native op.

What regimes.py calls worth it is brought by reshapes to a form of it that is
fast on CPU (see reduction.py).
"""

import contextlib
import dataclasses
import functools
import math

import tensorflow as tf

from tfconv.ops import native
from tfconv.ops import reduction
from tfconv.ops import regimes
from tfconv.ops import segments
from tfconv.ops import toeplitz
from tfconv.ops import xla
from tfconv.ops.geometry import Geometry
from tfconv.ops.reduction import length
from tfconv.ops.regimes import Form
from tfconv.ops.regimes import Regime
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
    pads = geometry.pads(length(inputs))
    regime = Regime.of(inputs, kernel, geometry)
    if (
        has_accelerator()
        or regimes.choose(regimes.OPERATION, regime) is Form.NATIVE
    ):
        return _native_with_its_own_gradient(inputs, kernel, geometry)
    # One operation that a converter knows, and yet gradients that are fast.
    forward = None
    if in_inference():
        forward = functools.partial(
            _native_with_its_own_gradient, geometry=geometry
        )
    core = _core(geometry, regime, length(inputs), pads)
    return reduction.convolve(core, inputs, kernel, pads, forward)


def _core(geometry: Geometry, regime: Regime, steps, pads) -> reduction.Core:
    phases = geometry.dilation_rate
    if phases == 1:
        core = _Native(geometry.strides)
        # Explicit padding has to be known when tracing.
        is_padded = all(isinstance(pad, int) for pad in pads)
        return core if is_padded else reduction.Padded(core)
    if (
        _are_multiples_of_half(phases, steps, *pads)
        and regimes.choose(regimes.PHASES, regime) is Form.SPREAD
    ):
        phases //= 2
        core = reduction.Dilated(_Native(phases=phases), phases)
        return reduction.Spread(core, by=2)
    core = reduction.Dilated(_Native(phases=phases), phases)
    if all(pad % phases == 0 for pad in pads):
        return core
    return reduction.Padded(core)


def _are_multiples_of_half(phases: int, *steps) -> bool:
    """Whether all are known multiples of `phases / 2`, but not of `phases`."""
    if not all(isinstance(each, int) for each in steps):
        return False
    return math.gcd(*steps, phases) * 2 == phases


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, t, c] x [1, c, f] -> [b, t, f].

    A convolution is what a converter knows. Forward, it is as fast as the
    product of matrices, but not in its gradients (c=f=64, y + dx + dw, 1.6 ->
    1.1 ms).
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
class _Native:
    """The core of reduction.py.

    Attributes:
        stride: int; 1 if there are phases.
        phases: int, how many signals, each to be convolved with the kernel,
            lie side by side as channels of the inputs.
    """

    stride: int = 1
    phases: int = 1

    @property
    def _products(self) -> toeplitz.Products:
        return toeplitz.Products(self.stride)

    def _regime(self, shape, *tensors) -> Regime:
        """Of `(k, c, m)`; of no elements where time steps are unknown."""
        known = all(each.shape[1] is not None for each in tensors)
        elements = regimes.ANY if known else 0
        return Regime(*shape, self.stride, elements=elements)

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        if self.phases > 1:
            kernel = tf.tile(kernel, [1, self.phases, 1])
        taps, channels, multiplier = kernel.shape
        regime = self._regime(kernel.shape, inputs)
        form = regimes.choose(regimes.OUTPUTS, regime)
        if form is Form.REPEATED:
            return _Native(self.stride).convolve(
                _repeat(inputs, multiplier),
                tf.reshape(kernel, [taps, channels * multiplier, 1]),
                pads,
            )
        if form is Form.TOEPLITZ:
            return self._products.convolve(inputs, kernel, pads)
        if inputs.shape[1] is not None:
            windows = inputs.shape[1] + sum(pads) - taps + 1
            count = segments.number(channels, windows, taps)
            if form is Form.SEGMENTS and count > 1:
                return segments.convolve(inputs, kernel, pads, count)
        return native.convolve(inputs, kernel, pads, self.stride)

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        multiplier = kernel.shape[2]
        regime = self._regime(kernel.shape, upstream)
        form = regimes.choose(regimes.INPUT_GRADIENT, regime)
        if form is Form.TOEPLITZ and self.phases == 1:
            return self._products.input_gradient(upstream, kernel, pads, steps)
        upstreams = _of_each_multiple(upstream, multiplier)
        kernels = tf.split(kernel, multiplier, axis=2)
        gradients = [
            self._input_gradient(*each, pads, steps)
            for each in zip(upstreams, kernels, strict=True)
        ]
        return gradients[0] if multiplier == 1 else tf.add_n(gradients)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        channels = inputs.shape[2]
        multiplier = upstream.shape[2] // channels
        form = Form.APART
        if multiplier > 1:
            form = regimes.choose(
                regimes.MULTIPLIED_KERNEL_GRADIENT,
                self._regime((taps, channels, multiplier), inputs, upstream),
            )
        if form is Form.TOEPLITZ:
            return self._products.kernel_gradient(inputs, upstream, taps, pads)
        if form is Form.NATIVE:
            return self._of_all_phases(
                native.kernel_gradient(
                    inputs, upstream, taps, pads, self.stride
                )
            )
        return tf.concat(
            [
                self._kernel_gradient(inputs, each, taps, pads)
                for each in _of_each_multiple(upstream, multiplier)
            ],
            axis=2,
        )

    def _of_all_phases(self, gradient) -> tf.Tensor:
        """[k, phases * c, m] -> [k, c, m], the sum."""
        if self.phases == 1:
            return gradient
        taps, channels, multiplier = gradient.shape
        gradient = tf.reshape(
            gradient, [taps, self.phases, channels // self.phases, multiplier]
        )
        return tf.reduce_sum(gradient, axis=1)

    def _input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        if self.stride == 1:
            flipped = tuple(kernel.shape[0] - 1 - pad for pad in pads)
            return self.convolve(upstream, kernel[::-1], flipped)
        return native.input_gradient(upstream, kernel, pads, self.stride, steps)

    def _kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        channels = inputs.shape[2]
        regime = self._regime(
            (taps, channels // self.phases, 1), inputs, upstream
        )
        regime = dataclasses.replace(regime, dilation=self.phases)
        form = regimes.choose(regimes.KERNEL_GRADIENT, regime)
        if self.phases > 1 and form is not Form.WIDTH:
            plain = _Native()
            return self._of_all_phases(
                plain._kernel_gradient(inputs, upstream, taps, pads)
            )
        if form is Form.NATIVE:
            return native.kernel_gradient(
                inputs, upstream, taps, pads, self.stride
            )
        if form is Form.TOEPLITZ:
            return self._products.kernel_gradient(inputs, upstream, taps, pads)
        if self.stride > 1:
            wide = form is Form.WIDTH
            return self._kernel_gradient_of_rows(
                inputs, upstream, taps, pads, wide
            )
        if form is Form.WIDTH:
            return native.kernel_gradient_over_height(
                inputs, upstream, taps, pads, self.phases
            )
        if form is Form.SEGMENTS and regime.elements:
            count = segments.number(channels, upstream.shape[1], taps)
            if count > 1:
                return segments.kernel_gradient(
                    inputs, upstream, taps, pads, count
                )
        return native.kernel_gradient_over_height(inputs, upstream, taps, pads)

    def _kernel_gradient_of_rows(self, inputs, upstream, taps, pads, wide):
        rows = reduction.Rows.of(taps, pads[0], self.stride)
        inputs = reduction.rows_of(inputs, self.stride)
        needed = length(upstream) + rows.taps - 1
        pads = (rows.left, needed - rows.left - length(inputs))
        if wide or not isinstance(pads[1], int) or pads[1] < 0:
            inputs = reduction.window(inputs, -rows.left, needed)
            pads = (0, 0)
        if wide:
            gradient = native.kernel_gradient_of_rows(
                inputs, upstream, rows.taps, self.stride
            )
        else:
            upstream = tf.tile(upstream, [1, 1, self.stride])
            gradient = _Native().kernel_gradient(
                inputs, upstream, rows.taps, pads
            )
        return rows.to_kernel(gradient)


def _repeat(inputs, multiplier) -> tf.Tensor:
    """[b, t, c] -> [b, t, c*m], each channel m times.

    As the parts of complex numbers, since tf.repeat is slow (c=64, m=2: 2.1 ->
    0.6 ms).
    """
    dtype = inputs.dtype
    if multiplier == 2:
        repeated = tf.bitcast(tf.complex(inputs, inputs), dtype)
    elif multiplier == 4 and dtype == tf.float32:
        pairs = tf.bitcast(tf.complex(inputs, inputs), tf.float64)
        repeated = tf.bitcast(tf.complex(pairs, pairs), dtype)
    else:
        return tf.repeat(inputs, multiplier, axis=2)
    channels = inputs.shape[2] * multiplier
    return tf.reshape(repeated, [-1, length(inputs), channels])


def _bitcast_gradient(op, upstream) -> tf.Tensor:
    """Of numbers regarded as the parts of complex ones, and back.

    TensorFlow has none. Backpropagation does not need it, since reduction.py
    knows the gradients of what `_repeat` is for; forward mode does.
    """
    return tf.bitcast(upstream, op.inputs[0].dtype)


with contextlib.suppress(KeyError):  # Somebody else has registered one.
    tf.RegisterGradient("Bitcast")(_bitcast_gradient)


def _of_each_multiple(upstream, multiplier) -> list[tf.Tensor]:
    """[b, t', c*m] -> m times [b, t', c]."""
    if multiplier == 1:
        return [upstream]
    channels = upstream.shape[2] // multiplier
    return tf.unstack(
        tf.reshape(upstream, [-1, length(upstream), channels, multiplier]),
        axis=3,
    )
