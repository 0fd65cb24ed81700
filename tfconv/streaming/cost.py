"""Multiply-accumulates of a layer."""

import math

import keras

from tfconv import layers

_KERAS = keras.layers
_DEPTHWISE = (_KERAS.DepthwiseConv1D, layers.DepthwiseConv1D)
_SEPARABLE = (_KERAS.SeparableConv1D, layers.SeparableConv1D)


def multiply_accumulates(
    operation: keras.Operation,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
) -> int | None:
    """Those of convolutions and dense layers for one example.

    Args:
        operation: a layer or operation.
        input_shape: shape of its first input, without the batch; only the
            channels are read.
        output_shape: shape of its first output, without the batch.

    Returns:
        The number, without biases and activations; 0 for a layer without
        matrices; `None` for any other layer.
    """
    kind = type(operation)
    if kind is _KERAS.Dense:
        return math.prod(output_shape) * input_shape[-1]
    if kind in (*_DEPTHWISE, *_SEPARABLE, _KERAS.Conv1D):
        last = operation.data_format == "channels_last"
        channels = input_shape[-1 if last else 0]
        frames = output_shape[0 if last else -1]
        taps = operation.kernel_size[0]
        if kind is _KERAS.Conv1D:
            return (
                frames * taps * channels // operation.groups * operation.filters
            )
        made = channels * operation.depth_multiplier
        depthwise = frames * taps * made
        if kind in _DEPTHWISE:
            return depthwise
        return depthwise + frames * made * operation.filters
    if kind is _KERAS.TimeDistributed:
        one = multiply_accumulates(
            operation.layer, input_shape[1:], output_shape[1:]
        )
        return None if one is None else output_shape[0] * one
    weights = getattr(operation, "weights", ())
    if any(len(weight.shape) > 1 for weight in weights):
        return None
    return 0
