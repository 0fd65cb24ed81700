"""What is in a file of Keras, as far as it can be told without loading it."""

import json
import pathlib
import zipfile
from typing import Any

import h5py

from tfconv_export.errors import UsageError
from tfconv_export.errors import reason

# Keras stores the members of a .keras file as they are; someone may have
# packed them since.
_MAX_EXPANSION = 100
_MIN_BOMB = 1 << 26


def read_config(path: pathlib.Path) -> Any:
    """The config of the model in a `.keras` or an `.h5` file.

    Raises:
        UsageError: if the file is damaged, or holds no model, or is far too
            large when it is unpacked.
    """
    if path.suffix == ".keras" and not is_hdf5(path):
        return _keras_config(path)
    return _h5_config(path)


def is_hdf5(path: pathlib.Path) -> bool:
    """Whether the file is HDF5, and not a zip file that holds some."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def is_of_keras_2(path: pathlib.Path) -> bool:
    """Whether Keras 2, or tf-keras, wrote a file that has a config.

    Args:
        path: of a `.keras` or an `.h5` file; Keras 2 wrote HDF5 in both.
    """
    if is_hdf5(path):
        with h5py.File(path, "r") as file:
            version = file.attrs.get("keras_version", "2")
    else:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read("metadata.json"))
        version = metadata.get("keras_version", "3")
    if isinstance(version, bytes):
        version = version.decode()
    return str(version).startswith(("1.", "2"))


def mentions_lambda(config: Any) -> bool:
    """Whether a config has Python code in it."""
    waiting = [config]  # not recursive: it may be nested without end
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("class_name") in ("Lambda", "__lambda__"):
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def _keras_config(path: pathlib.Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_unpacked_size(archive, path)
            return json.loads(archive.read("config.json"))
    except UsageError:
        raise
    except Exception as error:
        # zipfile and json raise whatever they do: zlib.error, RecursionError...
        raise UsageError(
            f"--model={path} is not a whole .keras file: {reason(error)}."
        ) from error


def _check_unpacked_size(archive: zipfile.ZipFile, path: pathlib.Path) -> None:
    """Refuses what a small file would fill the memory or the disk with."""
    members = archive.infolist()
    unpacked = sum(info.file_size for info in members)
    size = path.stat().st_size
    if unpacked > max(_MIN_BOMB, _MAX_EXPANSION * size):
        raise UsageError(
            f"--model={path} is not a .keras file as Keras writes it: its "
            f"{size:,} bytes would unpack to {unpacked:,}; save the model "
            "again."
        )
    for info in members:
        # What declares too little is unpacked whole, too, and then cut off.
        if info.compress_size > 1.01 * info.file_size + 100:
            raise UsageError(
                f"--model={path} is not a whole .keras file: {info.filename} "
                f"has {info.compress_size:,} bytes, and would unpack to "
                f"{info.file_size:,}."
            )


def _h5_config(path: pathlib.Path) -> Any:
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except Exception as error:  # h5py raises KeyError and RuntimeError, too
        raise UsageError(
            f"--model={path} is not a whole HDF5 file: {reason(error)}."
        ) from error
    if config is None:
        raise UsageError(
            f"--model={path} holds weights only; save the whole model with "
            "model.save()."
        )
    try:
        return json.loads(config)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"--model={path} is damaged: its config is not JSON: "
            f"{reason(error)}."
        ) from error
