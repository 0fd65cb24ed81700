"""A trained model, from wherever it lies, as a function of tensors."""

import dataclasses
import json
import operator
import os
import pathlib
import re
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import keras
import tensorflow as tf

import tfconv
from tfconv.conversion import clone_with
from tfconv_export import keras2
from tfconv_export.errors import UsageError
from tfconv_export.folding import fold_channels_first


# Both are from tensors, by the inputs' names, to tensors by the outputs'.
Function = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of a model.

    Attributes:
        name: string, a name that TensorFlow accepts.
        shape: tuple, without the batch; `None` where it is open.
        dtype: `tf.DType`.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: tf.DType


@dataclasses.dataclass(frozen=True)
class Source:
    """A model to be exported.

    Attributes:
        origin: string, the path, or the name of an in-memory model.
        kind: string, `"keras"` or `"saved_model"`.
        size: int, bytes on disk; `None` in memory.
        inputs: tuple, in the model's order.
        reference: from tensors of shape `(b, *shape)`, by input, to those of
            the outputs: the model as it was trained, in inference mode.
        exported: the same function, from tfconv's layers where it can be.
        trackable: the object that holds the variables of `exported`.
    """

    origin: str
    kind: str
    size: int | None
    inputs: tuple[Input, ...]
    reference: Function
    exported: Function
    trackable: Any


def load(
    model: "keras.Model | os.PathLike | str",
    unsafe_deserialization: bool = False,
) -> Source:
    """Loads a model.

    Args:
        model: path of a `.keras` file, an `.h5` file of Keras 3 or 2, or a
            SavedModel directory; or a built Keras model.
        unsafe_deserialization: whether a file may hold `Lambda` layers, whose
            Python code is run.

    Raises:
        UsageError: if there is no such model, or it cannot be loaded.
    """
    if isinstance(model, keras.Model):
        return _from_keras(model, model.name, None)
    path = pathlib.Path(model)
    if not path.exists():
        raise UsageError(f"--model={path} does not exist.")
    if path.is_dir():
        return _from_saved_model(path)
    if path.suffix == ".keras":
        config = _keras_config(path)
    elif path.suffix in (".h5", ".hdf5"):
        config = _h5_config(path)
    else:
        raise UsageError(
            f"--model={path} is neither a .keras file, nor an .h5 file, nor a "
            "SavedModel directory."
        )
    if not unsafe_deserialization and _mentions_lambda(config):
        raise _has_code(path)
    loaded = _load_keras(path, config, unsafe_deserialization)
    return _from_keras(loaded, str(path), path.stat().st_size)


def fix_shape(source: Source, shape: tuple[int, ...] | None) -> Source:
    """The source with no open dimension left.

    Args:
        source: as from `load`.
        shape: the wanted input shape, without the batch, or `None`.

    Raises:
        UsageError: if a dimension stays open, or the model takes another.
    """
    known = source.input_shape
    wanted = known if shape is None else tuple(map(operator.index, shape))
    fits = len(wanted) == len(known) and all(
        dim in (None, want) for dim, want in zip(known, wanted, strict=True)
    )
    if not fits:
        raise UsageError(
            f"--input_shape={_comma(wanted)} does not fit the model, whose "
            f"input shape without the batch is ({_comma(known)})."
        )
    if None in wanted:
        example = _comma(98 if dim is None else dim for dim in known)
        raise UsageError(
            f"The model leaves its input shape open: ({_comma(known)}) "
            "without the batch; fix it with --input_shape, for example "
            f"--input_shape={example}."
        )
    if not all(isinstance(dim, int) and dim > 0 for dim in wanted):
        raise UsageError(
            f"--input_shape={_comma(wanted)} must hold sizes greater than 0."
        )
    spec = tf.TensorSpec((1, *wanted), source.input_dtype)
    try:
        tf.function(source.reference, autograph=False).get_concrete_function(
            spec
        )
    except Exception as error:
        raise UsageError(
            f"The model cannot take inputs of shape ({_comma(wanted)}): "
            f"{_reason(error)}."
        ) from error
    return dataclasses.replace(source, input_shape=wanted)


def _comma(dims) -> str:
    return ",".join("?" if dim is None else str(dim) for dim in dims)


def _from_keras(model: keras.Model, origin: str, size: int | None) -> Source:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise UsageError(
            f"The model {origin} does not say what it takes: it is not built, "
            "or it is subclassed; export a functional or Sequential model "
            "that has an input."
        )
    if len(inputs) != 1:
        raise UsageError(
            f"The model {origin} has {len(inputs)} inputs; a model with one "
            "input is needed."
        )
    _, *shape = inputs[0].shape
    names = _output_names(model)
    reference = _in_float32(model)
    try:
        exported = fold_channels_first(tfconv.from_keras(reference))
    except ValueError as error:
        raise UsageError(
            f"The model {origin} cannot be exported: {_reason(error)}."
        ) from error
    _name_last_axis(exported)
    return Source(
        origin=origin,
        kind="keras",
        size=size,
        input_name=_tensor_name(
            # The layer's name: the tensor's own is a running number.
            inputs[0]._keras_history.operation.name
        ),
        input_shape=tuple(shape),
        input_dtype=tf.as_dtype(reference.inputs[0].dtype),
        reference=_named(reference, names),
        exported=_named(exported, names),
        trackable=exported,
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
        config = layer.get_config()
        if "float" in layer.compute_dtype:
            config["dtype"] = "float32"
        return type(layer).from_config(config)

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


def _named(model: keras.Model, names: list[str]):
    def function(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        # A functional model may take its one input in a list or in a dict.
        if not isinstance(model, keras.Sequential):
            inputs = keras.tree.pack_sequence_as(model.input, [inputs])
        outputs = keras.tree.flatten(model(inputs, training=False))
        return dict(zip(names, outputs, strict=True))

    return function


def _output_names(model: keras.Model) -> list[str]:
    names = []
    for index, output in enumerate(model.outputs):
        name = _tensor_name(output._keras_history.operation.name)
        while name in names:
            name = f"{name}_{index}"
        names.append(name)
    return names


def _tensor_name(name: str) -> str:
    """The name, without what TensorFlow does not allow in one."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name).lstrip("_.") or "tensor"


def _from_saved_model(path: pathlib.Path) -> Source:
    if not (path / "saved_model.pb").is_file():
        raise UsageError(
            f"--model={path} is a directory, but not a SavedModel: it holds "
            "no saved_model.pb."
        )
    try:
        loaded = tf.saved_model.load(str(path))
        signatures = loaded.signatures
    except Exception as error:
        raise _cannot_load(path, error) from error
    name = "serving_default"
    if name not in signatures:
        if len(signatures) != 1:
            raise UsageError(
                f"--model={path} has no signature {name}; it has: "
                f"{', '.join(signatures) or 'none'}."
            )
        name = next(iter(signatures))
    signature = signatures[name]
    specs = signature.structured_input_signature[1]
    if len(specs) != 1:
        raise UsageError(
            f"The signature {name} of --model={path} has {len(specs)} inputs; "
            "a model with one input is needed."
        )
    (input_name, spec), *_ = specs.items()
    if not spec.shape.rank or spec.shape[0] not in (None, 1):
        raise UsageError(
            f"The input {input_name} of --model={path} has shape {spec.shape};"
            " its first dimension must be the batch, open or 1."
        )

    def function(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature(**{input_name: inputs})

    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    return Source(
        origin=str(path),
        kind="saved_model",
        size=size,
        input_name=_tensor_name(input_name),
        input_shape=tuple(spec.shape[1:]),
        input_dtype=spec.dtype,
        reference=function,
        exported=function,
        trackable=loaded,
    )


def _load_keras(path: pathlib.Path, config: Any, unsafe: bool) -> keras.Model:
    try:
        with tempfile.TemporaryDirectory(prefix="tfconv-") as directory:
            model = keras.saving.load_model(
                path
                if path.suffix == ".keras"
                else keras2.in_words_of_keras_3(path, config, directory),
                # What a model was trained with may be unknown here.
                compile=False,
                safe_mode=not unsafe,
            )
    except Exception as error:
        if not unsafe and re.search(
            "deserialization of a.*lambda", str(error), re.IGNORECASE
        ):
            raise _has_code(path) from error
        raise _cannot_load(path, error) from error
    if not isinstance(model, keras.Model):
        raise UsageError(
            f"--model={path} holds a {type(model).__name__}, not a model."
        )
    return model


def _has_code(path: pathlib.Path) -> UsageError:
    return UsageError(
        f"--model={path} has a Lambda, whose Python code loading the file "
        "would run; pass --unsafe_deserialization if you trust where the file "
        "comes from."
    )


def _cannot_load(path: pathlib.Path, error: Exception) -> UsageError:
    return UsageError(f"--model={path} cannot be loaded: {_reason(error)}.")


def _reason(error: Exception) -> str:
    """What an exception says first, on one line, without terminal colors."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Keras puts where it happened before what happened.
    if len(lines) > 1 and lines[0].startswith("Exception encountered when"):
        lines = lines[1:]
    return (lines or [type(error).__name__])[0].rstrip(".")


def _keras_config(path: pathlib.Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise UsageError(
            f"--model={path} is not a whole .keras file: {error}."
        ) from error


def _h5_config(path: pathlib.Path) -> Any:
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except Exception as error:  # h5py raises KeyError and RuntimeError, too
        raise UsageError(
            f"--model={path} is not a whole HDF5 file: {error}."
        ) from error
    if config is None:
        raise UsageError(
            f"--model={path} holds weights only; save the whole model with "
            "model.save()."
        )
    try:
        return json.loads(config)
    except ValueError as error:
        raise UsageError(
            f"--model={path} is damaged: its config is not JSON: {error}."
        ) from error


def _mentions_lambda(config: Any) -> bool:
    if isinstance(config, dict):
        if config.get("class_name") in ("Lambda", "__lambda__"):
            return True
        return any(_mentions_lambda(value) for value in config.values())
    if isinstance(config, list):
        return any(_mentions_lambda(value) for value in config)
    return False
