"""Is in the file what was asked for? Judges, without running it."""

from collections.abc import Sequence

import numpy as np

from tfconv_export.conversion import Conversion
from tfconv_export.conversion import Recipe
from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import OperatorFacts
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.quantization import biases
from tfconv_export.quantization.layer_names import layer_of
from tfconv_export.result import Check
from tfconv_export.result import LayerError
from tfconv_export.source import Source

_WEIGHTY = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")

_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"

_OF_VARIABLES = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")
_FORBIDDEN = {
    **dict.fromkeys(
        _OF_VARIABLES, "its variables are not frozen into the file"
    ),
    "SPACE_TO_BATCH_ND": "a dilated convolution is not one operator",
    "BATCH_TO_SPACE_ND": "a dilated convolution is not one operator",
}


def warnings(
    facts: Facts, recipe: Recipe, layers: Sequence[LayerError]
) -> tuple[str, ...]:
    """What does not fail, and is probably not what was wanted."""
    found = []
    weights = {
        weights.dtype
        for op in facts.operators
        for weights in _weights(op)
        if weights.constant
    }
    if recipe.quantize == "dynamic" and weights == {"float32"}:
        found.append(
            "no weights are quantized: in the mode dynamic the converter "
            f"leaves tensors of fewer than {_MIN_DYNAMIC_WEIGHTS:,} values in "
            "float32; int8 quantizes all."
        )
    found += [
        f"layer {layer.layer} computes {layer.minimum:.3g} everywhere on the "
        "representative data: is it dead, or the data too little?"
        for layer in layers
        if layer.operator != "INPUT" and layer.minimum == layer.maximum
    ]
    return tuple(dict.fromkeys(found))


def warn_of_shared_scales(facts: Facts) -> tuple[str, ...]:
    """Names what may make a file noisy: one scale for several constants."""
    left = [op for op in facts.operators if _has_one_scale(op)]
    if not left:
        return ()
    return (
        f"{len(left)} multiplications by constants of several channels, "
        "which share one scale: those of a batch normalization become "
        "part of other layers if the model is functional or Sequential, "
        "given in memory or as a .keras or .h5 file.",
    )


def _has_one_scale(operator: OperatorFacts) -> bool:
    constants = [item for item in operator.inputs if item and item.constant]
    return operator.name == "MUL" and any(
        len(item.scales) == 1 and np.prod(item.shape) > 1 for item in constants
    )


def inspect(
    facts: Facts, recipe: Recipe, source: Source, conversion: Conversion
) -> list[Check]:
    """Judges what is in the file, without running it."""
    checks = [
        _check_operators(facts),
        _check_depthwise_count(facts, conversion.depthwise_ops),
        _check_conversions(facts, conversion.float_tensors),
        _check_arithmetic(facts, recipe, conversion.float_tensors),
        _check_interface(facts, recipe, source),
    ]
    if recipe.is_integer:
        checks.append(_check_integer_only(facts, recipe, conversion))
    if recipe.is_integer or recipe.quantize == "dynamic":
        checks.append(_check_per_channel(facts))
    return checks


def inspect_stream(
    facts: Facts, recipe: Recipe, conversion: Conversion, *, has_variables: bool
) -> list[Check]:
    """Judges what is in a streaming file, without running it.

    Args:
        facts: what is in it.
        recipe: what was asked for.
        conversion: the file.
        has_variables: bool, whether it is to hold its states itself.
    """
    checks = [
        _check_operators(facts, _OF_VARIABLES if has_variables else ()),
        _check_conversions(facts, conversion.float_tensors),
        _check_arithmetic(facts, recipe, conversion.float_tensors),
    ]
    if recipe.is_integer:
        checks.append(_check_integer_only(facts, recipe, conversion))
        checks.append(_check_per_channel(facts))
    return checks


def _check_operators(facts: Facts, allowed: Sequence[str] = ()) -> Check:
    problems = []
    for name in facts.operator_counts:
        if name in _FORBIDDEN and name not in allowed:
            problems.append(f"{name}: {_FORBIDDEN[name]}")
    problems += [
        f"{op.name} is not a builtin operator"
        for op in facts.operators
        if op.is_custom
    ]
    return Check(
        "operators",
        not problems,
        "; ".join(dict.fromkeys(problems)) or _counted(facts),
    )


def _counted(facts: Facts) -> str:
    counts = facts.operator_counts.items()
    listed = ", ".join(f"{count} {name}" for name, count in counts)
    return f"builtin only: {listed}" if listed else "none"


def _check_depthwise_count(facts: Facts, wanted: int | None) -> Check:
    found = facts.operator_counts.get("DEPTHWISE_CONV_2D", 0)
    if wanted is None:
        detail = f"{found}; how many the SavedModel has is not known"
        return Check("depthwise convolutions", True, detail)
    return Check(
        "depthwise convolutions",
        found == wanted,
        f"{found} DEPTHWISE_CONV_2D for {wanted} depthwise convolutions",
    )


def _check_conversions(facts: Facts, float_tensors: frozenset[str]) -> Check:
    """QUANTIZE and DEQUANTIZE belong where the file is to be in float only.

    At float inputs and outputs, that is, and around the layers left in float.
    """
    stray = [
        op
        for op in facts.operators
        if _is_stray(op, facts) and not _is_around(op, facts, float_tensors)
    ]
    names = ", ".join(
        f"{op.name} to {op.outputs[0].name or 'an unnamed tensor'}"
        for op in stray[:3]
    )
    return Check(
        "no stray QUANTIZE or DEQUANTIZE",
        not stray,
        f"{len(stray)} stray, such as {names}" if stray else "none",
    )


def _is_stray(op: OperatorFacts, facts: Facts) -> bool:
    if op.name not in ("QUANTIZE", "DEQUANTIZE"):
        return False
    (source,), (target,) = op.inputs, op.outputs
    if source.constant:
        # Weights stored in float16, which the runtime unpacks once.
        return source.dtype != "float16"
    if source in facts.inputs or target in facts.outputs:
        return False
    # Between two integer scales it is arithmetic, not a way out of integers.
    return "float" in source.dtype or "float" in target.dtype


def _is_around(
    op: OperatorFacts, facts: Facts, float_tensors: frozenset[str]
) -> bool:
    if op.name == "QUANTIZE":
        return op.inputs[0].name in float_tensors
    readers = [
        other for other in facts.operators if op.outputs[0] in other.inputs
    ]
    names = {reader.outputs[0].name for reader in readers}
    return bool(names) and names <= float_tensors


def _check_interface(facts: Facts, recipe: Recipe, source: Source) -> Check:
    problems = []
    wanted = {item.name: item for item in source.inputs}
    # Without a signature, the one input has whatever name it was given.
    found = (
        facts.signatures[0].inputs
        if facts.signatures
        else dict(zip(wanted, facts.inputs, strict=False))
    )
    if set(found) != set(wanted):
        problems.append(
            f"the inputs are {', '.join(found)}, not {', '.join(wanted)}"
        )
    for name in wanted.keys() & found.keys():
        tensor, item = found[name], wanted[name]
        if tensor.shape != (1, *item.shape):
            problems.append(
                f"input {name} has shape {tensor.shape}, not {(1, *item.shape)}"
            )
        dtype = item.dtype.name
        if item.dtype.is_floating:
            dtype = recipe.io_dtype
        if tensor.dtype != dtype:
            problems.append(f"input {name} is {tensor.dtype}, not {dtype}")
    for tensor in facts.outputs:
        if -1 in tensor.shape:
            problems.append(f"output {tensor.name} has shape {tensor.shape}")
        is_integer = tensor.dtype in ("int32", "int64", "bool")
        if tensor.dtype != recipe.io_dtype and not is_integer:
            problems.append(
                f"output {tensor.name} is {tensor.dtype}, not {recipe.io_dtype}"
            )
    shown = [f"{t.dtype}{list(t.shape)}" for t in facts.inputs + facts.outputs]
    return Check(
        "input and output",
        not problems,
        "; ".join(problems) or " -> ".join(shown),
    )


# Mode -> the dtype of activations, and those that weights may have.
_ARITHMETIC = {
    "none": ("float32", {"float32"}),
    "float16": ("float32", {"float16"}),
    "dynamic": ("float32", {"float32", "int8"}),
    "int8": ("int8", {"int8"}),
    "int16x8": ("int16", {"int8"}),
    "int4": ("int8", {"int4"}),
}

# The converter's own threshold for dynamic quantization.
_MIN_DYNAMIC_WEIGHTS = 1024


def _check_arithmetic(
    facts: Facts, recipe: Recipe, float_tensors: frozenset[str]
) -> Check:
    """The weighty operators compute in what was asked for."""
    unpacked = {
        op.outputs[0]: op.inputs[0]
        for op in facts.operators
        if op.name == "DEQUANTIZE" and op.inputs[0].constant
    }
    problems, found = {}, {}
    pairs = [(op, w) for op in facts.operators for w in _weights(op)]
    for op, weights in pairs:
        is_kept = op.outputs[0].name in float_tensors
        mode = "none" if is_kept else recipe.quantize
        if mode == "int4" and op.name in ("FULLY_CONNECTED", _LSTM):
            mode = "int8"
        wanted, allowed = _ARITHMETIC[mode]
        inputs = op.inputs[0]
        weights = unpacked.get(weights, weights)
        found[f"{inputs.dtype} by {weights.dtype}"] = None
        # The converter quantizes all of an operator's, or none.
        smallest = min(np.prod(other.shape) for other in _weights(op))
        too_small = smallest < _MIN_DYNAMIC_WEIGHTS
        is_left = recipe.quantize == "dynamic" and weights.dtype == "float32"
        if (
            inputs.dtype != wanted
            or weights.dtype not in allowed
            or (weights.constant and is_left and not too_small)
        ):
            problems[f"{op.name} is {inputs.dtype} by {weights.dtype}"] = None
        if op.name == _LSTM and not _has_its_own_scale(op):
            problems[f"{op.name} has another scale than its kernel"] = None
    for op in biases.in_other_scales(facts):
        problems[
            f"the bias of {op.name} to {op.outputs[0].name} is not in the "
            "scale of its input times that of its weights"
        ] = None
    return Check(
        "arithmetic",
        not problems,
        "; ".join(problems) or ", ".join(found) or "no weights",
    )


def _weights(op: OperatorFacts) -> tuple[TensorFacts, ...]:
    """Those of an operator that has many, and spends its time on them."""
    if op.name == _LSTM:
        # Of the input and of the output before, for each of four gates.
        return tuple(weights for weights in op.inputs[1:9] if weights)
    return op.inputs[1:2] if op.name in _WEIGHTY else ()


def _has_its_own_scale(lstm: OperatorFacts) -> bool:
    """The kernel writes in the scale of an intermediate tensor."""
    (output,) = lstm.outputs
    if not output.scales:
        return True
    *_, own = lstm.intermediates
    return (output.scales, output.zero_points) == (own.scales, own.zero_points)


def _check_integer_only(
    facts: Facts, recipe: Recipe, conversion: Conversion
) -> Check:
    """Every operator is integer but those that are to be in float."""
    problems, left = {}, {}
    kept = 0
    for op in facts.operators:
        if op.name in ("QUANTIZE", "DEQUANTIZE"):
            continue
        operands = [t for t in (*op.inputs, *op.outputs) if t is not None]
        if op.outputs and op.outputs[0].name in conversion.float_tensors:
            kept += 1
            if any(tensor.scales for tensor in operands):
                problems[f"{op.name} was to be left in float"] = None
            continue
        if any("float" in tensor.dtype for tensor in operands):
            layer = layer_of(op, facts, conversion.scopes)
            problems[f"{op.name} of {layer} computes in float"] = None
            left[layer] = None
        bias = op.inputs[2] if len(op.inputs) > 2 else None
        is_conv = op.name in _WEIGHTY
        # TFLite Micro takes an int32 bias for int64 and computes noise.
        is_int16x8_conv = recipe.quantize == "int16x8" and is_conv
        if is_int16x8_conv and bias is not None and bias.dtype != "int64":
            problems[f"{op.name} has a bias of {bias.dtype}"] = None
    if left:
        # The first names every layer that has the same as a part of its own.
        problems[
            f"to allow it, pass --float_layers='{next(iter(left))}' (with "
            "--stream_hop, --quantize=none), or replace the layer"
        ] = None
    return Check(
        "integers only",
        not problems,
        "; ".join(problems)
        or (
            f"only the {kept} operators that were left in float are not"
            if kept
            else "no operator computes in float"
        ),
    )


def _check_per_channel(facts: Facts) -> Check:
    """Depthwise weights, [1, 1, k, c*m]: one scale for each of c*m."""
    problems = []
    quantized = 0
    for op in facts.operators:
        if op.name != "DEPTHWISE_CONV_2D":
            continue
        weights: TensorFacts = op.inputs[1]
        if "float" in weights.dtype:
            continue
        quantized += 1
        channels = weights.shape[3]
        if len(weights.scales) != channels or (
            channels > 1 and weights.quantized_dimension != 3
        ):
            problems.append(
                f"{weights.name} has {len(weights.scales)} scales on axis "
                f"{weights.quantized_dimension} for {channels} channels"
            )
    return Check(
        "depthwise weights per channel",
        not problems,
        "; ".join(problems) or f"{quantized} quantized, all on axis 3",
    )
