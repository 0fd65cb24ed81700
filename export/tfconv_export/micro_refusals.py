"""Refusals of TFLite Micro, by layer, and what to do about them."""

import re
import signal

from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import OperatorFacts
from tfconv_export.quantization.layer_names import layer_of

# Those that MicroMutableOpResolver has a method for.
_OPERATORS = """
ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL
BATCH_TO_SPACE_ND BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION
CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV
DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR
FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL
HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN
MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE
REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR
RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX
SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE
SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV
UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""
OPERATORS = frozenset(_OPERATORS.split())

_NO_OPERATOR = re.compile(r"Didn't find op for \w+ opcode '(.+?)'")
_NODE = re.compile(
    r"Node (\w+) \(number (\d+)\) failed to \w+ with status \d+\W*"
)
_MOST_WORDS = 300


def lacking(facts: Facts, scopes: dict[str, str]) -> str:
    """A sentence on an operator of the file that it lacks, or nothing.

    Args:
        facts: of the file.
        scopes: `Conversion.scopes`, by which the layers get their own names.
    """
    for operator in facts.operators:
        if not operator.is_custom and operator.name not in OPERATORS:
            return _no_operator(operator.name, facts, scopes)
    return ""


def sentence(
    returncode: int, said: str, facts: Facts, scopes: dict[str, str]
) -> str:
    """Why TFLite Micro does not run a file.

    Args:
        returncode: int, that of the process in which it was run.
        said: string, what it wrote.
        facts: of the file.
        scopes: `Conversion.scopes`, by which the layers get their own names.
    """
    missing = _NO_OPERATOR.search(said)
    if missing:
        return _no_operator(missing[1], facts, scopes)
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return f"TFLite Micro crashes on this file ({name})."
    lines = said.partition("Traceback")[0].splitlines()
    words = [re.sub(r"^tensorflow/\S+ ", "", line.strip()) for line in lines]
    said = "; ".join(word.rstrip(".") for word in words if word)
    node = _NODE.search(said)
    operator = node and _operator(node, facts)
    if not operator:
        return f"TFLite Micro does not run this file: {said[:_MOST_WORDS]}."
    reason = _NODE.sub("", said).strip("; ") or "nothing"
    dtype = _dtype(operator)
    layer = layer_of(operator, facts, scopes)
    return (
        f"TFLite Micro does not run {operator.name} in {dtype} (it says: "
        f"{reason[:_MOST_WORDS]}), which layer {layer} needs; "
        f"{_remedy(operator, dtype, layer)}."
    )


def _no_operator(name: str, facts: Facts, scopes: dict[str, str]) -> str:
    layers = {
        layer_of(operator, facts, scopes): None
        for operator in facts.operators
        if operator.name == name
    }
    return (
        f"TFLite Micro has no operator {name}, which {_named(list(layers))} "
        "needs; replace the layer, or choose --target=litert."
    )


def _named(layers: list[str]) -> str:
    if len(layers) == 1:
        return f"layer {layers[0]}"
    return f"each of the layers {', '.join(layers)}"


def _operator(node: re.Match, facts: Facts) -> OperatorFacts | None:
    """The operator of the main subgraph that a message is about."""
    number = int(node[2])
    if number < len(facts.operators):
        operator = facts.operators[number]
        return operator if operator.name == node[1] else None
    return None


def _dtype(operator: OperatorFacts) -> str:
    tensors = (*operator.inputs, *operator.outputs)
    return next(
        (t.dtype for t in tensors if t is not None and not t.constant), "int8"
    )


def _remedy(operator: OperatorFacts, dtype: str, layer: str) -> str:
    shape = operator.inputs[0].shape
    if dtype not in ("int8", "int16") or operator.outputs[0].dtype != dtype:
        return "replace the layer, or choose --target=litert"
    remedy = (
        f"pass --float_layers='{layer}' (with --stream_hop, --quantize=none), "
        "or replace the layer"
    )
    if operator.name == "REDUCE_MAX" and len(shape) == 3:
        remedy += (
            f": MaxPooling1D({shape[1]}) and Flatten compute the same over time"
        )
    return remedy
