"""The SeparableConv1D layer."""

import keras
import tensorflow as tf

from tfconv import ops
from tfconv.layers.base import BaseDepthwiseConv1D
from tfconv.layers.base import initializer
from tfconv.layers.base import strictly_positive


@keras.saving.register_keras_serializable(package="tfconv")
class SeparableConv1D(BaseDepthwiseConv1D):
    """1D separable convolution layer.

    A depthwise convolution over time, which acts on every channel separately,
    then a pointwise convolution, which mixes the channels of every time step,
    then the bias and the activation. A drop-in replacement of
    `keras.layers.SeparableConv1D`: the same arguments, weights and config, and
    `padding="causal"` on top.

    Args:
        filters: int, the number of output channels (of filters in the
            pointwise convolution).
        kernel_size: int or tuple/list of 1 integer, the number of taps of the
            depthwise convolution.
        strides: int or tuple/list of 1 integer, time steps from one window of
            the depthwise convolution to the next. `strides > 1` is
            incompatible with `dilation_rate > 1`.
        padding: string, one of `"valid"`, `"same"` or `"causal"`
            (case-insensitive). `"valid"` means no padding. `"same"` pads both
            ends with zeros so that the output has `ceil(steps / strides)`
            steps. `"causal"` pads the start with
            `dilation_rate * (kernel_size - 1)` zeros, so that the output at a
            time step does not depend on any later input.
        data_format: string, `"channels_last"` for inputs of shape
            `(batch, steps, channels)` or `"channels_first"` for
            `(batch, channels, steps)`. It defaults to the `image_data_format`
            of the Keras config, which is `"channels_last"` unless set.
        dilation_rate: int or tuple/list of 1 integer, time steps from one tap
            to the next.
        depth_multiplier: int, the number of depthwise outputs (m) for each
            input channel.
        activation: Activation function. If `None`, none is applied.
        use_bias: bool, if `True`, bias will be added to the output.
        depthwise_initializer: Initializer for the depthwise kernel. If `None`,
            the default initializer (`"glorot_uniform"`) is used.
        pointwise_initializer: Initializer for the pointwise kernel. If `None`,
            the default initializer (`"glorot_uniform"`) is used.
        bias_initializer: Initializer for the bias vector. If `None`, the
            default initializer (`"zeros"`) is used.
        depthwise_regularizer: Optional regularizer for the depthwise kernel.
        pointwise_regularizer: Optional regularizer for the pointwise kernel.
        bias_regularizer: Optional regularizer for the bias vector.
        activity_regularizer: Optional regularizer function for the output.
        depthwise_constraint: Optional projection function to be applied to the
            depthwise kernel after being updated by an `Optimizer`.
        pointwise_constraint: Optional projection function to be applied to the
            pointwise kernel after being updated by an `Optimizer`.
        bias_constraint: Optional projection function to be applied to the
            bias after being updated by an `Optimizer`.
        **kwargs: `name`, `dtype` (a dtype policy), `trainable`, as for every
            Keras layer.

    Input shape:
        A 3D floating tensor, `(batch, steps, channels)` or, with
        `data_format="channels_first"`, `(batch, channels, steps)`.

    Output shape:
        A 3D tensor of the layer's compute dtype, `(batch, new_steps, filters)`
        or `(batch, filters, new_steps)`.

    Weights:
        `depthwise_kernel` of shape `(kernel_size, channels,
        depth_multiplier)`, `pointwise_kernel` of shape
        `(1, channels * depth_multiplier, filters)`, and `bias` of shape
        `(filters,)`.

    Raises:
        ValueError: when an argument is out of its range, or when both
            `strides > 1` and `dilation_rate > 1`; when called, if the inputs
            are not of rank 3, if their channels differ from those that the
            layer was built for, or if they are shorter than one window of a
            `"valid"` convolution.

    Example:

    >>> x = np.random.rand(4, 10, 12)
    >>> y = tfconv.SeparableConv1D(3, 4, padding="causal")(x)
    >>> print(y.shape)
    (4, 10, 3)
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        depth_multiplier=1,
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        pointwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        depthwise_regularizer=None,
        pointwise_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        depthwise_constraint=None,
        pointwise_constraint=None,
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
        self.filters = strictly_positive(filters, "filters")
        self.pointwise_initializer = initializer(
            pointwise_initializer, "glorot_uniform"
        )
        self.pointwise_regularizer = keras.regularizers.get(
            pointwise_regularizer
        )
        self.pointwise_constraint = keras.constraints.get(pointwise_constraint)

    def build(self, input_shape):
        channels = self.begin_build(input_shape, "depthwise_kernel")
        self.pointwise_kernel = self.add_weight(
            name="pointwise_kernel",
            shape=(1, channels * self.depth_multiplier, self.filters),
            initializer=self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
            constraint=self.pointwise_constraint,
        )
        self.finish_build(channels)

    def output_channels(self, input_channels: int) -> int:
        return self.filters

    def convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = ops.depthwise_conv1d(
            inputs,
            self.depthwise_kernel,
            strides=self.strides[0],
            padding=self.padding,
            dilation_rate=self.dilation_rate[0],
        )
        return ops.pointwise_conv1d(
            outputs, tf.convert_to_tensor(self.pointwise_kernel)
        )

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "filters": self.filters,
                "pointwise_initializer": keras.initializers.serialize(
                    self.pointwise_initializer
                ),
                "pointwise_regularizer": keras.regularizers.serialize(
                    self.pointwise_regularizer
                ),
                "pointwise_constraint": keras.constraints.serialize(
                    self.pointwise_constraint
                ),
            }
        )
        return config
