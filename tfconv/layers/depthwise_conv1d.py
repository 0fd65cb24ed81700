"""The DepthwiseConv1D layer."""

import keras
import tensorflow as tf

from tfconv import ops
from tfconv.layers.base import BaseDepthwiseConv1D


@keras.saving.register_keras_serializable(package="tfconv")
class DepthwiseConv1D(BaseDepthwiseConv1D):
    """1D depthwise convolution layer.

    Every input channel is convolved over time with `depth_multiplier` kernels
    of its own; no information is mixed between channels. A drop-in replacement
    of `keras.layers.DepthwiseConv1D`: the same arguments, weights and config,
    and `padding="causal"` on top.

    Args:
        kernel_size: int or tuple/list of 1 integer, the number of taps (k).
        strides: int or tuple/list of 1 integer, time steps from one window to
            the next. `strides > 1` is incompatible with `dilation_rate > 1`.
        padding: string, one of `"valid"`, `"same"` or `"causal"`
            (case-insensitive). `"valid"` means no padding. `"same"` pads both
            ends with zeros so that the output has `ceil(steps / strides)`
            steps. `"causal"` pads the start with
            `dilation_rate * (kernel_size - 1)` zeros, so that the output at a
            time step does not depend on any later input.
        depth_multiplier: int, the number of output channels (m) for each input
            channel.
        data_format: string, `"channels_last"` for inputs of shape
            `(batch, steps, channels)` or `"channels_first"` for
            `(batch, channels, steps)`. It defaults to the `image_data_format`
            of the Keras config, which is `"channels_last"` unless set.
        dilation_rate: int or tuple/list of 1 integer, time steps from one tap
            to the next.
        activation: Activation function. If `None`, none is applied.
        use_bias: bool, if `True`, bias will be added to the output.
        depthwise_initializer: Initializer for the convolution kernel. If
            `None`, the default initializer (`"glorot_uniform"`) is used.
        bias_initializer: Initializer for the bias vector. If `None`, the
            default initializer (`"zeros"`) is used.
        depthwise_regularizer: Optional regularizer for the convolution kernel.
        bias_regularizer: Optional regularizer for the bias vector.
        activity_regularizer: Optional regularizer function for the output.
        depthwise_constraint: Optional projection function to be applied to the
            kernel after being updated by an `Optimizer`.
        bias_constraint: Optional projection function to be applied to the
            bias after being updated by an `Optimizer`.
        **kwargs: `name`, `dtype` (a dtype policy), `trainable`, as for every
            Keras layer.

    Input shape:
        A 3D floating tensor, `(batch, steps, channels)` or, with
        `data_format="channels_first"`, `(batch, channels, steps)`.

    Output shape:
        A 3D tensor of the layer's compute dtype,
        `(batch, new_steps, channels * depth_multiplier)` or
        `(batch, channels * depth_multiplier, new_steps)`. Output channel
        `c * depth_multiplier + m` is made from input channel `c`.

    Weights:
        `kernel` of shape `(kernel_size, channels, depth_multiplier)`, and
        `bias` of shape `(channels * depth_multiplier,)`.

    Raises:
        ValueError: when an argument is out of its range, or when both
            `strides > 1` and `dilation_rate > 1`; when called, if the inputs
            are not of rank 3, if their channels differ from those that the
            layer was built for, or if they are shorter than one window of a
            `"valid"` convolution.

    Example:

    >>> x = np.random.rand(4, 10, 12)
    >>> y = tfconv.DepthwiseConv1D(
    ...     3, strides=3, padding="same", depth_multiplier=3, activation="relu"
    ... )(x)
    >>> print(y.shape)
    (4, 4, 36)
    """

    def __init__(
        self,
        kernel_size,
        strides=1,
        padding="valid",
        depth_multiplier=1,
        data_format=None,
        dilation_rate=1,
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        depthwise_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        depthwise_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )

    def build(self, input_shape):
        channels = self.begin_build(input_shape, "kernel")
        self.finish_build(channels)

    def output_channels(self, input_channels: int) -> int:
        return input_channels * self.depth_multiplier

    def convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        return ops.depthwise_conv1d(
            inputs,
            self.kernel,
            strides=self.strides[0],
            padding=self.padding,
            dilation_rate=self.dilation_rate[0],
        )
