"""Examples from files, functions or memory: found, and read one at a time.

| given                           | an example is                          |
|---------------------------------|----------------------------------------|
| `.npy` file                     | one step along the first axis          |
| `.npz` file, arrays, dict       | one step along the first axis of each  |
| directory or `*` of `.npy/.npz` | as above, or a whole file; sorted      |
| TFRecord file, directory, `*`   | a record                               |
| function, `tf.data.Dataset`     | what it yields, without a batch axis   |
"""

import glob
import importlib
import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfconv_export.data import tfrecords
from tfconv_export.data.fields import LABELS
from tfconv_export.data.fields import Wanted
from tfconv_export.data.numpy_files import NumpyFile
from tfconv_export.data.readers import ArrayReader
from tfconv_export.data.readers import Arrays
from tfconv_export.data.readers import Reader
from tfconv_export.data.readers import StreamReader
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason

_FUNCTION = re.compile(r"(.+\.py|[A-Za-z_][\w.]*):([A-Za-z_]\w*)")


def open_data(
    data: Any,
    argument: str = "representative_data",
    key: str | None = None,
    feature_spec: "os.PathLike | str | dict | None" = None,
    labelled: bool = False,
    label_key: str | None = None,
) -> Reader:
    """Finds data, and looks at no more of it than its headers.

    Args:
        data: a path or a pattern such as `data/*.tfrecord`; a function that
            takes nothing and yields examples, or `module:function` or
            `path.py:function`; a `tf.data.Dataset` of examples without a batch
            axis (`dataset.unbatch()`); an array, a dict of arrays, or, where
            labelled, a pair `(x, y)`. See the module for what an example is.
            Functions and datasets give arrays, dicts of arrays by input, or
            pairs `(x, y)` of one of them and a label. They are started anew
            several times, and must give the same examples every time.
        argument: string, the flag that messages name.
        key: string, the name of the array that is the one input.
        feature_spec: what is in TFRecords; see `tfrecords`.
        labelled: bool, whether every example has a label: an integer, or a row
            with a number for each class.
        label_key: string, the name of the labels' array; by default one of
            `fields.LABELS`.

    Raises:
        UsageError: if there is nothing of this kind.
    """
    wanted = Wanted(argument, key, labelled, label_key)
    kind = f" ({argument})" if argument == "evaluation_data" else ""
    if isinstance(data, (str, os.PathLike)):
        path = os.fspath(data)
        origin = f"--{argument}={path}"
        called = _FUNCTION.fullmatch(path)
        if called and not os.path.exists(path):
            function = _load_function(*called.groups(), origin)
            return StreamReader(
                origin, wanted, lambda: _call(function, origin, label_key)
            )
        if argument == "data_function":
            raise UsageError(
                f"{origin} must be module:function or path.py:function."
            )
        return _open_files(path, origin, wanted, feature_spec)
    if isinstance(data, tf.data.Dataset):
        origin = f"the given dataset{kind}"
        return StreamReader(
            origin,
            wanted,
            lambda: _call(data.as_numpy_iterator, origin, label_key),
        )
    if isinstance(data, Iterator):
        raise UsageError(
            f"{argument} must be the function that makes the generator, since "
            "the examples are gone through more than once, not the "
            f"{type(data).__name__} itself."
        )
    if callable(data) and not hasattr(data, "__array__"):
        origin = f"the given function{kind}"
        return StreamReader(
            origin, wanted, lambda: _call(data, origin, label_key)
        )
    origin = f"the given array{kind}"
    try:
        arrays = _named(data, label_key, may_pair=labelled)
    except ValueError as error:
        raise UsageError(
            f"{origin} must hold examples of one shape: {reason(error)}."
        ) from error
    return ArrayReader(origin, wanted, [Arrays(arrays, origin)], False)


def find_files(path: str, origin: str) -> list[pathlib.Path]:
    """The files that a path of data stands for: those of a function, too.

    Args:
        path: of a file or a directory, or a pattern, or `path.py:function`.
        origin: string, how messages name the data.

    Returns:
        The files; none where there are none, or where a module is to be found.

    Raises:
        UsageError: if the system does not let us look.
    """
    try:
        # Not pathlib's is_dir(): that of "" is the folder we are in.
        if os.path.isdir(path):
            items = pathlib.Path(path).iterdir()
            return sorted(item for item in items if _kind(item))
        if os.path.isfile(path):
            return [pathlib.Path(path)]
        called = _FUNCTION.fullmatch(path)
        if called:
            module = pathlib.Path(called[1])
            return [module] if module.suffix == ".py" else []
        if re.search(r"[*?[]", path):
            found = map(pathlib.Path, sorted(glob.glob(path, recursive=True)))
            return [item for item in found if item.is_file()]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{origin} cannot be read: {reason(error)}."
        ) from error
    return []


def _open_files(path: str, origin: str, wanted, feature_spec) -> Reader:
    given = pathlib.Path(path)
    files = find_files(path, origin)
    if not files:
        what = "is not a file"
        if os.path.isdir(path):
            what = "holds no .npy, .npz or .tfrecord files"
        elif re.search(r"[*?[]", path):
            what = "matches no file"
        raise UsageError(f"{origin} {what}.")
    origins = {file: f"--{wanted.argument}={file}" for file in files}
    kinds = {_kind(file) for file in files}
    if kinds == {"numpy"}:
        parts = [NumpyFile(file, origins[file]) for file in files]
        return ArrayReader(origin, wanted, parts, files != [given])
    if kinds == {"tfrecord"} or (None in kinds and feature_spec is not None):
        spec = None
        if feature_spec is not None:
            spec = tfrecords.parse_spec(feature_spec)
            if not wanted.labelled:
                # One specification may be of both data sets.
                spec = {
                    name: feature
                    for name, feature in spec.items()
                    if name not in LABELS or name == wanted.key
                }
            if not spec:
                raise UsageError(
                    f"{origin} needs a --feature_spec of more than labels: "
                    "name the features of the model's inputs, too."
                )
        else:
            next(tfrecords.read(files[0], None, origins[files[0]]))
        return StreamReader(
            origin,
            wanted,
            lambda: (
                example
                for file in files
                for example in tfrecords.read(file, spec, origins[file])
            ),
        )
    if None in kinds:
        other = next(file for file in files if _kind(file) is None)
        raise UsageError(
            f"{origins[other]} must be a .npy, a .npz or a .tfrecord file; "
            "TFRecord files of other names need --feature_spec."
        )
    raise UsageError(
        f"{origin} holds NumPy and TFRecord files; give one of the two."
    )


def _kind(path: pathlib.Path) -> str | None:
    if path.suffix in (".npy", ".npz"):
        return "numpy"
    # Also data.tfrecord-00000-of-00010 and data.tfrecord.gz.
    return "tfrecord" if ".tfrec" in path.name else None


def _load_function(module: str, name: str, origin: str) -> Callable:
    is_file = module.endswith(".py")
    folder = os.path.abspath(os.path.dirname(module) if is_file else ".")
    sys.path.insert(0, folder)
    try:
        if is_file:
            # Not its own name: it may be that of a module which others need.
            alias = f"_tfconv_export_{pathlib.Path(module).stem}"
            spec = importlib.util.spec_from_file_location(alias, module)
            loaded = importlib.util.module_from_spec(spec)
            sys.modules[alias] = loaded
            spec.loader.exec_module(loaded)
        else:
            loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{origin} cannot be imported: {type(error).__name__}: "
            f"{reason(error)}."
        ) from error
    finally:
        # Behind all others, for what the function itself may import.
        if sys.path[:1] == [folder]:
            del sys.path[0]
        if folder not in sys.path:
            sys.path.append(folder)
    function = getattr(loaded, name, None)
    if not callable(function):
        what = (
            f"a {type(function).__name__}" if function is not None else "none"
        )
        raise UsageError(
            f"{origin} must name a function, but {name} in {module} is {what}."
        )
    return function


def _call(
    function: Callable, origin: str, label_key: str | None
) -> Iterator[dict[str, np.ndarray]]:
    """What a user's function yields, by name."""
    done = 0
    try:
        for item in function():
            yield _named(item, label_key, may_pair=True)
            done += 1
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{origin} failed after {done} examples: {type(error).__name__}: "
            f"{reason(error)}."
        ) from error


def _named(item, label_key: str | None, may_pair: bool):
    """Arrays by name, from an array, a dict of them, or a pair with labels."""
    if may_pair and isinstance(item, tuple):
        if len(item) != 2:
            raise ValueError(
                f"a tuple of {len(item)} was given, where (x, y) is needed"
            )
        named = _named(item[0], label_key, may_pair=False)
        return {**named, label_key or "label": _label(item[1])}
    if isinstance(item, dict):
        return {str(name): np.asarray(array) for name, array in item.items()}
    return {"": np.asarray(item)}


def _label(value) -> np.ndarray:
    """The label as an array; of objects if it is one for each output."""
    try:
        return np.asarray(value)
    except ValueError:  # of arrays of several shapes
        return np.asarray(dict(enumerate(value)), object)
