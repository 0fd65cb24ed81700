"""Models that tf-keras loads, as sources of which the graph is known."""

import json
import pathlib
import warnings
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from tfconv_export import keras2_config
from tfconv_export import keras_errors
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason
from tfconv_export.source import Input
from tfconv_export.source import Source
from tfconv_export.source import unique
from tfconv_export.weight_bounds import bounded_weights

# The functions of TensorFlow that a layer may be: what computes with tensors,
# and does no more.
_PURE_MODULES = (
    "__operators__",
    "bitwise",
    "image",
    "keras.activations",
    "linalg",
    "math",
    "nn",
    "quantization",
    "signal",
)
_PURE_FUNCTIONS = """
    abs acos add argmax argmin argsort asin atan boolean_mask broadcast_to
    cast clip_by_norm clip_by_value concat convert_to_tensor cos cumsum
    divide einsum ensure_shape equal exp expand_dims eye fill floor gather
    gather_nd greater greater_equal identity less less_equal linspace
    logical_and logical_not logical_or matmul maximum meshgrid minimum
    multiply negative norm not_equal one_hot ones ones_like pad pow range
    rank realdiv reduce_all reduce_any reduce_logsumexp reduce_max
    reduce_mean reduce_min reduce_prod reduce_sum repeat reshape reverse
    roll round scalar_mul scatter_nd sequence_mask shape sigmoid sign sin
    size slice sort split sqrt square squeeze stack stop_gradient
    strided_slice subtract tan tanh tensordot tile transpose truediv unstack
    where zeros zeros_like
"""
# Layers that call what their config names.
_CALLING = ("ClassMethod", "InstanceMethod", "InstanceProperty")


def load(
    path: pathlib.Path,
    weights: pathlib.Path,
    config: Any,
    unsafe: bool,
    refusal: Exception | None,
):
    """The model in tf-keras.

    Args:
        path: of the file, for messages.
        weights: of a copy of it, called `.h5` or `.keras` for what it is.
        config: as from `keras2_config.plain`.
        unsafe: bool, whether it may run code.
        refusal: why Keras 3 does not take it; `None` if it was not asked.

    Raises:
        UsageError: if it cannot be loaded, or if tf-keras is missing.
    """
    try:
        import tf_keras
    except ImportError as error:
        raise UsageError(
            f"--model={path} was written by Keras 2, and Keras 3 cannot load "
            f"it{_because(refusal)}; tf-keras may: pip install "
            "'tfconv[keras2]'."
        ) from error
    try:
        with (
            warnings.catch_warnings(),
            bounded_weights(tf_keras.layers.Layer, weights),
        ):
            warnings.simplefilter("ignore")
            if unsafe:
                return tf_keras.models.load_model(
                    weights, compile=False, safe_mode=False
                )
            _check_operations(path, config)
            # By names alone: a config may not have modules imported.
            known = tf_keras.saving.get_custom_objects()
            config = keras2_config.with_registered_names(config, known)
            model = tf_keras.layers.deserialize(config, use_legacy_format=True)
            model.load_weights(weights)
            return model
    except UsageError:
        raise
    except Exception as error:
        raise _cannot_load(path, error, refusal, _unknown(config)) from error


def save(model, path: pathlib.Path) -> None:
    """Writes a model of tf-keras as an `.h5` file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path, include_optimizer=False)


def source(model, path: pathlib.Path) -> Source:
    """The source of a model of tf-keras.

    Raises:
        UsageError: if the model does not say what it takes.
    """
    if not getattr(model, "inputs", None):
        raise UsageError(
            f"--model={path} was written by Keras 2, and does not say what it "
            "takes; call it once on an example, then save it."
        )
    names = unique(model.input_names)
    output_names = unique(model.output_names)

    def function(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        values = [inputs[name] for name in names]
        packed = tf.nest.pack_sequence_as(model.input, values)
        outputs = tf.nest.flatten(model(packed, training=False))
        return dict(zip(output_names, outputs, strict=True))

    return Source(
        origin=str(path),
        kind="keras2",
        size=path.stat().st_size,
        inputs=tuple(
            Input(name, tuple(tensor.shape[1:]), tensor.dtype)
            for name, tensor in zip(names, model.inputs, strict=True)
        ),
        reference=function,
        exported=function,
        # Not the model, with which tf-keras would save much of its own.
        trackable=model.weights,
    )


def _unknown(config: Any) -> str | None:
    """The first class of a config that tf-keras does not have.

    It raises whatever comes of a layer that it did not make.
    """
    import tf_keras

    known = {
        *_CALLING,
        *tf_keras.saving.get_custom_objects(),
        "Functional",
        "SlicingOpLambda",
        "TFOpLambda",
        "TensorFlowOpLayer",
    }
    modules = (
        tf_keras,
        tf_keras.constraints,
        tf_keras.initializers,
        tf_keras.layers,
        tf_keras.regularizers,
    )
    for name, _ in keras2_config.objects(config):
        if name not in known and not any(hasattr(m, name) for m in modules):
            return name
    return None


def _cannot_load(path, error: Exception, refusal, unknown) -> UsageError:
    if unknown is None:
        return keras_errors.cannot_load(path, error)
    known = keras.saving.get_custom_objects()
    if not keras2_config.registered_name(unknown, known):
        return keras_errors.not_known(path, unknown)
    return UsageError(
        f"--model={path} cannot be loaded: Keras 2 wrote it, Keras 3 refuses "
        f"it{_because(refusal)}, and tf-keras does not know {unknown}; have "
        "the --custom_module define it for tf-keras, too, under "
        "@tf_keras.saving.register_keras_serializable()."
    )


def _because(refusal: Exception | None) -> str:
    return "" if refusal is None else f" ({reason(refusal)})"


def _check_operations(path: pathlib.Path, config: Any) -> None:
    """Refuses layers that do more than to compute with tensors."""
    for name, arguments in keras2_config.objects(config):
        if name in _CALLING:
            called = arguments.get("attr_name") or arguments.get("method_name")
        elif name.endswith("OpLambda"):
            called = arguments.get("function")
            if _is_pure(str(called).removeprefix("compat.v1.")):
                continue
        elif name == "TensorFlowOpLayer":
            called = json.loads(arguments["node_def"])["op"]
            definition = op_def_registry.get(called)
            if definition is not None and not definition.is_stateful:
                continue
        else:
            continue
        raise UsageError(
            f"--model={path} calls {called}, which may do more than compute "
            "with tensors; pass --unsafe_deserialization if you trust where "
            "the file comes from."
        )


def _is_pure(function: str) -> bool:
    module, _, name = function.rpartition(".")
    return module in _PURE_MODULES or (
        not module and name in _PURE_FUNCTIONS.split()
    )
