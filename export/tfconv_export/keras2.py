"""Models of Keras 2: read by Keras 3 where it can, else by tf-keras.

Keras 3 gets the config in its own words, so that its layers are known and can
be lowered. What it refuses is left to tf-keras; of that the graph is known.
"""

import contextlib
import pathlib
import shutil
from typing import Any

import keras

from tfconv_export import keras2_config
from tfconv_export import keras2_graph
from tfconv_export import keras2_weights
from tfconv_export import keras_files
from tfconv_export import scratch
from tfconv_export.source import Source
from tfconv_export.weight_bounds import bounded_weights


def load(
    path: pathlib.Path, config: Any, unsafe: bool
) -> "keras.Model | Source":
    """Loads a model that Keras 2 wrote.

    Args:
        path: of the file, HDF5 or zip.
        config: its model config, as from `keras2_config.plain`.
        unsafe: bool, whether it may run code.

    Returns:
        The model in Keras 3, its weights in place; a source of tf-keras's
        graph if Keras 3 cannot take it.

    Raises:
        UsageError: if neither can, or if tf-keras is needed and missing.
    """
    with scratch.folder() as directory:
        # Both tell formats by the suffix.
        is_hdf5 = keras_files.is_hdf5(path)
        suffix = "h5" if is_hdf5 else "keras"
        copy = pathlib.Path(directory, f"model.{suffix}")
        shutil.copy(path, copy)
        refusal = None
        if is_hdf5:
            try:
                return _in_keras_3(copy, config, unsafe)
            except Exception as error:  # whatever a layer raises
                refusal = error
        model = keras2_graph.load(path, copy, config, unsafe, refusal)
        again = pathlib.Path(directory, "again.h5")
        with contextlib.suppress(Exception):
            # As the newest of Keras 2 writes it.
            keras2_graph.save(model, again)
            newest = keras2_config.plain(keras_files.read_config(again))
            return _in_keras_3(again, newest, unsafe)
    return keras2_graph.source(model, path)


def _in_keras_3(path: pathlib.Path, config: Any, unsafe: bool) -> keras.Model:
    with bounded_weights(keras.Layer, path):
        model = keras.saving.deserialize_keras_object(
            keras2_config.for_keras_3(config), safe_mode=not unsafe
        )
    keras2_weights.load(model, path)
    return model
