"""The protocol of a form, and one convolution made of it.

The gradients do not have custom gradients themselves: a SavedModel could not
hold those. TensorFlow differentiates the operations that they are made of.
"""

import dataclasses
from typing import Protocol

import tensorflow as tf

from tfconv.ops import selection
from tfconv.ops.forms.steps import Pads
from tfconv.ops.forms.steps import cut
from tfconv.ops.forms.steps import length
from tfconv.ops.forms.steps import pad


class Core(Protocol):
    """One geometry, in a form of TensorFlow's operations that is fast.

    Below, `left` is the first of `pads`, zeros to add before the first time
    step and after the last.
    """

    def convolve(self, inputs, kernel, pads: Pads) -> tf.Tensor:
        """[b, t, c] x [k, c, m] -> [b, t', c*m].

        `y[b, i, c*m + j] = sum_k x[b, i*s + k*d - left, c] * w[k, c, j]`
        """

    def input_gradient(self, upstream, kernel, pads: Pads, steps) -> tf.Tensor:
        """[b, t', c*m] x [k, c, m] -> [b, steps, c].

        `dx[b, i*s + k*d - left, c] += sum_j dy[b, i, c*m + j] * w[k, c, j]`
        """

    def kernel_gradient(
        self, inputs, upstream, taps: int, pads: Pads
    ) -> tf.Tensor:
        """[b, t, c] x [b, t', c*m] -> [k, c, m].

        `dw[k, c, j] = sum_bi x[b, i*s + k*d - left, c] * dy[b, i, c*m + j]`
        """


def convolve(core: Core, inputs, kernel, pads: Pads, forward=None) -> tf.Tensor:
    """[b, t, c] x [k, c, m] -> [b, t', c*m], with the core's gradients.

    Args:
        core: how it is computed.
        inputs: floating tensor; b and t may be unknown.
        kernel: tensor of a known shape.
        pads: zeros to add before the first time step and after the last.
        forward: function from inputs and kernel to the same outputs, which is
            called in the place of the core's.
    """

    @tf.custom_gradient
    def with_gradient(inputs, kernel):
        if forward is None:
            outputs = core.convolve(inputs, kernel, pads)
        else:
            outputs = forward(inputs, kernel)

        def gradient(upstream):
            # A tape takes gradients of whatever shape they were traced with.
            upstream.set_shape(outputs.shape)
            with selection.computing("dx"):
                of_inputs = core.input_gradient(
                    upstream, kernel, pads, length(inputs)
                )
            with selection.computing("dw"):
                of_kernel = core.kernel_gradient(
                    inputs, upstream, kernel.shape[0], pads
                )
            return of_inputs, of_kernel

        return outputs, gradient

    return with_gradient(inputs, kernel)


@dataclasses.dataclass(frozen=True)
class Padded:
    """A core on inputs that are padded ahead: its own pads are zero.

    Attributes:
        core: the core for what is padded.
    """

    core: Core

    def convolve(self, inputs, kernel, pads) -> tf.Tensor:
        return self.core.convolve(pad(inputs, pads), kernel, (0, 0))

    def input_gradient(self, upstream, kernel, pads, steps) -> tf.Tensor:
        left, right = pads
        gradient = self.core.input_gradient(
            upstream, kernel, (0, 0), left + steps + right
        )
        return cut(gradient, left, steps)

    def kernel_gradient(self, inputs, upstream, taps, pads) -> tf.Tensor:
        return self.core.kernel_gradient(
            pad(inputs, pads), upstream, taps, (0, 0)
        )
