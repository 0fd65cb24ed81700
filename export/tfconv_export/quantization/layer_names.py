"""Which layer of the model an operator of the file comes from."""

import contextlib
import re

import keras
import tensorflow as tf

from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import OperatorFacts
from tfconv_export.quantization.integer_operators import PRODUCTS

# TensorFlow's own operations that carry a layer's weights: a fused operator
# names several layers, and belongs to the one of these.
_WEIGHTY = re.compile(r"conv|depthwise|matmul|einsum", re.IGNORECASE)


@contextlib.contextmanager
def recording(layers: dict[str, keras.Layer]):
    """Notes, while a Keras model is traced, in which scope each layer is.

    TensorFlow adds numbers to the layers' names, so that a scope's name alone
    does not say which layer it is.

    Yields:
        dict from a name scope to the path of a layer, as `"block/conv1d"`;
        the model's own scope is `""`. It fills up during the trace.
    """
    scopes = {}
    original = keras.Operation.__call__

    def call(self, *args, **kwargs):
        graph = tf.compat.v1.get_default_graph()
        scope = graph.get_name_scope()
        if isinstance(self, keras.Layer) and scope not in scopes:
            parent = scopes.get(scope.rpartition("/")[0])
            names = [] if parent is None else [parent, self.name]
            scopes[scope] = "/".join(filter(None, names))
            layers[scope] = self
        return original(self, *args, **kwargs)

    keras.Operation.__call__ = call
    try:
        yield scopes
    finally:
        keras.Operation.__call__ = original


def layer_of(
    operator: OperatorFacts, facts: Facts, scopes: dict[str, str]
) -> str:
    """The layer that an operator comes from.

    Args:
        operator: one of `facts`.
        facts: those of the file.
        scopes: as from `recording`; empty if they are not known, as for a
            SavedModel: then it is the scope that TensorFlow wrote.

    Returns:
        The layer's path; the name of the output where the converter left no
        other (the last operators of a file); or else the tensor's name.
    """
    # The last output's name says nothing, but that of the weights does.
    tensors = [*operator.outputs, *(t for t in operator.inputs if _named(t))]
    segments = [
        segment for tensor in tensors for segment in tensor.name.split(";")
    ]
    segments.sort(key=lambda name: not _is_weighty(name, operator))
    for segment in segments:
        layer = layer_in(segment, scopes)
        if layer:
            return layer
    for signature in facts.signatures:
        for name, tensor in signature.outputs.items():
            if tensor in operator.outputs:
                return name
    return operator.outputs[0].name


def _named(tensor) -> bool:
    return tensor is not None and tensor.constant


def _is_weighty(segment: str, operator: OperatorFacts) -> bool:
    is_weighty = operator.name in (
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "TRANSPOSE_CONV",
        "BATCH_MATMUL",
    )
    return is_weighty and bool(_WEIGHTY.search(segment.rpartition("/")[2]))


def layer_in(segment: str, scopes: dict[str, str]) -> str:
    """The layer that a name in a graph belongs to; empty if it says none."""
    parts = segment.split("/")
    if scopes:
        for length in range(len(parts), 0, -1):
            layer = scopes.get("/".join(parts[:length]))
            if layer is not None:
                return layer
        return ""
    parts = [part for part in parts if "PartitionedCall" not in part]
    # The model, the layer, and what is in it.
    if len(parts) > 2:
        return parts[1]
    return parts[0] if len(parts) == 2 else ""


def matched(
    ours: list[OperatorFacts], theirs: list[OperatorFacts]
) -> list[tuple[OperatorFacts, OperatorFacts]]:
    """Pairs of operators that compute the same.

    Those whose outputs have the same names; by their order where not all do,
    and both are the same sequence.
    """
    by_name = {_key(operator): operator for operator in theirs}
    pairs = [(op, by_name[_key(op)]) for op in ours if _key(op) in by_name]
    kinds, other_kinds = (
        [(_kind(op), [t.shape for t in op.outputs]) for op in operators]
        for operators in (ours, theirs)
    )
    if len(pairs) < len(ours) and kinds == other_kinds:
        return list(zip(ours, theirs, strict=True))
    return pairs


def _key(operator: OperatorFacts):
    return (_kind(operator), *(tensor.name for tensor in operator.outputs))


def _kind(operator: OperatorFacts) -> str:
    return "MUL" if operator.name in PRODUCTS else operator.name
