"""What is in a file of Keras, as far as it can be told without loading it."""

import io
import json
import math
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py

from tfconv_export import bounded
from tfconv_export import trial
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason

# Far fewer than HDF5 reads of the most densely packed file.
_BYTES_PER_SECOND = 1_000_000
# Lists and dicts in one another; a model in a model adds four to eight.
_MAX_DEPTH = 200


def read_config(path: pathlib.Path) -> Any:
    """The config of the model in a `.keras` or an `.h5` file.

    Raises:
        UsageError: if the file is damaged, or holds no model, or is far too
            large when it is unpacked.
    """
    is_zip = path.suffix == ".keras" and not is_hdf5(path)
    config = _keras_config(path) if is_zip else _h5_config(path)
    if any(depth > _MAX_DEPTH for _, depth in _parts(config)):
        raise UsageError(
            f"--model={path} is damaged: its config is nested more than "
            f"{_MAX_DEPTH} levels deep."
        )
    return config


def is_hdf5(path: pathlib.Path) -> bool:
    """Tells whether the file is HDF5, and not a zip file that holds some."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def is_of_keras_2(path: pathlib.Path) -> bool:
    """Tells whether Keras 2, or tf-keras, wrote a file that has a config.

    Args:
        path: of a `.keras` or an `.h5` file; Keras 2 wrote HDF5 in both.
    """
    if is_hdf5(path):
        with h5py.File(path, "r") as file:
            version = file.attrs.get("keras_version", "2")
    else:
        with zipfile.ZipFile(path) as archive:
            limit = bounded.most_unpacked(path.stat().st_size)
            content = bounded.unzip(archive, "metadata.json", limit)
        metadata = json.loads(content)
        version = metadata.get("keras_version", "3")
    if isinstance(version, bytes):
        version = version.decode()
    return str(version).startswith(("1.", "2"))


def mentions_lambda(config: Any) -> bool:
    """Whether a config has Python code in it."""
    return any(
        isinstance(value, dict)
        and value.get("class_name") in ("Lambda", "__lambda__")
        for value, _ in _parts(config)
    )


def _parts(config: Any) -> Iterator[tuple[Any, int]]:
    """Every value in a config, and in how many others it is."""
    waiting = [(config, 0)]  # not recursive: it may be nested without end
    while waiting:
        value, depth = waiting.pop()
        yield value, depth
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(value, (dict, list)):
            waiting.extend((part, depth + 1) for part in inner)


def _keras_config(path: pathlib.Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_unpacked_size(archive, path)
            limit = bounded.most_unpacked(path.stat().st_size)
            for name in archive.namelist():
                if name.endswith(".h5"):
                    weights = bounded.unzip(archive, name, limit)
                    _check_arrays(io.BytesIO(weights), len(weights))
            return json.loads(bounded.unzip(archive, "config.json", limit))
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
    if unpacked > bounded.most_unpacked(size):
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


def _check_arrays(file: "pathlib.Path | io.BytesIO", size: int) -> None:
    """Makes sure that an HDF5 file can be read, and that all of it is in it.

    Raises:
        ValueError or another: if not.
    """
    # A damaged one may end the process in HDF5's library, or never end there.
    signum = trial.crash(
        lambda: _read_arrays(file, size), 2 + size // _BYTES_PER_SECOND
    )
    if signum is not None:
        raise ValueError(f"reading it ends with {signum}")
    _read_arrays(file, size, values=False)


def _read_arrays(file, size: int, values: bool = True) -> None:
    datasets = []

    def visit(name: str, item: "h5py.Dataset | h5py.Group") -> None:
        list(item.attrs.items())
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"{name} is in another file")
            datasets.append(item)

    def outside(name: str, link) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    with h5py.File(file, "r") as opened:
        name = opened.visititems_links(outside)
        if name is not None:
            raise ValueError(f"{name} is in another file")
        visit("/", opened)
        opened.visititems(visit)
        unpacked = sum(
            math.prod(item.shape or ()) * item.dtype.itemsize
            for item in datasets
        )
        if unpacked > bounded.most_unpacked(size):
            raise ValueError(f"its {size:,} bytes would unpack to {unpacked:,}")
        if values:
            for item in datasets:
                item[()]


def _h5_config(path: pathlib.Path) -> Any:
    try:
        _check_arrays(path, path.stat().st_size)
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
