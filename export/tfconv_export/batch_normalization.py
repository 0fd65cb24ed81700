"""Batch normalizations in inference mode: a scale and a shift."""

import keras
import numpy as np

from tfconv_export.affine import Affine


def is_norm(layer) -> bool:
    """Tells whether a layer is a batch normalization that has its weights."""
    # Not a subclass: that may do anything with them.
    return type(layer) is keras.layers.BatchNormalization and layer.built


def affine_of(layer: keras.layers.BatchNormalization) -> Affine:
    """Gives the function of a batch normalization in inference mode."""
    rank, axis = layer.input_spec.ndim, axis_of(layer)
    gamma = np.float64(layer.gamma) if layer.scale else 1.0
    beta = np.float64(layer.beta) if layer.center else 0.0
    variance = np.float64(layer.moving_variance)
    scale = gamma / np.sqrt(variance + layer.epsilon)
    shift = beta - np.float64(layer.moving_mean) * scale
    shape = [1] * (rank - 1)
    shape[axis - 1] = scale.size
    return Affine(scale, shift).map(lambda values: values.reshape(shape))


def weights_for(
    layer: keras.layers.BatchNormalization, wanted: Affine
) -> list[np.ndarray]:
    """Weights with which a batch normalization computes something else.

    Args:
        layer: one that is to have a scale and a center.
        wanted: what it is to compute.
    """
    variance = np.float64(layer.moving_variance)
    scale, shift = wanted.scale.reshape(-1), wanted.shift.reshape(-1)
    gamma = scale * np.sqrt(variance + layer.epsilon)
    return [gamma, shift, np.zeros_like(shift), variance]


def axis_of(layer: keras.layers.BatchNormalization) -> int:
    """The axis of the channels, counted from the front."""
    return layer.axis % layer.input_spec.ndim
