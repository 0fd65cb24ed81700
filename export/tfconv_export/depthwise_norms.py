"""Batch normalizations as depthwise convolutions of one tap.

The converter makes a multiplication and an addition of them, each with one
scale for the constants of all channels in an integer file. The weights of a
depthwise convolution have a scale for each.
"""

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

import tfconv
from tfconv_export import batch_normalization
from tfconv_export.affine import Affine
from tfconv_export.batch_normalization import axis_of
from tfconv_export.batch_normalization import is_norm
from tfconv_export.folding import is_by_converter
from tfconv_export.layer_graph import LayerGraph

_LINEAR = {
    "BatchMatMulV2",
    "Conv2D",
    "Conv2DBackpropInput",
    "DepthwiseConv2dNative",
    "Einsum",
    "MatMul",
    # What Keras compiles, as convolutions of groups.
    "PartitionedCall",
    "StatefulPartitionedCall",
}
_MOVING = {"ExpandDims", "Identity", "Reshape", "Squeeze"}
_WITH_WEIGHTS = {"AddV2", "BiasAdd", "Mul", "Sub"}


def in_graph(model: keras.Model) -> tuple[str, ...]:
    """Has the layers of a model compute so, for good.

    Those that the converter folds into the layer before them do not.

    Args:
        model: a functional or Sequential model.

    Returns:
        The paths of the layers that do, as far as they are known before the
        model is traced.
    """
    graph, found = LayerGraph(model), {}
    for call in graph.calls:
        if is_norm(call.layer):
            by_converter = is_by_converter(graph, call)
            found.setdefault(id(call.layer), {})[call.path] = by_converter
    for layer in norms_of(model):
        answers = set(found.get(id(layer), {"": None}).values())
        # Of several calls, one that the converter does not fold decides.
        by_converter = next(
            answer for answer in (False, None, True) if answer in answers
        )
        layer.call = as_depthwise(layer, by_converter)
    return tuple(
        path
        for answers in found.values()
        for path, by_converter in answers.items()
        if by_converter is False
    )


def norms_of(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The batch normalizations of a model, in layers of its own as well."""
    return [layer for layer in model._flatten_layers() if is_norm(layer)]


def as_depthwise(
    layer: keras.layers.BatchNormalization, by_converter: bool | None = None
) -> Callable:
    """A function to take the place of a layer's `call`.

    Args:
        layer: the layer, which it keeps calling in training mode.
        by_converter: bool, whether the converter folds the layer; `None` to
            look, when it is traced, at what its input was computed by.
    """
    plain = layer.call

    def call(inputs, training=None, mask=None):
        if (
            (training and layer.trainable)
            or by_converter
            or None in inputs.shape[1:]
            or (by_converter is None and _is_of_linear(inputs))
        ):
            return plain(inputs, training=training, mask=mask)
        with tf.init_scope():
            wanted = batch_normalization.affine_of(layer)
        return _depthwise(inputs, axis_of(layer), wanted)

    return call


def _depthwise(inputs: tf.Tensor, axis: int, wanted: Affine) -> tf.Tensor:
    """Computes `wanted` along an axis, as an axis of channels in frames."""
    scale, shift = (
        np.float32(values.reshape(-1))
        for values in (wanted.scale, wanted.shift)
    )
    order = list(range(inputs.shape.rank))
    order.append(order.pop(axis))
    is_last = axis == len(order) - 1
    outputs = inputs if is_last else tf.transpose(inputs, order)
    shape = outputs.shape[1:]
    if len(shape) != 2:
        frames = math.prod(shape[:-1])
        outputs = tf.reshape(outputs, (-1, frames, scale.size))
    outputs = tfconv.depthwise_conv1d(outputs, scale[np.newaxis, :, np.newaxis])
    outputs = tf.nn.bias_add(outputs, shift)
    if len(shape) != 2:
        outputs = tf.reshape(outputs, (-1, *shape))
    return outputs if is_last else tf.transpose(outputs, np.argsort(order))


def _is_of_linear(tensor: tf.Tensor) -> bool:
    """Tells whether a convolution made it, with no more than a bias."""
    channels = tensor.shape[-1]
    while tf.is_symbolic_tensor(tensor) and tensor.shape[-1] == channels:
        operation = tensor.op
        if operation.type in _LINEAR:
            return True
        operands = list(operation.inputs)
        if operation.type in _WITH_WEIGHTS:
            operands = [item for item in operands if not _is_weight(item)]
        elif operation.type in _MOVING:
            operands = operands[:1]
        else:
            return False
        if len(operands) != 1:
            return False
        (tensor,) = operands
    return False


def _is_weight(tensor: tf.Tensor) -> bool:
    """Tells whether it does not depend on the model's input."""
    seen, rest = set(), [tensor.op]
    while rest:
        operation = rest.pop()
        if operation.type == "Placeholder":
            return False
        if operation.name not in seen and operation.type != "ReadVariableOp":
            seen.add(operation.name)
            rest += [item.op for item in operation.inputs]
    return True
