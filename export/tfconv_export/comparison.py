"""Does the file compute what was trained? Runs both; judges; never prints."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfconv_export.calibration import Examples
from tfconv_export.conversion import Recipe
from tfconv_export.flatbuffer import Facts
from tfconv_export.progress import Progress
from tfconv_export.progress import silent
from tfconv_export.result import Agreement
from tfconv_export.result import Check
from tfconv_export.result import Scatter
from tfconv_export.runtimes import WRONG_EVERYWHERE
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

# Kernels that round otherwise differ by less: this is twice the noise.
MAX_KERNEL_DIFFERENCE_DB = 6.0

_MAX_EXAMPLES = 200

# Reference kernels take 20 to 100 times as long.
_MAX_SLOW_EXAMPLES = 32

# Of a scatter plot.
_MAX_POINTS = 500

Outputs = dict[str, np.ndarray]


def compare(
    runtimes: Sequence[Runtime],
    source: Source,
    examples: Examples,
    progress: Progress = silent,
) -> tuple[list[Agreement], list[Scatter], dict[str, list[Outputs]]]:
    """Runs the file beside the trained model.

    Args:
        runtimes: the file, on each interpreter.
        source: the model.
        examples: what to run them on; at most 200, evenly spread, are used,
            of which the runtimes that are slow run 32.
        progress: called with what was done.

    Returns:
        One agreement and one scatter for each runtime and output; and the
        outputs of each runtime, by its name.
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
    return agreements, scatters, computed


def slow_sample(examples: Examples) -> Examples:
    """Those examples that the runtimes that are slow run in `compare`."""
    return examples.sample(_MAX_EXAMPLES).sample(_MAX_SLOW_EXAMPLES)


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
        detail += f", on {agreement.examples} examples"
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
                cause = _cause(agreement, agreements, facts)
                detail += f"; at least {floor:g} dB is needed: {cause}"
            checks.append(Check(name, passed, detail))
    return checks


def _cause(
    agreement: Agreement, agreements: list[Agreement], facts: Facts
) -> str:
    """What may be to blame for an output with too much noise."""
    others = [
        other
        for other in agreements
        if other.output == agreement.output
        # It is not where the model computes nothing but zeros.
        and np.isfinite(agreement.sqnr_db)
        and other.sqnr_db > agreement.sqnr_db + MAX_KERNEL_DIFFERENCE_DB
    ]
    if others:
        names = ", ".join(
            f"{other.runtime} ({other.sqnr_db:.1f} dB)" for other in others
        )
        return (
            f"{agreement.runtime} computes something else than {names}, which "
            "is no fault of the data: please report this"
        )
    for operator in facts.operators:
        for tensor in operator.outputs:
            cause = WRONG_EVERYWHERE.get((operator.name, tensor.dtype))
            if cause:
                return f"{operator.name} of {tensor.dtype} is wrong, as {cause}"
    return "is the representative data what the model was trained on?"


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
