"""Convolutions and dense layers with a scale and a shift in their weights."""

import math

import keras
import numpy as np

import tfconv
from tfconv import ops
from tfconv_export.affine import Affine
from tfconv_export.affine import channel_axis
from tfconv_export.layer_graph import LayerCall

_KERAS = keras.layers
_DEPTHWISE = (
    tfconv.DepthwiseConv1D,
    _KERAS.DepthwiseConv1D,
    _KERAS.DepthwiseConv2D,
)
_SEPARABLE = (
    tfconv.SeparableConv1D,
    _KERAS.SeparableConv1D,
    _KERAS.SeparableConv2D,
)
_CONVOLUTIONS = (_KERAS.Conv1D, _KERAS.Conv2D, _KERAS.Conv3D)
_WEIGHTED = (*_DEPTHWISE, *_SEPARABLE, *_CONVOLUTIONS, _KERAS.Dense)
_TRANSPOSED = (_KERAS.Conv1DTranspose, _KERAS.Conv2DTranspose)


def weights_of(layer) -> list[np.ndarray]:
    """The kernels and the bias, zeros if it has none, in float64."""
    arrays = [np.float64(weight) for weight in layer.get_weights()]
    return arrays if layer.use_bias else [*arrays, np.zeros(_outputs_of(layer))]


def _outputs_of(layer) -> int:
    if isinstance(layer, _DEPTHWISE):
        return math.prod(layer.kernel.shape[-2:])
    return layer.units if isinstance(layer, _KERAS.Dense) else layer.filters


def is_weighted(layer) -> bool:
    """Tells whether it is known what a layer does with its weights."""
    # Not a subclass: that may do anything with them.
    return (
        type(layer) in _WEIGHTED
        and not getattr(layer, "lora_enabled", False)
        and getattr(layer, "quantization_mode", None) is None
    )


def is_linear_in_last_axis(layer) -> bool | None:
    """Tells whether a layer mixes channels by its weights, and no more.

    Returns:
        bool; `None` for a layer of a class that is not known.
    """
    module = type(layer).__module__
    if not module.startswith(("keras.src.", "tfconv.")) or isinstance(
        layer, (_KERAS.Lambda, _KERAS.Wrapper)
    ):
        return None
    return (
        type(layer) in (*_WEIGHTED, *_TRANSPOSED)
        and layer.activation is keras.activations.linear
        and channel_axis(layer) == -1
    )


def taken_in(
    call: LayerCall, weights: list[np.ndarray], given: Affine
) -> list[np.ndarray] | None:
    """Weights with which a layer does to its input what was done before.

    Args:
        call: a plain call of one input.
        weights: the layer's, as from `weights_of`.
        given: what was done to its input.

    Returns:
        Arrays of the same shapes; `None` if there are none.
    """
    layer = call.layer
    affine = given.along(channel_axis(layer))
    if affine is None:
        return None
    if affine.shift.any() and _pads(call):
        return None
    channels = call.input_shapes[0][1:][channel_axis(layer)]
    scale, shift = (
        np.broadcast_to(values, channels)
        for values in (affine.scale, affine.shift)
    )
    *kernels, last, bias = weights
    if isinstance(layer, _SEPARABLE):
        (depthwise,) = kernels
        made = _summed(depthwise * shift[:, np.newaxis], 2).reshape(-1)
        return [
            depthwise * scale[:, np.newaxis],
            last,
            bias + made @ last.reshape(made.size, -1),
        ]
    if isinstance(layer, _DEPTHWISE):
        scale, shift = scale[:, np.newaxis], shift[:, np.newaxis]
        made = _summed(last * shift, 2).reshape(-1)
    else:
        # The filters of one group see its channels only.
        groups = getattr(layer, "groups", 1)
        filters = last.shape[-1] // groups
        scale, shift = (
            values.reshape(groups, -1).T.repeat(filters, axis=1)
            for values in (scale, shift)
        )
        made = _summed(last * shift, 1)
    return [last * scale, bias + made]


def given_out(weights: list[np.ndarray], affine: Affine) -> list[np.ndarray]:
    """Weights with which a layer does to its output what is done after.

    Args:
        weights: as from `weights_of`, of a layer without an activation.
        affine: vectors of the output's channels.

    Returns:
        Arrays of the same shapes.
    """
    *kernels, kernel, bias = weights
    # The last kernel's output channels are its last dimensions together.
    scaled = kernel.reshape(-1, bias.size) * affine.scale
    return [
        *kernels,
        scaled.reshape(kernel.shape),
        bias * affine.scale + affine.shift,
    ]


def _summed(array: np.ndarray, kept: int) -> np.ndarray:
    return array.sum(axis=tuple(range(array.ndim - kept)))


def _pads(call: LayerCall) -> bool:
    """Tells whether a convolution puts zeros around its input."""
    layer = call.layer
    padding = getattr(layer, "padding", "valid")
    if padding == "valid":
        return False
    steps = list(call.input_shapes[0][1:])
    del steps[channel_axis(layer)]
    for size, *window in zip(
        steps,
        layer.kernel_size,
        layer.strides,
        layer.dilation_rate,
        strict=True,
    ):
        taps, stride, dilation = window
        if taps == 1:
            continue
        if size is None or (stride > 1 and dilation > 1):
            return True
        if any(ops.Geometry(taps, stride, padding, dilation).pads(size)):
            return True
    return False
