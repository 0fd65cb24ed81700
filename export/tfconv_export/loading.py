"""From a path, or a model in memory, to a source."""

import importlib.util
import os
import pathlib

import keras

from tfconv_export import bounded
from tfconv_export import keras_source
from tfconv_export import saved_model
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason
from tfconv_export.source import Source


def load(
    model: "keras.Model | os.PathLike | str",
    *,
    unsafe_deserialization: bool = False,
    signature: str | None = None,
) -> Source:
    """Loads a model.

    Args:
        model: path of a `.keras` or `.h5` file of Keras 3 or 2, or of a
            SavedModel directory; or a built Keras model.
        unsafe_deserialization: whether a file may hold `Lambda` layers, whose
            Python code is run, and a SavedModel operations that do more than
            compute.
        signature: string, which one of a SavedModel.

    Raises:
        UsageError: if there is no such model, or it cannot be loaded.
    """
    if isinstance(model, keras.Model):
        return keras_source.from_model(model, model.name, None)
    path = pathlib.Path(model)
    if not path.exists():
        raise UsageError(f"--model={path} does not exist.")
    if path.is_dir():
        return saved_model.from_directory(
            path, signature, unsafe_deserialization
        )
    bounded.check_regular(path, f"--model={path}")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise UsageError(
            f"--model={path} is neither a .keras file, nor an .h5 file, nor a "
            "SavedModel directory."
        )
    if signature is not None:
        raise UsageError(
            f"--signature={signature} is of a SavedModel, and --model={path} "
            "is none; leave it out."
        )
    return keras_source.from_file(path, unsafe_deserialization)


def run_module(path: "os.PathLike | str") -> None:
    """Runs a Python file, for the layers that it registers with Keras.

    Raises:
        UsageError: if there is no such file, or it fails.
    """
    path = pathlib.Path(path)
    if not path.is_file() or path.suffix != ".py":
        raise UsageError(
            f"--custom_module={path} must be a Python file (.py) that exists."
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"--custom_module={path} failed: {type(error).__name__}: "
            f"{reason(error)}."
        ) from error
