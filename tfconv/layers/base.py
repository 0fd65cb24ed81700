"""What the two layers share: arguments, shapes, bias and activation."""

import operator

import keras
import tensorflow as tf

from tfconv import ops

_DATA_FORMATS = ("channels_first", "channels_last")


class BaseDepthwiseConv1D(keras.Layer):
    """A layer that begins with a depthwise convolution over time.

    A subclass creates its weights in `build`, says in `convolve` what it makes
    of an input of shape `(b, t, c)`, and in `output_channels` how wide that
    is. For the arguments see `DepthwiseConv1D`.
    """

    def __init__(
        self,
        kernel_size,
        strides,
        padding,
        depth_multiplier,
        data_format,
        dilation_rate,
        activation,
        use_bias,
        depthwise_initializer,
        bias_initializer,
        depthwise_regularizer,
        bias_regularizer,
        activity_regularizer,
        depthwise_constraint,
        bias_constraint,
        **kwargs,
    ):
        super().__init__(
            activity_regularizer=keras.regularizers.get(activity_regularizer),
            **kwargs,
        )
        self.depth_multiplier = strictly_positive(
            depth_multiplier, "depth_multiplier"
        )
        self.kernel_size = _one_int_tuple(kernel_size, "kernel_size")
        self.strides = _one_int_tuple(strides, "strides")
        self.dilation_rate = _one_int_tuple(dilation_rate, "dilation_rate")
        self.padding = _standardize_padding(padding)
        self.data_format = _standardize_data_format(data_format)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.depthwise_initializer = initializer(
            depthwise_initializer, "glorot_uniform"
        )
        self.bias_initializer = initializer(bias_initializer, "zeros")
        self.depthwise_regularizer = keras.regularizers.get(
            depthwise_regularizer
        )
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.depthwise_constraint = keras.constraints.get(depthwise_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        if self.strides[0] > 1 and self.dilation_rate[0] > 1:
            raise ValueError(
                "`strides > 1` not supported in conjunction with "
                f"`dilation_rate > 1`. Received: strides={self.strides} and "
                f"dilation_rate={self.dilation_rate}"
            )
        self.geometry = ops.Geometry(
            kernel_size=self.kernel_size[0],
            strides=self.strides[0],
            padding=self.padding,
            dilation_rate=self.dilation_rate[0],
        )
        self.input_spec = keras.InputSpec(min_ndim=3, max_ndim=3)

    def convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        """`(b, t, c)` -> `(b, t', output_channels)`, without the bias."""
        raise NotImplementedError

    def output_channels(self, input_channels: int) -> int:
        """The width of what `convolve` returns."""
        raise NotImplementedError

    def begin_build(self, input_shape, kernel_name: str) -> int:
        """Checks the shape, adds the depthwise kernel; returns c."""
        axis = self._channel_axis
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                "The channel dimension of the inputs should be defined. "
                f"Received input_shape={tuple(input_shape)}, where axis "
                f"{axis} is the channel dimension "
                f'(data_format="{self.data_format}").'
            )
        self.input_spec = keras.InputSpec(
            min_ndim=3, max_ndim=3, axes={axis: channels}
        )
        self.compute_output_shape(input_shape)
        kernel = self.add_weight(
            name=kernel_name,
            shape=(*self.kernel_size, channels, self.depth_multiplier),
            initializer=self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
        )
        setattr(self, kernel_name, kernel)
        return channels

    def finish_build(self, input_channels: int) -> None:
        """Adds the bias, if there is to be one."""
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.output_channels(input_channels),),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def call(self, inputs, training=None):
        channels_first = self.data_format == "channels_first"
        if channels_first:
            inputs = tf.transpose(inputs, [0, 2, 1])
        # Keras says False in predict and in evaluate, and nothing when it
        # exports: then the outputs are those of one operation.
        with ops.inference(not training):
            outputs = self.convolve(inputs)
        if self.bias is not None:
            # Its gradient is faster than that of a sum.
            outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        if channels_first:
            outputs = tf.transpose(outputs, [0, 2, 1])
        if self.activation is not None:
            outputs = self.activation(outputs)
        return outputs

    def compute_output_shape(self, input_shape):
        if len(input_shape) != 3:
            raise ValueError(
                "The inputs must be of rank 3: (batch, steps, channels) or, "
                'with data_format="channels_first", (batch, channels, steps). '
                f"Received input_shape={tuple(input_shape)}"
            )
        first, second, third = input_shape
        if self.data_format == "channels_last":
            steps, channels = second, third
        else:
            steps, channels = third, second
        batch, steps, channels = self.geometry.output_shape(
            (first, steps, channels),
            self.output_channels(channels),
            self.depth_multiplier,
            shown_shape=input_shape,
        )
        if self.data_format == "channels_last":
            return (batch, steps, channels)
        return (batch, channels, steps)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "depth_multiplier": self.depth_multiplier,
                "kernel_size": self.kernel_size,
                "strides": self.strides,
                "padding": self.padding,
                "data_format": self.data_format,
                "dilation_rate": self.dilation_rate,
                "activation": keras.activations.serialize(self.activation),
                "use_bias": self.use_bias,
                "depthwise_initializer": keras.initializers.serialize(
                    self.depthwise_initializer
                ),
                "bias_initializer": keras.initializers.serialize(
                    self.bias_initializer
                ),
                "depthwise_regularizer": keras.regularizers.serialize(
                    self.depthwise_regularizer
                ),
                "bias_regularizer": keras.regularizers.serialize(
                    self.bias_regularizer
                ),
                "activity_regularizer": keras.regularizers.serialize(
                    self.activity_regularizer
                ),
                "depthwise_constraint": keras.constraints.serialize(
                    self.depthwise_constraint
                ),
                "bias_constraint": keras.constraints.serialize(
                    self.bias_constraint
                ),
            }
        )
        return config

    @property
    def _channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1


def initializer(identifier, default: str):
    """The initializer that Keras documents: `None` means the default."""
    return keras.initializers.get(default if identifier is None else identifier)


def strictly_positive(value, name: str) -> int:
    """`value` as an int.

    Raises:
        ValueError: if it is none, or not greater than 0.
    """
    integer = _as_int(value)
    if integer is None or integer <= 0:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a strictly "
            f"positive value. Received {name}={value}."
        )
    if integer > ops.LARGEST:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected at most "
            f"{ops.LARGEST}. Received {name}={value}."
        )
    return integer


def _as_int(value) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None


def _one_int_tuple(value, name: str) -> tuple[int]:
    message = (
        f"The `{name}` argument must be a tuple of 1 integers. "
        f"Received {name}={value}"
    )
    elements = value if isinstance(value, (tuple, list)) else (value,)
    if len(elements) != 1:
        raise ValueError(message)
    integer = _as_int(elements[0])
    if integer is None:
        raise ValueError(
            f"{message}, including element {elements[0]} of type "
            f"{type(elements[0])}"
        )
    if integer <= 0:
        raise ValueError(
            f"{message}, including values {{{integer}}} that do not satisfy "
            "`value > 0`"
        )
    return (integer,)


def _standardize_padding(value) -> str:
    padding = value.lower() if isinstance(value, str) else value
    if padding in ops.PADDINGS:
        return padding
    message = (
        f"The `padding` argument must be one of {ops.PADDINGS}. "
        f"Received: padding={value!r}"
    )
    if not isinstance(value, str):
        message += (
            " (`padding` is the argument that follows `strides`; pass "
            "`depth_multiplier` and `dilation_rate` by name)"
        )
    raise ValueError(message)


def _standardize_data_format(value) -> str:
    if value is None:
        return keras.config.image_data_format()
    data_format = str(value).lower()
    if data_format not in _DATA_FORMATS:
        raise ValueError(
            f"The `data_format` argument must be one of {_DATA_FORMATS}. "
            f"Received: data_format={value}"
        )
    return data_format
