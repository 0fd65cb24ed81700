"""From a Keras model to the same model of tfconv layers."""

import contextlib
import inspect
import tempfile
from typing import Any

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
    config, with its name, and the weights are copied. It is compiled if
    `model` is, with an optimizer of its own.

    Args:
        model: a functional or Sequential model; nested models and wrapped
            layers (`TimeDistributed`) are converted too. Subclasses of
            Keras's two layers, layers inside of layers of other classes, and
            layers of both `strides > 1` and `dilation_rate > 1`, which tfconv
            does not have, stay what they are.

    Returns:
        A model that computes the same function, to rounding.

    Raises:
        ValueError: if `model` is neither functional nor Sequential.

    Example:

    >>> keras_model = keras.Sequential(
    ...     [keras.Input((98, 40)), keras.layers.SeparableConv1D(64, 9)]
    ... )
    >>> model = tfconv.from_keras(keras_model)
    >>> type(model.layers[0]).__module__
    'tfconv.layers.separable_conv1d'
    """
    return clone_with(model, _replace)


def clone_with(
    model: keras.Model, clone_layer, weights_of=keras.Layer.get_weights
) -> keras.Model:
    """A functional or Sequential model anew, its weights copied.

    Args:
        model: the model; nested models are cloned too.
        clone_layer: function from a layer to the one that takes its place.
        weights_of: function from a layer to a list of arrays, the weights of
            the one that takes its place.

    Raises:
        ValueError: if `model` is neither functional nor Sequential.
    """
    if not _is_graph_of_layers(model):
        raise ValueError(
            "A functional or Sequential Keras model is needed. "
            f"Received: {model} (of type {type(model)})"
        )
    pairs = {}
    clone = _clone_model(model, clone_layer, pairs)
    # Outer ones first: to freeze a model freezes all that is in it.
    for layer, copy in reversed(pairs.values()):
        if isinstance(layer, keras.Layer):  # and not a bare operation
            if model.built and not _is_graph_of_layers(layer):
                copy.set_weights(weights_of(layer))
            _copy_state(layer, copy)
            copy.trainable = layer.trainable
    return clone


def copy_of(layer: keras.Layer, **changes: Any) -> keras.Layer:
    """The layer anew from its config, without its weights.

    Args:
        layer: any layer.
        **changes: arguments that the copy is to have in the place of its own.
    """
    return type(layer).from_config(config_of(layer) | changes)


def config_of(layer: keras.Layer) -> dict[str, Any]:
    """The layer's config, with the user's own functions in it as they are.

    Keras writes such an activation by its name alone, or as code that it
    refuses to read again, or not at all.

    Args:
        layer: any layer.

    Returns:
        What `type(layer).from_config` takes.
    """
    with _without_functions(layer):
        config = layer.get_config()
    _put_functions(config, layer)
    return config


@contextlib.contextmanager
def _without_functions(layer: keras.Layer):
    """Takes the user's functions out of the layer, for a while."""
    # A bare operation, as `keras.ops.split` makes one, holds no layers.
    is_layer = isinstance(layer, keras.Layer)
    functions = [
        (owner, name, function)
        for owner in (layer._flatten_layers() if is_layer else [layer])
        for name, function in vars(owner).items()
        if name.endswith("activation") and _is_users(function)
    ]
    try:
        for owner, name, _ in functions:
            setattr(owner, name, keras.activations.linear)
        yield
    finally:
        for owner, name, function in functions:
            setattr(owner, name, function)


def _is_users(function) -> bool:
    """Tells whether Keras would not find the function by its name."""
    name = getattr(function, "__name__", "")
    return (
        callable(function)
        and not hasattr(function, "get_config")
        and function is not getattr(keras.activations, name, None)
        and function not in keras.saving.get_custom_objects().values()
    )


def _put_functions(config: dict[str, Any], layer: keras.Layer) -> None:
    """Puts the functions of a layer, and of those in it, into its config."""
    for key, value in config.items():
        is_function = key.endswith("activation")
        if not is_function and not isinstance(value, (dict, list)):
            continue
        own = getattr(layer, key, None)
        if is_function and _is_users(own):
            config[key] = own
        layers = {
            item.name: item
            for item in (own if isinstance(own, list) else [own])
            if isinstance(item, keras.Layer)
        }
        for item in value if isinstance(value, list) else [value]:
            inner = item.get("config") if isinstance(item, dict) else None
            if isinstance(inner, dict) and inner.get("name") in layers:
                _put_functions(inner, layers[inner["name"]])


def sharing_weights(layer: keras.Layer) -> keras.Layer | None:
    """tfconv's layer over the weights of one of Keras's two.

    Args:
        layer: any layer.

    Returns:
        A layer that computes what `layer` does with the same variables; `None`
        if `layer` is unbuilt or one that `from_keras` leaves as it is.
    """
    if not _is_replaced(layer) or not layer.built:
        return None
    twin = _replace(layer)
    for name in ("kernel", "depthwise_kernel", "pointwise_kernel", "bias"):
        if hasattr(layer, name):
            setattr(twin, name, getattr(layer, name))
    twin.built = True
    return twin


def _is_graph_of_layers(layer: keras.Layer) -> bool:
    is_functional = isinstance(layer, keras.Model) and hasattr(
        layer, "operations"
    )
    return is_functional or isinstance(layer, keras.Sequential)


def _clone_model(model, clone_layer, pairs) -> keras.Model:
    def clone(layer):
        if id(layer) in pairs:
            return pairs[id(layer)][1]
        if _is_graph_of_layers(layer):
            return _clone_model(layer, clone_layer, pairs)
        copy = _clone_lambda(layer) or clone_layer(layer)
        pairs[id(layer)] = layer, copy
        return copy

    options = {}
    if not isinstance(model, keras.Sequential):
        options["input_tensors"] = keras.tree.map_structure(
            _input_like, model.input
        )
        options["call_function"] = _call
    copy = keras.models.clone_model(model, clone_function=clone, **options)
    pairs[id(model)] = model, copy
    return copy


def _call(layer, *args, **kwargs):
    # A graph holds `mask=None` of layers that take a mask.
    if kwargs.get("mask", layer) is None and "mask" not in (
        inspect.signature(layer.call).parameters
    ):
        del kwargs["mask"]
    return layer(*args, **kwargs)


def _input_like(tensor: keras.KerasTensor) -> keras.KerasTensor:
    # Keras would name it after the tensor, whose name is a running number.
    name = tensor._keras_history.operation.name
    return keras.Input(
        batch_shape=tensor.shape,
        dtype=tensor.dtype,
        sparse=tensor.sparse,
        name=name,
    )


def _clone_lambda(layer: keras.Layer) -> keras.Layer | None:
    """Not from its config, which Keras takes for code from elsewhere."""
    if type(layer) is not keras.layers.Lambda:
        return None
    return keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        dtype=layer.dtype_policy,
    )


def _copy_state(layer: keras.Layer, copy: keras.Layer) -> None:
    """What preprocessing layers keep beside their weights."""
    if hasattr(layer, "save_assets") and layer.built:
        with tempfile.TemporaryDirectory() as directory:
            layer.save_assets(directory)
            copy.load_assets(directory)
    elif hasattr(copy, "finalize_state") and layer.built:
        copy.finalize_state()


def _is_replaced(layer: keras.Layer) -> bool:
    return type(layer) in _REPLACEMENTS and (
        layer.strides[0] == 1 or layer.dilation_rate[0] == 1
    )


def _replace(layer: keras.Layer) -> keras.Layer:
    config = config_of(layer)
    if isinstance(layer, keras.layers.Wrapper):
        inner = layer.layer
        replaced = (
            _clone_model(inner, _replace, {})
            if _is_graph_of_layers(inner)
            else _replace(inner)
        )
        with _without_functions(replaced):
            config["layer"] = keras.saving.serialize_keras_object(replaced)
        _put_functions(config["layer"]["config"], replaced)
    if _is_replaced(layer):
        return _REPLACEMENTS[type(layer)].from_config(config)
    return type(layer).from_config(config)
