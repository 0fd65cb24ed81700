"""Depthwise and pointwise convolution over time, lowered where traced."""

import dataclasses
import operator

import tensorflow as tf

from tfconv.ops.geometry import Geometry
from tfconv.ops.lowerings import edge
from tfconv.ops.lowerings import graph
from tfconv.ops.lowerings import xla
from tfconv.ops.tracing import Lowering
from tfconv.ops.tracing import current_lowering

_LOWERINGS = {
    Lowering.GRAPH: graph,
    Lowering.XLA: xla,
    Lowering.EDGE: edge,
}


def depthwise_conv1d(
    inputs,
    kernel,
    strides: int = 1,
    padding: str = "valid",
    dilation_rate: int = 1,
) -> tf.Tensor:
    """Convolves every channel over time with kernels of its own.

    With `left` zeros added before the first time step,

        y[b, i, c*m + j] =
            sum_k x[b, i * strides + k * dilation_rate - left, c] * w[k, c, j]

    where `x` is zero outside of its time steps.

    Args:
        inputs: floating tensor of shape `(b, t, c)`. b and t may be unknown
            when the function is traced.
        kernel: tensor of shape `(k, c, m)`, of the same dtype: k taps, and m
            outputs for each of the c channels.
        strides: int, time steps from one window to the next.
        padding: string, case-insensitive. `"valid"`: no padding. `"same"`:
            zeros on both sides, the odd one at the end, so that t' is
            `ceil(t / strides)`. `"causal"`: `dilation_rate * (k - 1)` zeros
            before the start, so that `y[:, i]` does not depend on
            `x[:, i * strides + 1:]`; t' is `ceil(t / strides)` too.
        dilation_rate: int, time steps from one tap to the next.

    Returns:
        Tensor of shape `(b, t', c * m)`, of the dtype of `inputs`. float16 and
        bfloat16 are accumulated in float32.

    An input that is not finite makes the outputs that meet it not finite and,
    under XLA, of one channel with a stride of 16 or more, those within two
    strides.

    Raises:
        ValueError: when an argument is out of its range, when both
            `strides > 1` and `dilation_rate > 1`, when the ranks, channels
            or dtypes of `inputs` and `kernel` do not match, or when the
            inputs are shorter than one window of a `"valid"` convolution.

    Example:

    >>> x = tf.random.normal([4, 10, 12])
    >>> w = tf.random.normal([3, 12, 2])
    >>> tfconv.depthwise_conv1d(x, w, padding="causal").shape
    TensorShape([4, 10, 24])
    """
    kernel = tf.convert_to_tensor(kernel)
    inputs = tf.convert_to_tensor(inputs, dtype_hint=kernel.dtype)
    _check_operands(inputs, kernel)
    geometry = Geometry(
        kernel_size=kernel.shape[0],
        strides=_positive_int(strides, "strides"),
        padding=padding.lower() if isinstance(padding, str) else padding,
        dilation_rate=_positive_int(dilation_rate, "dilation_rate"),
    )
    if geometry.kernel_size == 1:
        # There is no other tap to be away from.
        geometry = dataclasses.replace(geometry, dilation_rate=1)
    _, channels, multiplier = kernel.shape
    output_shape = geometry.output_shape(
        tuple(inputs.shape), channels * multiplier, multiplier
    )
    if inputs.shape[1] == 0:
        return _without_steps(inputs, kernel)
    outputs = _in_float32(
        lambda inputs, kernel: _lowering().depthwise_conv1d(
            inputs, kernel, geometry
        ),
        inputs,
        kernel,
    )
    outputs.set_shape(output_shape)
    return outputs


def pointwise_conv1d(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Mixes the channels of every time step: `(b, t, c)` -> `(b, t, f)`.

    Args:
        inputs: floating tensor of shape `(b, t, c)`.
        kernel: tensor of shape `(1, c, f)`, of the same dtype.

    Returns:
        Tensor of shape `(b, t, f)`, of the dtype of `inputs`.
    """
    return _lowering().pointwise_conv1d(inputs, kernel)


def _lowering():
    return _LOWERINGS[current_lowering()]


def _without_steps(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[b, 0, c] x [k, c, m] -> [b, 0, c*m], with gradients of zeros.

    TensorFlow's own operation makes other shapes of padding alone.
    """
    _, channels, multiplier = kernel.shape
    products = inputs[..., tf.newaxis] * kernel[0]
    batch = inputs.shape[0]
    return tf.reshape(
        products,
        [
            tf.shape(inputs)[0] if batch is None else batch,
            0,
            channels * multiplier,
        ],
    )


def _in_float32(function, inputs, kernel):
    if inputs.dtype not in (tf.float16, tf.bfloat16):
        return function(inputs, kernel)
    outputs = function(tf.cast(inputs, tf.float32), tf.cast(kernel, tf.float32))
    return tf.cast(outputs, inputs.dtype)


def _check_operands(inputs: tf.Tensor, kernel: tf.Tensor) -> None:
    if inputs.shape.rank != 3:
        raise ValueError(
            "`inputs` must be of shape (batch, steps, channels). "
            f"Received: inputs.shape={inputs.shape}"
        )
    if kernel.shape.rank != 3 or not kernel.shape.is_fully_defined():
        raise ValueError(
            "`kernel` must be of a known shape (kernel_size, channels, "
            f"depth_multiplier). Received: kernel.shape={kernel.shape}"
        )
    if 0 in kernel.shape:
        raise ValueError(
            "The dimensions of `kernel` must be > 0. "
            f"Received: kernel.shape={kernel.shape}"
        )
    if inputs.shape[2] not in (None, kernel.shape[1]):
        raise ValueError(
            "The number of channels of `inputs` must match the kernel's. "
            f"Received: inputs.shape={inputs.shape} and "
            f"kernel.shape={kernel.shape}"
        )
    if inputs.dtype != kernel.dtype or not inputs.dtype.is_floating:
        raise ValueError(
            "`inputs` and `kernel` must have the same floating dtype. "
            f"Received: inputs.dtype={inputs.dtype.name} and "
            f"kernel.dtype={kernel.dtype.name}"
        )


def _positive_int(value, name: str) -> int:
    try:
        value_as_int = operator.index(value)
    except TypeError:
        value_as_int = 0
    if value_as_int <= 0:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a strictly "
            f"positive integer. Received {name}={value!r}."
        )
    return value_as_int
