"""Scales and shifts of channels, and how they go through layers."""

import dataclasses
import math

import keras
import numpy as np

from tfconv_export.layer_graph import LayerCall

_KERAS = keras.layers
_MAXIMA = (
    _KERAS.MaxPooling1D,
    _KERAS.MaxPooling2D,
    _KERAS.MaxPooling3D,
    _KERAS.GlobalMaxPooling1D,
    _KERAS.GlobalMaxPooling2D,
    _KERAS.GlobalMaxPooling3D,
)
# Every output is a mean of inputs of its channel, or one of them.
_MEANS = (
    _KERAS.AveragePooling1D,
    _KERAS.AveragePooling2D,
    _KERAS.AveragePooling3D,
    _KERAS.GlobalAveragePooling1D,
    _KERAS.GlobalAveragePooling2D,
    _KERAS.GlobalAveragePooling3D,
    _KERAS.Cropping1D,
    _KERAS.Cropping2D,
    _KERAS.Cropping3D,
    _KERAS.UpSampling1D,
    _KERAS.UpSampling2D,
    _KERAS.UpSampling3D,
)
_PADDINGS = (
    _KERAS.ZeroPadding1D,
    _KERAS.ZeroPadding2D,
    _KERAS.ZeroPadding3D,
)
_IDENTITIES = (
    _KERAS.ActivityRegularization,
    _KERAS.AlphaDropout,
    _KERAS.Dropout,
    _KERAS.GaussianDropout,
    _KERAS.GaussianNoise,
    _KERAS.Identity,
    _KERAS.SpatialDropout1D,
    _KERAS.SpatialDropout2D,
    _KERAS.SpatialDropout3D,
)
# Positively homogeneous: f(s * x) = s * f(x) for s >= 0.
_HOMOGENEOUS = (_KERAS.LeakyReLU, _KERAS.PReLU)
_ACTIVATIONS = (
    keras.activations.linear,
    keras.activations.relu,
    keras.activations.leaky_relu,
)
# Those of `keras.ops` by name: Keras keeps the classes to itself.
_RESHAPES = ("ExpandDims", "Flatten", "Reshape", "Squeeze")


@dataclasses.dataclass(frozen=True)
class Affine:
    """`scale * x + shift`, element by element.

    Attributes:
        scale: float64 array of the rank of an example; of size 1 along the
            axes on which it does not depend.
        shift: float64 array of the same shape.
    """

    scale: np.ndarray
    shift: np.ndarray

    def after(self, first: "Affine") -> "Affine":
        """Composes this one with one that is done first."""
        return Affine(
            self.scale * first.scale, self.scale * first.shift + self.shift
        )

    def along(self, axis: int) -> "Affine | None":
        """Gives the vectors of one axis; `None` if it depends on others."""
        sizes = list(self.scale.shape)
        sizes[axis] = 1
        if math.prod(sizes) != 1:
            return None
        return Affine(self.scale.reshape(-1), self.shift.reshape(-1))

    def parted(self) -> "tuple[Affine, Affine]":
        """Parts it: one that scales by positive numbers, then what is left."""
        size = np.where(self.scale == 0, 1.0, np.abs(self.scale))
        return Affine(size, 0.0 * size), Affine(self.scale / size, self.shift)

    def map(self, function) -> "Affine":
        return Affine(function(self.scale), function(self.shift))


def passed(call: LayerCall, given: Affine) -> Affine | None:
    """Gives what is to be done after a call instead of before it.

    Args:
        call: a plain call of one input.
        given: what would be done to its input.

    Returns:
        That after which nothing differs, but for rounding; `None` if there is
        none.
    """
    layer = call.layer
    if _is_reshape(layer):
        return _reshaped(call, given)
    if type(layer) is _KERAS.Permute:
        return given.map(lambda x: x.transpose([dim - 1 for dim in layer.dims]))
    if not commutes(layer, given):
        return None
    if is_elementwise(layer):
        return given
    if given.along(channel_axis(layer)) is None:
        return None
    rank = len(call.output_shapes[0]) - 1
    if rank == given.scale.ndim:
        return given
    return given.map(lambda values: values.reshape([-1] * rank))


def concatenated(call: LayerCall, given: list[Affine | None]) -> Affine | None:
    """Does as `passed`, for a concatenation of which some inputs are given."""
    layer = call.layer
    if type(layer) is not _KERAS.Concatenate and not _is_operation(
        layer, ("Concatenate",)
    ):
        return None
    axis = layer.axis % len(call.input_shapes[0]) - 1
    parts = []
    for affine, (_, *shape) in zip(given, call.input_shapes, strict=True):
        if None in shape or axis < 0:
            return None
        if affine is None:
            ones = np.ones([1] * len(shape))
            affine = Affine(ones, 0.0 * ones)
        parts.append((affine, shape))
    # The axes on which none depends stay of size 1.
    sizes = np.max([affine.scale.shape for affine, _ in parts], axis=0)

    def joined(arrays):
        return np.concatenate(
            [
                np.broadcast_to(
                    array, [*sizes[:axis], shape[axis], *sizes[axis + 1 :]]
                )
                for array, (_, shape) in zip(arrays, parts, strict=True)
            ],
            axis,
        )

    return Affine(
        joined([affine.scale for affine, _ in parts]),
        joined([affine.shift for affine, _ in parts]),
    )


def is_identity(layer) -> bool:
    """Tells whether a layer does nothing in inference mode."""
    if type(layer) is _KERAS.Activation:
        return layer.activation is keras.activations.linear
    return type(layer) in _IDENTITIES


def is_elementwise(layer) -> bool:
    """Tells whether a layer does the same to each value, with zero for zero."""
    return is_identity(layer) or _is_homogeneous(layer)


def commutes(layer, given: Affine) -> bool:
    """Tells whether it may be done before a layer as well as after it.

    Args:
        layer: a layer, or an activation.
        given: what is to be done, to whole channels.
    """
    if is_identity(layer) or layer is keras.activations.linear:
        return True
    if type(layer) in _MEANS:
        # Other interpolations round otherwise at the edges.
        return getattr(layer, "interpolation", "nearest") == "nearest"
    is_rising = bool((given.scale >= 0).all())
    if type(layer) in _MAXIMA:
        return is_rising
    is_scale = not given.shift.any()
    if type(layer) in _PADDINGS:
        return is_scale
    return is_scale and is_rising and _is_homogeneous(layer)


def _is_homogeneous(layer) -> bool:
    if type(layer) is _KERAS.Activation:
        layer = layer.activation
    if type(layer) is _KERAS.ReLU:
        return layer.max_value is None and not layer.threshold
    return type(layer) in _HOMOGENEOUS or layer in _ACTIVATIONS


def channel_axis(layer) -> int:
    """The axis of a layer's channels in an example."""
    data_format = getattr(layer, "data_format", "channels_last")
    return -1 if data_format == "channels_last" else 0


def _is_reshape(layer) -> bool:
    if type(layer) in (_KERAS.Flatten, _KERAS.Reshape):
        # Flatten moves channels that come first.
        return channel_axis(layer) == -1
    return _is_operation(layer, _RESHAPES)


def _is_operation(layer, names: tuple[str, ...]) -> bool:
    module = type(layer).__module__
    return module.startswith("keras.src.ops.") and type(layer).__name__ in names


def _reshaped(call: LayerCall, given: Affine) -> Affine | None:
    (batch, *before), (other_batch, *after) = (
        call.input_shapes[0],
        call.output_shapes[0],
    )
    if batch != other_batch or None in before + after:
        return None
    if math.prod(before) != math.prod(after):
        return None
    scale, shift = (
        np.broadcast_to(values, before).reshape(after)
        for values in (given.scale, given.shift)
    )
    for axis in range(scale.ndim):
        firsts = [values.take([0], axis) for values in (scale, shift)]
        if (scale == firsts[0]).all() and (shift == firsts[1]).all():
            scale, shift = firsts
    return Affine(scale, shift)
