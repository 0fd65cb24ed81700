"""Keras models as sources: from files of Keras 3 and 2, and from memory."""

import contextlib
import dataclasses
import inspect
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

import tfconv
from tfconv.conversion import clone_with
from tfconv.conversion import copy_of
from tfconv.conversion import sharing_weights
from tfconv_export import depthwise_norms
from tfconv_export import folding
from tfconv_export import keras2
from tfconv_export import keras2_config
from tfconv_export import keras_errors
from tfconv_export import keras_files
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason
from tfconv_export.keras_operations import for_the_converter
from tfconv_export.source import Input
from tfconv_export.source import Source
from tfconv_export.source import unique
from tfconv_export.weight_bounds import bounded_weights


def from_file(path: pathlib.Path, unsafe_deserialization: bool) -> Source:
    """Reads a `.keras` or an `.h5` file.

    Raises:
        UsageError: if it cannot be loaded, or would run code.
    """
    config = keras_files.read_config(path)
    try:
        is_of_keras_2 = keras_files.is_of_keras_2(path)
        if is_of_keras_2:
            config = keras2_config.plain(config)
    except Exception as error:  # of what is in the file in the place of these
        raise keras_errors.cannot_load(path, error) from error
    if not unsafe_deserialization and keras_files.mentions_lambda(config):
        raise keras_errors.has_code(path)
    if is_of_keras_2:
        model = keras2.load(path, config, unsafe_deserialization)
    else:
        model = _load_keras(path, unsafe_deserialization)
    if isinstance(model, Source):
        return model
    if not isinstance(model, keras.Model):
        raise UsageError(
            f"--model={path} holds a {type(model).__name__}, not a model."
        )
    return from_model(model, str(path), path.stat().st_size)


def from_model(model: keras.Model, origin: str, size: int | None) -> Source:
    """A model in memory.

    Args:
        model: any model that has been built.
        origin: string, for messages and the report.
        size: int, bytes on disk, or `None`.

    Raises:
        UsageError: if the model does not say what it takes, or has arguments
            that tfconv's layers do not take.
    """
    if not getattr(model, "inputs", None):
        return _from_subclassed(model, origin, size)
    is_sequential = isinstance(model, keras.Sequential)
    names = _graph_names(
        # A Sequential model has no `input` until it is called.
        model.inputs if is_sequential else model.input,
        model.inputs,
    )
    output_names = _output_names(model)
    try:
        reference = _in_float32(model)
        exported, folds = folding.fold(tfconv.from_keras(reference))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The model {origin} cannot be exported: {reason(error)}."
        ) from error
    depthwise = _ready_for_the_converter(exported)
    return Source(
        origin=origin,
        kind="keras",
        size=size,
        inputs=tuple(
            Input(name, tuple(tensor.shape[1:]), tf.as_dtype(tensor.dtype))
            for name, tensor in zip(names, reference.inputs, strict=True)
        ),
        reference=_named(reference, names, output_names),
        exported=_named(exported, names, output_names),
        trackable=exported,
        folded=(
            *map(str, folds),
            *(f"{path} as a depthwise convolution" for path in depthwise),
        ),
    )


def with_exported(source: Source, model: keras.Model) -> Source:
    """The source, with another functional model of the same ends exported.

    Args:
        source: one of a functional or Sequential model.
        model: a clone of `source.trackable`, its layers' names included.
    """
    _ready_for_the_converter(model)
    names = [item.name for item in source.inputs]
    return dataclasses.replace(
        source,
        exported=_named(model, names, _output_names(model)),
        trackable=model,
    )


def _ready_for_the_converter(model: keras.Model) -> tuple[str, ...]:
    """Changes a model's layers, for good, to forms that it reads well.

    Returns:
        The paths of those that became depthwise convolutions.
    """
    _name_last_axis(model)
    return depthwise_norms.in_graph(model)


def _output_names(model: keras.Model) -> list[str]:
    is_sequential = isinstance(model, keras.Sequential)
    return _graph_names(
        model.outputs if is_sequential else model.output, model.outputs
    )


def _in_float32(model: keras.Model) -> keras.Model:
    """The model, with mixed precision taken out if there is any."""
    if all(
        layer.compute_dtype == "float32"
        for layer in _all_layers(model)
        if not isinstance(layer, keras.layers.InputLayer)
    ):
        return model

    def in_float32(layer):
        is_float = "float" in layer.compute_dtype
        return copy_of(layer, **({"dtype": "float32"} if is_float else {}))

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return clone_with(model, in_float32)
    finally:
        keras.config.set_dtype_policy(policy)


def _name_last_axis(model: keras.Model) -> None:
    """Writes the channel axis as Keras does, so that the converter folds.

    It folds a BatchNormalization over axis -1, and not one over axis 2.
    """
    for layer in _all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.built:
            axes = layer.axis
            axis = axes[0] if isinstance(axes, (list, tuple)) else axes
            if axis == layer.input_spec.ndim - 1:
                layer.axis = -1


def _all_layers(model: keras.Model):
    for layer in model.layers:
        yield layer
        yield from _all_layers(layer) if hasattr(layer, "layers") else ()


def _from_subclassed(
    model: keras.Model, origin: str, size: int | None
) -> Source:
    """A model whose layers are called by Python code of its own.

    It cannot be made anew from its config, as a functional one can: so it is
    changed while it is traced, and back again.
    """
    arguments = _arguments(model)
    if not arguments:
        raise UsageError(
            f"The model {origin} does not say what it takes: it was not called "
            "yet; call it once on an example, then save it."
        )
    shapes, names = [], []
    for argument, structure in arguments.items():
        for path, shape in _shapes(structure, (argument,)):
            shapes.append(shape)
            names.append(path[-1] if isinstance(path[-1], str) else path[0])
    names = unique(names)
    dtype = tf.as_dtype(model.input_dtype)
    if dtype.is_floating:
        dtype = tf.float32

    def named(patched):
        def function(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            values = iter([inputs[name] for name in names])
            packed = {
                argument: _filled(structure, values)
                for argument, structure in arguments.items()
            }
            with patched(model), for_the_converter():
                outputs = model(**packed, training=False)
            return _named_outputs(outputs)

        return function

    return Source(
        origin=origin,
        kind="keras",
        size=size,
        inputs=tuple(
            Input(name, tuple(shape[1:]), dtype)
            for name, shape in zip(names, shapes, strict=True)
        ),
        reference=named(_computing_in_float32),
        exported=named(_computing_with_tfconv),
        trackable=model,
    )


def _arguments(model: keras.Model) -> dict[str, Any]:
    """From each argument of `call` to the shapes it was built with."""
    config = getattr(model, "get_build_config", dict)() or {}
    if "shapes_dict" in config:
        return {
            name.removesuffix("_shape"): shapes
            for name, shapes in config["shapes_dict"].items()
        }
    if config.get("input_shape") is None:
        return {}
    first, *others = inspect.signature(model.call).parameters.values()
    for other in others:
        is_needed = other.default is other.empty and other.kind in (
            other.POSITIONAL_OR_KEYWORD,
            other.KEYWORD_ONLY,
        )
        if is_needed:
            raise UsageError(
                f"The model {model.name} is subclassed, and its call() takes "
                f"{first.name} and {other.name}, but Keras keeps the shape of "
                "the first alone: take them in one dict, call(self, inputs), "
                "or call it on keras.Input()s and export the functional model "
                "that results."
            )
    return {first.name: config["input_shape"]}


def _shapes(structure, path) -> Iterator[tuple[tuple, tuple]]:
    """Every shape in a structure of them, with the way to it."""
    if isinstance(structure, dict):
        for key, value in structure.items():
            yield from _shapes(value, (*path, key))
    elif all(size is None or isinstance(size, int) for size in structure):
        yield path, tuple(structure)
    else:
        for index, value in enumerate(structure):
            yield from _shapes(value, (*path, index))


def _filled(structure, values: Iterator):
    """The structure, with the next value in the place of each shape."""
    if isinstance(structure, dict):
        return {key: _filled(value, values) for key, value in structure.items()}
    if all(size is None or isinstance(size, int) for size in structure):
        return next(values)
    return [_filled(value, values) for value in structure]


def _named_outputs(outputs) -> dict[str, tf.Tensor]:
    pairs = keras.tree.flatten_with_path(outputs)
    names = unique(
        path[-1] if path and isinstance(path[-1], str) else "output"
        for path, _ in pairs
    )
    return dict(zip(names, (value for _, value in pairs), strict=True))


@contextlib.contextmanager
def _computing_in_float32(model: keras.Model):
    """Takes mixed precision out of the model's layers, for a while."""
    policies = [
        (layer, layer.dtype_policy)
        for layer in model._flatten_layers()
        if "float" in layer.compute_dtype and layer.compute_dtype != "float32"
    ]
    try:
        for layer, _ in policies:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in policies:
            layer.dtype_policy = policy


@contextlib.contextmanager
def _computing_with_tfconv(model: keras.Model):
    """Has Keras's layers compute what exports best, for a while."""
    calls = []
    try:
        with _computing_in_float32(model):
            for layer in model._flatten_layers():
                twin = sharing_weights(layer)
                if twin is not None:
                    calls.append(layer)
                    layer.call = twin.call
            for norm in depthwise_norms.norms_of(model):
                calls.append(norm)
                norm.call = depthwise_norms.as_depthwise(norm)
            yield
    finally:
        for layer in calls:
            del layer.call


def _named(model: keras.Model, names: list[str], output_names: list[str]):
    def function(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        values = [inputs[name] for name in names]
        # A functional model may take them in a list or in a dict.
        if isinstance(model, keras.Sequential):
            (packed,) = values
        else:
            packed = keras.tree.pack_sequence_as(model.input, values)
        with for_the_converter():
            outputs = keras.tree.flatten(model(packed, training=False))
        return dict(zip(output_names, outputs, strict=True))

    return function


def _graph_names(structure, tensors) -> list[str]:
    """Names of a functional model's ends: a dict's keys, or the layers'."""
    paths = [path for path, _ in keras.tree.flatten_with_path(structure)]
    return unique(
        path[-1]
        if path and isinstance(path[-1], str)
        # The layer's name: the tensor's own is a running number.
        else tensor._keras_history.operation.name
        for path, tensor in zip(paths, tensors, strict=True)
    )


def _load_keras(path: pathlib.Path, unsafe: bool) -> keras.Model:
    try:
        with bounded_weights(keras.Layer, path):
            return keras.saving.load_model(
                path,
                # What a model was trained with may be unknown here.
                compile=False,
                safe_mode=not unsafe,
            )
    except Exception as error:
        raise keras_errors.cannot_load(path, error) from error
