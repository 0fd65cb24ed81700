"""Does the file compute what was trained? Judges; never prints."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfconv_export.calibration import Examples
from tfconv_export.conversion import Conversion
from tfconv_export.conversion import Recipe
from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import OperatorFacts
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.progress import Progress
from tfconv_export.progress import silent
from tfconv_export.result import Agreement
from tfconv_export.result import Check
from tfconv_export.result import Scatter
from tfconv_export.runtimes import Runtime
from tfconv_export.source import Source

# float32 keeps about 7 digits; sums over kernels and layers lose two or three.
MAX_FLOAT32_ERROR = 1e-4

# Healthy files measure 65 dB and more in float16, 25 and more with int8
# weights. Those that a broken conversion leaves compute noise: below 8 dB.
MIN_SQNR_DB = {
    "float16": 40.0,
    "dynamic": 10.0,
    "int8": 10.0,
    "int16x8": 10.0,
    "int4": 10.0,
}

# A probability that hardly moves has no signal to compare the noise with. Its
# step is fixed, and not taken from the data; the error then is the rounding of
# the output, and of the layer before it.
MAX_ROUNDING_STEPS = 2.0
_PROBABILITIES = ("SOFTMAX", "LOGISTIC")

_MAX_EXAMPLES = 200

# Reference kernels take 20 to 100 times as long.
_MAX_SLOW_EXAMPLES = 32

# Of a scatter plot.
_MAX_POINTS = 500

_FORBIDDEN = {
    "VAR_HANDLE": "its variables are not frozen into the file",
    "READ_VARIABLE": "its variables are not frozen into the file",
    "ASSIGN_VARIABLE": "its variables are not frozen into the file",
    "SPACE_TO_BATCH_ND": "a dilated convolution is not one operator",
    "BATCH_TO_SPACE_ND": "a dilated convolution is not one operator",
}


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
        checks.append(
            _check_integer_only(facts, recipe, conversion.float_tensors)
        )
    if recipe.is_integer or recipe.quantize == "dynamic":
        checks.append(_check_per_channel(facts))
    return checks


def compare(
    runtimes: Sequence[Runtime],
    source: Source,
    examples: Examples,
    progress: Progress = silent,
) -> tuple[list[Agreement], list[Scatter]]:
    """Runs the file beside the trained model.

    Args:
        runtimes: the file, on each interpreter.
        source: the model.
        examples: what to run them on; at most 200, evenly spread, are used,
            of which the runtimes that are slow run 32.
        progress: called with what was done.

    Returns:
        One agreement and one scatter for each runtime and output.
    """
    examples = examples.sample(_MAX_EXAMPLES)
    stride = -(-len(examples) // _MAX_SLOW_EXAMPLES)
    reference = model_outputs(source)
    expected = []
    computed = {runtime.name: [] for runtime in runtimes}
    steps = {
        runtime.name: stride if runtime.is_slow else 1 for runtime in runtimes
    }
    for index, example in enumerate(examples):
        expected.append(reference(example))
        for runtime in runtimes:
            if index % steps[runtime.name] == 0:
                computed[runtime.name].append(runtime.run(example))
        progress("comparing", index + 1, len(examples))
    agreements, scatters = [], []
    for runtime in runtimes:
        found = computed[runtime.name]
        wanted = expected[:: steps[runtime.name]]
        for output in expected[0]:
            pair = (
                np.stack([outputs[output] for outputs in wanted]),
                np.stack([outputs[output] for outputs in found]),
            )
            agreements.append(
                _agreement(runtime.name, output, *pair, runtime.step(output))
            )
            scatters.append(_scatter(runtime.name, output, *pair))
    return agreements, scatters


def model_outputs(source: Source):
    """The trained model, from an example to its outputs, as NumPy."""
    reference = tf.function(source.reference, autograph=False)

    def outputs_of(example: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = reference(
            {name: tf.constant(value) for name, value in example.items()}
        )
        return {name: value.numpy() for name, value in outputs.items()}

    return outputs_of


def judge(
    agreements: list[Agreement],
    recipe: Recipe,
    facts: Facts,
    min_sqnr_db: float | None = None,
) -> list[Check]:
    """Judges how closely the file computes what was trained.

    Args:
        agreements: as from `compare`.
        recipe: what was asked for.
        facts: of the file.
        min_sqnr_db: float, the least signal-to-noise ratio; `None` for the
            mode's own.
    """
    checks = []
    for agreement in agreements:
        name = f"{agreement.runtime}, output {agreement.output}"
        detail = (
            f"max error {agreement.max_error:.3g} "
            f"({agreement.relative_error:.2g} of the range), "
            f"SQNR {agreement.sqnr_db:.1f} dB, median of the examples "
            f"{agreement.median_sqnr_db:.1f} dB"
        )
        if agreement.max_error_steps is not None:
            detail += f", at most {agreement.max_error_steps:.1f} LSB"
        if agreement.same_argmax is not None:
            detail += f", same argmax {agreement.same_argmax:.1%}"
        if not agreement.finite:
            problem = "NaN or infinite outputs, of the file or of the model"
            checks.append(Check(name, False, problem))
        elif recipe.quantize == "none":
            passed = agreement.relative_error <= MAX_FLOAT32_ERROR
            if not passed:
                detail += f"; at most {MAX_FLOAT32_ERROR} is needed"
            checks.append(Check(name, passed, detail))
        else:
            floor = MIN_SQNR_DB[recipe.quantize]
            if min_sqnr_db is not None:
                floor = min_sqnr_db
            is_close = (
                agreement.sqnr_db >= floor and agreement.median_sqnr_db >= floor
            )
            passed = is_close or (
                min_sqnr_db is None and _is_rounding(agreement, facts)
            )
            if not passed:
                detail += (
                    f"; at least {floor:g} dB is needed: is the "
                    "representative data what the model was trained on?"
                )
            checks.append(Check(name, passed, detail))
    return checks


def _is_rounding(agreement: Agreement, facts: Facts) -> bool:
    steps = [
        tensor.scales[0]
        for op in facts.operators
        if op.name in _PROBABILITIES
        for tensor in op.outputs
        if tensor.scales
    ]
    # Every output has to be one: which is which is not said in the facts.
    if len(steps) != len(facts.outputs):
        return False
    return agreement.max_error <= MAX_ROUNDING_STEPS * min(steps)


def _agreement(
    runtime: str,
    output: str,
    expected: np.ndarray,
    found: np.ndarray,
    step: float | None,
) -> Agreement:
    same_argmax = None
    if expected.ndim > 2 and expected.shape[-1] > 1:
        same = expected.argmax(axis=-1) == found.argmax(axis=-1)
        same_argmax = float(same.mean())
    expected = expected.astype(np.float64)
    found = found.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        error = found - expected
    max_error = float(np.abs(error).max())
    width = float(max(expected.max(), 0.0) - min(expected.min(), 0.0))
    rest = tuple(range(1, expected.ndim))
    noises = np.square(error).sum(axis=rest)
    signals = np.square(expected).sum(axis=rest)
    return Agreement(
        runtime=runtime,
        output=output,
        examples=len(expected),
        max_error=max_error,
        relative_error=max_error / width if width else max_error,
        sqnr_db=float(_decibels(signals.sum(), noises.sum())),
        median_sqnr_db=float(np.median(_decibels(signals, noises))),
        finite=bool(np.isfinite(error).all() and np.isfinite(found).all()),
        max_error_steps=max_error / step if step else None,
        same_argmax=same_argmax,
    )


def _scatter(
    runtime: str, output: str, expected: np.ndarray, found: np.ndarray
) -> Scatter:
    expected, found = expected.ravel(), found.ravel()
    chosen = np.random.default_rng(0).permutation(expected.size)[:_MAX_POINTS]
    return Scatter(
        runtime=runtime,
        output=output,
        expected=tuple(expected[chosen].astype(float).tolist()),
        found=tuple(found[chosen].astype(float).tolist()),
    )


def _decibels(signal, noise) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(noise == 0, np.inf, 10 * np.log10(signal / noise))


def _check_operators(facts: Facts) -> Check:
    problems = []
    for name in facts.operator_counts:
        if name in _FORBIDDEN:
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
    for op in facts.operators:
        if op.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        is_kept = op.outputs[0].name in float_tensors
        mode = "none" if is_kept else recipe.quantize
        if mode == "int4" and op.name == "FULLY_CONNECTED":
            mode = "int8"
        wanted, allowed = _ARITHMETIC[mode]
        inputs, weights = op.inputs[:2]
        weights = unpacked.get(weights, weights)
        found[f"{inputs.dtype} by {weights.dtype}"] = None
        too_small = np.prod(weights.shape) < _MIN_DYNAMIC_WEIGHTS
        is_left = recipe.quantize == "dynamic" and weights.dtype == "float32"
        if (
            inputs.dtype != wanted
            or weights.dtype not in allowed
            or (weights.constant and is_left and not too_small)
        ):
            problems[f"{op.name} is {inputs.dtype} by {weights.dtype}"] = None
    return Check(
        "arithmetic",
        not problems,
        "; ".join(problems) or ", ".join(found) or "no weights",
    )


def _check_integer_only(
    facts: Facts, recipe: Recipe, float_tensors: frozenset[str]
) -> Check:
    """Every operator is integer but those that are to be in float."""
    problems = {}
    kept = 0
    for op in facts.operators:
        if op.name in ("QUANTIZE", "DEQUANTIZE"):
            continue
        if op.outputs[0].name in float_tensors:
            kept += 1
            if op.outputs[0].dtype != "float32":
                problems[f"{op.name} was to be left in float"] = None
            continue
        operands = [t for t in (*op.inputs, *op.outputs) if t is not None]
        if any("float" in tensor.dtype for tensor in operands):
            problems[f"{op.name} computes in float"] = None
        bias = op.inputs[2] if len(op.inputs) > 2 else None
        is_conv = op.name in (
            "CONV_2D",
            "DEPTHWISE_CONV_2D",
            "FULLY_CONNECTED",
        )
        # TFLite Micro takes an int32 bias for int64 and computes noise.
        is_int16x8_conv = recipe.quantize == "int16x8" and is_conv
        if is_int16x8_conv and bias is not None and bias.dtype != "int64":
            problems[f"{op.name} has a bias of {bias.dtype}"] = None
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
