"""Model configs of Keras 2, in words that the readers of today know."""

import inspect
import re
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import keras

import tfconv

_OLD_NAMES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "Model": "Functional",
    "UnifiedGRU": "GRU",
    "UnifiedLSTM": "LSTM",
}
# What training starts from and is kept to.
_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
# Arguments that Keras 3 lacks, with the values that do nothing; `...` for any.
_WITHOUT_EFFECT = {
    "batch_input_shape": ...,
    "dynamic": (False,),
    "function_type": ("lambda",),
    "fused": ...,
    "groups": ...,  # which DepthwiseConv2D and the like inherited
    "implementation": ...,
    "input_length": ...,
    "key_shape": ...,
    "module": ...,  # which Lambda was written in
    "noise_shape": ...,
    "optional": (False,),
    "output_shape_module": ...,
    "output_shape_type": ("raw",),
    "query_shape": ...,
    "ragged": (False,),
    "renorm": (False,),
    "rng_type": ...,
    "softmax_robust_masking": (False,),
    "time_major": (False,),
    "trainable": ...,
    "value_shape": ...,
    "virtual_batch_size": (None,),
}
# Keras 3 has their causal padding no more.
_CAUSAL = ("DepthwiseConv1D", "SeparableConv1D")
# What Keras 3 has under the same name does something else in inference.
_OTHERS = ("RandomCrop",)


@keras.saving.register_keras_serializable(package="tfconv_export")
def hard_sigmoid_of_keras_2(x):
    """Computes what Keras 2 called so; Keras 3's rises by 1/6."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def plain(config: Any) -> Any:
    """The config as Keras 2 wrote it before it named modules.

    Modules are left out, as a reader would import them; and what training
    alone needs, with the precision that it computed in.

    Args:
        config: as from `keras_files.read_config`; it is not changed.

    Returns:
        The config; all objects in it have a `class_name` and a `config`.
    """
    if isinstance(config, list):
        return [plain(value) for value in config]
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or "config" not in config:
        return {key: plain(value) for key, value in config.items()}
    name, arguments = config["class_name"], config["config"]
    registered = config.get("registered_name")
    if name == "__lambda__":
        return config
    if name == "function":
        return arguments if registered in (None, name) else registered
    if "Policy" in name:
        return re.sub(r"mixed_.*|b?float16", "float32", arguments["name"])
    name = _OLD_NAMES.get(name, registered or name)
    if isinstance(arguments, list):  # a Sequential before Keras 2.2.3
        arguments = {"name": "sequential", "layers": arguments}
    found = {
        "class_name": name,
        "config": {
            key: plain(value)
            for key, value in arguments.items()
            if not (_is_layer(name) and key.endswith(_TRAINING_ONLY))
        },
    }
    for key in ("name", "inbound_nodes"):
        if key in config:
            found[key] = plain(config[key])
    return found


def objects(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The class name and the arguments of every object in a plain config."""
    if isinstance(config, dict):
        if "class_name" in config and isinstance(config.get("config"), dict):
            yield config["class_name"], config["config"]
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from objects(value)


def with_registered_names(config: Any, known: Iterable[str]) -> Any:
    """The config, its custom classes called as they are registered.

    Args:
        config: as from `plain`.
        known: the full names of the custom objects.
    """
    if isinstance(config, list):
        return [with_registered_names(value, known) for value in config]
    if not isinstance(config, dict):
        return config
    found = {
        key: with_registered_names(value, known)
        for key, value in config.items()
    }
    if "class_name" in found:
        name = found["class_name"]
        found["class_name"] = registered_name(name, known) or name
    return found


def for_keras_3(config: Any) -> Any:
    """The config as Keras 3 would have written it.

    Arguments that it does not have stay, for it to refuse, unless they do
    nothing.

    Args:
        config: as from `plain`.

    Raises:
        ValueError: if it has a layer whose namesake computes something else.
    """
    if isinstance(config, list):
        return [for_keras_3(value) for value in config]
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or "config" not in config:
        return {key: for_keras_3(value) for key, value in config.items()}
    name, given = config["class_name"], config["config"]
    if name == "__lambda__":
        return config
    if name == "Sequential":
        given = {**given, "layers": _with_input(given["layers"])}
    arguments = {key: for_keras_3(value) for key, value in given.items()}
    found = {**config, "config": arguments}
    if "inbound_nodes" in config:
        found["inbound_nodes"] = for_keras_3(config["inbound_nodes"])
    registered = registered_name(name, keras.saving.get_custom_objects())
    if registered:
        return found | {"module": None, "registered_name": registered}
    if name == "Sequential":
        return found | {"module": "keras"}
    if name == "Functional":
        _renumber(arguments)
        return found | {"module": "keras", "class_name": "Model"}
    if name in _OTHERS:
        raise ValueError(f"Keras 3's {name} is another one")
    if not _is_layer(name):
        return found
    _rewrite(name, arguments)
    found |= {"module": "keras.layers", "registered_name": None}
    if name in _CAUSAL and arguments.get("padding") == "causal":
        layer_class = getattr(tfconv, name)
        found["module"] = layer_class.__module__
        found["registered_name"] = f"tfconv>{name}"
    return found


def _rewrite(name: str, arguments: dict[str, Any]) -> None:
    """Turns the arguments of a layer into Keras 3's."""
    if name == "InputLayer":
        arguments["batch_shape"] = arguments.pop("batch_input_shape", None)
    taken = _arguments(getattr(keras.layers, name))
    for key in set(_WITHOUT_EFFECT) & set(arguments) - taken:
        values = _WITHOUT_EFFECT[key]
        if values is ... or arguments[key] in values:
            del arguments[key]
    if "alpha" in arguments and name == "LeakyReLU":
        arguments["negative_slope"] = arguments.pop("alpha")
    if name == "GRU":
        arguments.setdefault("reset_after", False)  # before Keras 2.1.3
    function = arguments.get("function")
    if name == "Lambda" and isinstance(function, list):
        parts = dict(
            zip(("code", "defaults", "closure"), function, strict=True)
        )
        arguments["function"] = {"class_name": "__lambda__", "config": parts}
    axis = arguments.get("axis")
    if name == "BatchNormalization" and isinstance(axis, list):
        (arguments["axis"],) = axis
    for key, value in arguments.items():
        if key.endswith("activation") and isinstance(value, str):
            arguments[key] = _activation(value)


def _activation(name: str):
    known = keras.saving.get_custom_objects()
    if name in known:
        return known[name]
    if name == "hard_sigmoid":
        return hard_sigmoid_of_keras_2
    if hasattr(keras.activations, name):
        return name
    registered = registered_name(name, known)
    return known[registered] if registered else name


def _arguments(layer_class: type) -> set[str]:
    """The names of all arguments that a class of Keras takes."""
    found = set()
    for base in inspect.getmro(layer_class):
        parameters = inspect.signature(base.__init__).parameters.values()
        found.update(parameter.name for parameter in parameters)
        if all(item.kind is not item.VAR_KEYWORD for item in parameters):
            break
    return found


def _renumber(arguments: dict[str, Any]) -> None:
    """Counts the calls of nested models from 0, as Keras 3 does.

    In Keras 2 they begin with 1, after the call that made the model.
    """
    calls = {
        layer["name"]: len(layer["inbound_nodes"])
        for layer in arguments["layers"]
        if layer["class_name"] in ("Model", "Sequential")
    }
    inbound = [layer["inbound_nodes"] for layer in arguments["layers"]]
    outputs = list(_references(arguments["output_layers"], calls))
    references = [*_references(inbound, calls), *outputs]
    firsts = {
        name: max(node for other, node, *_ in references if other == name)
        - calls[name]
        + 1
        for name in {name for name, *_ in references}
    }
    functional = [
        layer["name"]
        for layer in arguments["layers"]
        if layer["class_name"] == "Model"
    ]
    for reference in references:
        reference[1] -= firsts[reference[0]]
    for reference in outputs:
        # There alone Keras 3 still counts as Keras 2 does.
        reference[1] += reference[0] in functional


def _references(value: Any, names: Iterable[str]) -> Iterator[list]:
    """The lists `[name, call, output, ...]` that name one of the layers."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return
    if len(value) > 2 and isinstance(value[0], str) and value[0] in names:
        yield value
    for item in value:
        yield from _references(item, names)


def _with_input(layers: list) -> list:
    """The layers of a Sequential, their input no longer an argument."""
    first = layers[0]["config"] if layers else {}
    shape = first.get("batch_input_shape")
    if not shape or layers[0]["class_name"] == "InputLayer":
        return layers
    arguments = {
        "name": f"{first['name']}_input",
        "batch_input_shape": shape,
        "dtype": first.get("dtype", "float32"),
    }
    return [{"class_name": "InputLayer", "config": arguments}, *layers]


def _is_layer(name: str) -> bool:
    layer = getattr(keras.layers, name, None)
    return inspect.isclass(layer) and issubclass(layer, keras.Layer)


def registered_name(name: str, known: Iterable[str]) -> str | None:
    """The full name of the one custom object that is called so.

    Args:
        name: of a class or a function, with its package or without.
        known: the full names of the custom objects.
    """
    if name in known:
        return name
    if _is_layer(name):
        return None
    last = name.rpartition(">")[2]
    found = [key for key in known if key.rpartition(">")[2] == last]
    return found[0] if len(found) == 1 else None
