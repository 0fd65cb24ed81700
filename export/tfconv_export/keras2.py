"""Model configs that Keras 2 wrote, in the words of Keras 3."""

import json
import pathlib
import shutil
from typing import Any

import h5py

import tfconv


def in_words_of_keras_3(
    path: pathlib.Path, config: Any, directory: str
) -> pathlib.Path:
    """The .h5 file, or a copy of it with the config as Keras 3 writes it.

    Args:
        path: the file.
        config: its model config, which is changed.
        directory: where the copy may lie.
    """
    before = json.dumps(config)
    _modernize(config)
    if json.dumps(config) == before:
        return path
    copy = shutil.copy(path, pathlib.Path(directory, "model.h5"))
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    return copy


def _modernize(config: Any) -> None:
    for value in config.values() if isinstance(config, dict) else config:
        if isinstance(value, (dict, list)):
            _modernize(value)
    if not isinstance(config, dict) or not isinstance(
        config.get("config"), dict
    ):
        return
    name, arguments = config.get("class_name"), config["config"]
    if name in ("DepthwiseConv1D", "SeparableConv1D"):
        # They inherited from Keras 2's Conv1D: their configs name arguments of
        # its kernel that they ignored, and its causal padding, that worked.
        for ignored in ("initializer", "regularizer", "constraint"):
            arguments.pop(f"kernel_{ignored}", None)
        arguments.pop("groups", None)
        if arguments.get("padding") == "causal":
            layer_class = getattr(tfconv, name)
            config["module"] = layer_class.__module__
            config["registered_name"] = f"tfconv>{name}"
            config["class_name"] = f"tfconv>{name}"
    axis = arguments.get("axis")
    if name == "BatchNormalization" and isinstance(axis, list):
        (arguments["axis"],) = axis
