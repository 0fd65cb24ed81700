"""Batch normalization folded where the converter does not do it itself.

TFLite's converter folds a BatchNormalization into the convolution before it,
but not across the transposes of a channels_first layer.
"""

import keras
import numpy as np

import tfconv
from tfconv.conversion import copy_of

_LAYERS = (tfconv.DepthwiseConv1D, tfconv.SeparableConv1D)


class _Folded(keras.Layer):
    """In the place of a BatchNormalization, called as one."""

    def call(self, inputs, training=None, mask=None):
        return inputs


def fold_channels_first(model: keras.Model) -> keras.Model:
    """The model, with fewer layers between its channels_first convolutions.

    Every BatchNormalization that alone follows a channels_first layer of
    tfconv becomes part of that layer's weights, as in inference
    `gamma * (x - mean) / sqrt(variance + epsilon) + beta` is linear in x.

    Args:
        model: a functional or Sequential model.

    Returns:
        A model that computes the same in inference, to rounding; `model`
        itself where there is nothing to fold.
    """
    norms = dict(_foldable(model))
    if not norms:
        return model
    removed = {id(norm) for norm in norms.values()}
    clones = []

    def clone(layer):
        if id(layer) in removed:
            return _Folded(name=layer.name)
        if isinstance(layer, keras.layers.Lambda):
            return layer
        changes = {"use_bias": True} if layer in norms else {}
        clones.append((layer, copy_of(layer, **changes)))
        return clones[-1][1]

    folded = keras.models.clone_model(
        model, clone_function=clone, recursive=True
    )
    for layer, copy in clones:
        if layer in norms:
            copy.set_weights(_folded_weights(layer, norms[layer]))
        else:
            copy.set_weights(layer.get_weights())
    return folded


def _foldable(model: keras.Model):
    """Pairs of a layer and the BatchNormalization to be folded into it."""
    outputs = {id(output) for output in model.outputs}
    for layer in model.layers:
        if isinstance(layer, keras.Model) and hasattr(layer, "outputs"):
            yield from _foldable(layer)  # and not a subclassed one
        if (
            not isinstance(layer, _LAYERS)
            or layer.data_format != "channels_first"
            or layer.activation is not keras.activations.linear
            or len(layer._inbound_nodes) != 1
            or len(layer._outbound_nodes) != 1
            or id(layer.output) in outputs
        ):
            continue
        follower = layer._outbound_nodes[0].operation
        if (
            isinstance(follower, keras.layers.BatchNormalization)
            and len(follower._inbound_nodes) == 1
            and follower.axis in (1, -2)
        ):
            yield layer, follower


def _folded_weights(layer, norm) -> list[np.ndarray]:
    *kernels, kernel = (np.float64(w) for w in layer.get_weights())
    if layer.use_bias:
        *kernels, kernel, bias = (*kernels, kernel)
    else:
        bias = 0.0
    gamma = np.float64(norm.gamma) if norm.scale else 1.0
    beta = np.float64(norm.beta) if norm.center else 0.0
    variance = np.float64(norm.moving_variance)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    # The last kernel's output channels are its last dimensions together.
    kernel = (kernel.reshape(len(kernel), -1, scale.size) * scale).reshape(
        kernel.shape
    )
    bias = (bias - np.float64(norm.moving_mean)) * scale + beta
    return [*kernels, kernel, bias]
