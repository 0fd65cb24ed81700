"""From a Keras model to the same model of tfconv layers."""

import keras

from tfconv.layers import DepthwiseConv1D
from tfconv.layers import SeparableConv1D

_REPLACEMENTS = {
    keras.layers.DepthwiseConv1D: DepthwiseConv1D,
    keras.layers.SeparableConv1D: SeparableConv1D,
}


def from_keras(model: keras.Model) -> keras.Model:
    """The same model with tfconv's layers in place of Keras's two.

    The result shares nothing with `model`: every layer is made anew from its
    config, with its name, and the weights are copied. It is not compiled.

    Args:
        model: a functional or Sequential model; nested models and wrapped
            layers (`TimeDistributed`) are converted too. Subclasses of
            Keras's two layers, and layers inside of layers of other classes,
            stay what they are.

    Returns:
        A model that computes the same function, to rounding.

    Raises:
        ValueError: if `model` is neither functional nor Sequential, or if a
            layer has arguments that Keras accepts and tfconv does not
            (`strides > 1` with `dilation_rate > 1`).

    Example:

    >>> keras_model = keras.Sequential(
    ...     [keras.Input((98, 40)), keras.layers.SeparableConv1D(64, 9)]
    ... )
    >>> model = tfconv.from_keras(keras_model)
    >>> type(model.layers[0]).__module__
    'tfconv.layers.separable_conv1d'
    """
    return clone_with(model, _replace)


def clone_with(model: keras.Model, clone_layer) -> keras.Model:
    """A functional or Sequential model anew, its weights copied.

    Args:
        model: the model; nested models are cloned too.
        clone_layer: function from a layer to the one that takes its place,
            which must have the same weights.

    Raises:
        ValueError: if `model` is neither functional nor Sequential.
    """
    is_functional = isinstance(model, keras.Model) and hasattr(
        model, "operations"
    )
    if not is_functional and not isinstance(model, keras.Sequential):
        raise ValueError(
            "A functional or Sequential Keras model is needed. "
            f"Received: {model} (of type {type(model)})"
        )

    def clone_or_share(layer):
        # A Lambda's function cannot be had from its config in safe mode, and
        # it has no weights to share.
        is_lambda = isinstance(layer, keras.layers.Lambda)
        return layer if is_lambda else clone_layer(layer)

    clone = keras.models.clone_model(
        model, clone_function=clone_or_share, recursive=True
    )
    if model.built:
        clone.set_weights(model.get_weights())
    return clone


def _replace(layer: keras.Layer) -> keras.Layer:
    layer_class = type(layer)
    config = layer.get_config()
    if isinstance(layer, keras.layers.Wrapper):
        config["layer"] = keras.saving.serialize_keras_object(
            _replace(layer.layer)
        )
    replacement = _REPLACEMENTS.get(layer_class, layer_class)
    try:
        return replacement.from_config(config)
    except ValueError as error:
        if replacement is layer_class:
            raise
        raise ValueError(
            f"Layer '{layer.name}' (of type {layer_class.__name__}) cannot "
            f"become a tfconv layer. {error}"
        ) from error
