"""Every geometry brought to a plain one: stride 1, no dilation, no multiplier.

The frames between two taps of a dilated kernel become channels, and so do the
phases of a stride; a multiplier becomes channels that are repeated. A lowering
brings a core that is fast for plain convolutions, and gets all of them, with
their gradients, which are plain convolutions again. The gradients do not have
custom gradients themselves: a SavedModel could not hold those. TensorFlow
differentiates the operations that the core is made of.
"""

from typing import Protocol

import tensorflow as tf

Pads = tuple[int, int]


class Core(Protocol):
    """What a lowering has to bring."""

    def convolve(self, inputs, kernel, pads: Pads, stride: int) -> tf.Tensor:
        """[b, t, c] x [k, c, 1] -> [b, t', c], of TensorFlow's operations."""

    def kernel_gradient(self, inputs, upstream, taps, pads: Pads) -> tf.Tensor:
        """[b, t, c] x [b, t', c] -> [k, c, 1], for stride 1.

        `dw[k, c] = sum_bi x[b, i + k - left, c] * dy[b, i, c]`
        """


def depthwise_conv1d(
    core: Core, inputs, kernel, pads: Pads, stride: int, dilation: int
) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m].

    Args:
        core: the lowering's core.
        inputs: floating tensor; b and t may be unknown.
        kernel: tensor of a known shape.
        pads: zeros to add before the first time step and after the last.
        stride: int.
        dilation: int; 1 if `stride` is not.
    """
    if dilation > 1:
        return _dilated(core, inputs, kernel, pads, dilation)
    taps, channels, multiplier = kernel.shape
    if multiplier > 1:
        inputs = core.repeat_channels(inputs, multiplier)
        kernel = tf.reshape(kernel, [taps, channels * multiplier, 1])
    if stride > 1:
        return _strided(core, inputs, kernel, pads, stride)
    return _plain(core, inputs, kernel, pads)


def _dilated(core, inputs, kernel, pads, dilation) -> tf.Tensor:
    taps, channels, multiplier = kernel.shape
    steps = length(inputs)
    left, right = pads
    rows = -(-(steps + left + right) // dilation)
    padded = tf.pad(
        inputs, [[0, 0], [left, rows * dilation - steps - left], [0, 0]]
    )
    outputs = depthwise_conv1d(
        core,
        tf.reshape(padded, [-1, rows, dilation * channels]),
        tf.tile(kernel, [1, dilation, 1]),
        (0, 0),
        stride=1,
        dilation=1,
    )
    rows_out = rows - taps + 1
    outputs = tf.reshape(
        outputs, [-1, rows_out * dilation, channels * multiplier]
    )
    return outputs[:, : steps + left + right - dilation * (taps - 1)]


def _plain(core, inputs, kernel, pads) -> tf.Tensor:
    taps = kernel.shape[0]
    left, right = pads

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradient(upstream):
            return (
                core.convolve(
                    upstream,
                    kernel[::-1],
                    (taps - 1 - left, taps - 1 - right),
                    1,
                ),
                core.kernel_gradient(inputs, upstream, taps, pads),
            )

        return core.convolve(inputs, kernel, pads, 1), gradient

    return convolve(inputs, kernel)


def _strided(core, inputs, kernel, pads, stride) -> tf.Tensor:
    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradient(upstream):
            return (
                _strided_input_gradient(
                    core, upstream, kernel, pads, stride, length(inputs)
                ),
                _strided_kernel_gradient(
                    core, inputs, upstream, kernel.shape[0], pads, stride
                ),
            )

        return core.convolve(inputs, kernel, pads, stride), gradient

    return convolve(inputs, kernel)


def _strided_input_gradient(core, upstream, kernel, pads, stride, steps):
    taps, channels, _ = kernel.shape
    rows = -(-taps // stride)
    phases = tf.pad(kernel, [[0, rows * stride - taps], [0, 0], [0, 0]])
    phases = tf.reshape(phases, [rows, stride * channels, 1])
    gradient = core.convolve(
        tf.tile(upstream, [1, 1, stride]),
        phases[::-1],
        (rows - 1, rows - 1),
        1,
    )
    reached = (length(upstream) + rows - 1) * stride
    gradient = tf.reshape(gradient, [-1, reached, channels])
    # Frames that no window reaches have no gradient.
    left, _ = pads
    missing = maximum(left + steps - reached, 0)
    gradient = tf.pad(gradient, [[0, 0], [0, missing], [0, 0]])
    return gradient[:, left : left + steps]


def _strided_kernel_gradient(core, inputs, upstream, taps, pads, stride):
    channels = inputs.shape[2]
    rows = -(-taps // stride)
    frames = length(upstream) + rows - 1
    left, _ = pads
    missing = maximum(frames * stride - left - length(inputs), 0)
    padded = tf.pad(inputs, [[0, 0], [left, missing], [0, 0]])
    phases = tf.reshape(
        padded[:, : frames * stride], [-1, frames, stride * channels]
    )
    gradient = core.kernel_gradient(
        phases, tf.tile(upstream, [1, 1, stride]), rows, (0, 0)
    )
    return tf.reshape(gradient, [rows * stride, channels, 1])[:taps]


def length(inputs: tf.Tensor):
    """The number of time steps: an int if it is known, else a tensor."""
    steps = inputs.shape[1]
    return tf.shape(inputs)[1] if steps is None else steps


def maximum(a, b):
    """The larger of two ints or integer scalar tensors."""
    both = isinstance(a, int) and isinstance(b, int)
    return max(a, b) if both else tf.maximum(a, b)
