"""The calls that a functional model is made of."""

import keras


def as_functional(layer, nested: bool = False):
    """The functional model behind a functional or Sequential one.

    Args:
        layer: a Keras model; with `nested=True`, any layer or operation.
        nested: bool, whether to return `None` for anything else, which is
            then one layer among others.

    Raises:
        TypeError: if `layer` is not a Keras model.
        ValueError: if it is neither functional nor Sequential, or not built.
    """
    if isinstance(layer, keras.Sequential):
        functional = layer._functional
    else:
        functional = layer if hasattr(layer, "_nodes_by_depth") else None
    if functional is not None and not _overrides_call(layer):
        return functional
    if nested:
        return None
    if not isinstance(layer, keras.Model):
        raise TypeError(
            "A streaming plan is made of a Keras model. "
            f"Received: {layer} (of type {type(layer)})"
        )
    raise ValueError(
        "A streaming plan is made of a functional or Sequential Keras model "
        "that is built with keras.Input((steps, channels)). "
        f"Received: {layer} (of type {type(layer)})"
    )


def nodes(functional):
    """The calls of a functional model, in an order in which they can run."""
    depths = sorted(functional._nodes_by_depth, reverse=True)
    return [
        node
        for depth in depths
        for node in functional._nodes_by_depth[depth]
        if not node.is_input
    ]


def masking_layer(functional):
    """The name of a layer that makes masks for later ones, or `None`."""
    for node in nodes(functional):
        if isinstance(node.operation, keras.layers.Masking):
            return node.operation.name
    return None


def _overrides_call(model: keras.Model) -> bool:
    """A subclass may do more than its graph says."""
    return not type(model).call.__module__.startswith("keras.src.models.")
