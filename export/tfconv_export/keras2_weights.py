"""Weights from HDF5 files of Keras 2 into models of Keras 3."""

import pathlib

import h5py
import keras


class OrderError(ValueError):
    """Keras 3 has a layer's weights in another order than the file."""


def load(model: keras.Model, path: pathlib.Path) -> None:
    """Loads the weights, and makes sure that each is where it belongs.

    Keras assigns those of a layer in their order. A layer's weights are the
    file's if both have the same names in the same order, and if those that
    belong together in the model do in the file.

    Args:
        model: built from the file's config.
        path: of the `.h5` file.

    Raises:
        OrderError: if they may not be where they belong.
        ValueError: if their shapes differ.
    """
    model.load_weights(path, by_name=True)
    with h5py.File(path, "r") as file:
        group = file.get("model_weights", file)
        saved = {
            name: _names(group[name], "weight_names")
            for name in _names(group, "layer_names")
        }
    for layer in model.layers:
        weights = [*layer.trainable_weights, *layer.non_trainable_weights]
        _check(
            layer.name,
            [name.partition(":")[0] for name in saved.pop(layer.name, [])],
            [weight.path for weight in weights],
        )
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # of Normalization, from its weights
    for name, left in saved.items():
        _check(name, left, [])


def _check(layer: str, saved: list[str], own: list[str]) -> None:
    """Compares paths such as `gru/gru_cell/kernel`, one by one."""
    names = [_last(path).removeprefix("depthwise_") for path in saved]
    own_names = [_last(path).removeprefix("depthwise_") for path in own]
    is_same = names == own_names
    parts = {_last(_scope(path)) for path in own}
    scopes = {}
    for path, own_path in zip(saved, own, strict=False):
        scope, own_scope = _scope(path), _scope(own_path)
        # What belongs together stays together, and where the name says.
        is_same &= scopes.setdefault(own_scope, scope) == scope
        is_same &= _last(scope) not in parts - {_last(own_scope)}
    if not is_same:
        raise OrderError(
            f"The layer {layer} has the weights {', '.join(own) or 'none'}, "
            f"and the file has {', '.join(saved) or 'none'}"
        )


def _scope(path: str) -> str:
    return path.rpartition("/")[0]


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names; a long one is cut into several attributes."""
    parts = [attribute]
    if attribute not in group.attrs:
        count = sum(key.startswith(attribute) for key in group.attrs)
        parts = [f"{attribute}{index}" for index in range(count)]
    return [
        name.decode() if isinstance(name, bytes) else str(name)
        for part in parts
        for name in group.attrs[part]
    ]
