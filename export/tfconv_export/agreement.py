"""How close a file's outputs come to what was trained: measures and judges."""

from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np

from tfconv_export import probabilities
from tfconv_export.conversion import Recipe
from tfconv_export.flatbuffer import Facts
from tfconv_export.output_bounds import UNBOUNDED
from tfconv_export.output_bounds import Bounds
from tfconv_export.output_bounds import is_probability
from tfconv_export.result import Agreement
from tfconv_export.result import Check
from tfconv_export.runtimes import WRONG_EVERYWHERE
from tfconv_export.sqnr import decibels

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

# Kernels that round otherwise differ by less: this is twice the noise.
MAX_KERNEL_DIFFERENCE_DB = 6.0


def measure(
    runtime: str,
    output: str,
    expected: np.ndarray,
    found: np.ndarray,
    *,
    step: float | None = None,
    bounds: Bounds = UNBOUNDED,
    quantize: str = "none",
    data: str = "representative",
) -> Agreement:
    """Compares what a runtime computed with what was trained.

    Args:
        runtime: string, its name.
        output: string, the output's name.
        expected: the trained model's outputs, the first axis counting the
            examples.
        found: the file's, of the same shape.
        step: float, of the output's quantization; `None` without.
        bounds: between which numbers the model's outputs lie; probabilities
            are those between 0 and 1.
        quantize: string, the mode of the file.
        data: string, which data the examples are of.
    """
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
    finite = bool(np.isfinite(error).all() and np.isfinite(found).all())
    return Agreement(
        runtime=runtime,
        output=output,
        examples=len(expected),
        max_error=max_error,
        relative_error=max_error / width if width else max_error,
        sqnr_db=float(decibels(signals.sum(), noises.sum())),
        median_sqnr_db=float(np.median(decibels(signals, noises))),
        finite=finite,
        max_error_steps=max_error / step if step else None,
        same_argmax=same_argmax,
        log_odds_sqnr_db=probabilities.sqnr_db(expected, found, quantize)
        if finite and is_probability(bounds)
        else None,
        data=data,
    )


def judge(
    agreements: Iterable[Agreement],
    recipe: Recipe,
    min_sqnr_db: float | None = None,
    facts: Facts | None = None,
) -> list[Check]:
    """Judges how closely the file computes what was trained.

    Args:
        agreements: as from `measure`.
        recipe: what was asked for.
        min_sqnr_db: float, the least signal-to-noise ratio; `None` for the
            mode's own.
        facts: what is in the file, which may be to blame.

    Returns:
        One check for each runtime and output, on all data.
    """
    agreements = tuple(agreements)
    groups: dict[tuple[str, str], list[Agreement]] = {}
    for agreement in agreements:
        key = agreement.runtime, agreement.output
        groups.setdefault(key, []).append(agreement)
    checks = []
    for (runtime, output), group in groups.items():
        found = [
            _judged(item, recipe, min_sqnr_db, agreements, facts)
            for item in group
        ]
        checks.append(
            Check(
                f"{runtime}, output {output}",
                all(passed for passed, _ in found),
                ". ".join(detail for _, detail in found),
            )
        )
    return checks


def is_within_float32(agreement: Agreement) -> bool:
    """Tells whether a float32 file is as close as its rounding lets it be."""
    # Nothing but rounding, of a probability so small that its range is, too.
    is_rounding = agreement.log_odds_sqnr_db is not None and (
        agreement.max_error
        <= probabilities.ROUNDING_STEPS * probabilities.STEPS["none"]
    )
    return agreement.finite and (
        is_rounding or agreement.relative_error <= MAX_FLOAT32_ERROR
    )


def _judged(
    agreement: Agreement,
    recipe: Recipe,
    min_sqnr_db: float | None,
    agreements: Sequence[Agreement],
    facts: Facts | None,
) -> tuple[bool, str]:
    where = "evaluation data: " * (agreement.data == "evaluation")
    if not agreement.finite:
        return (
            False,
            f"{where}NaN or infinite outputs, of the file or the model",
        )
    detail = where + _described(agreement)
    if recipe.quantize == "none":
        if is_within_float32(agreement):
            return True, detail
        return False, f"{detail}; at most {MAX_FLOAT32_ERROR} is needed"
    floor = MIN_SQNR_DB[recipe.quantize] if min_sqnr_db is None else min_sqnr_db
    if agreement.judged_db >= floor:
        return True, detail
    cause = _cause(agreement, agreements, facts)
    return False, f"{detail}; at least {floor:g} dB is needed: {cause}"


def _cause(
    agreement: Agreement, agreements: Sequence[Agreement], facts: Facts | None
) -> str:
    """Names what may be to blame for an output with too much noise."""
    others = [
        other
        for other in agreements
        if (other.output, other.data) == (agreement.output, agreement.data)
        # It is not where the model computes nothing but zeros.
        and np.isfinite(agreement.judged_db)
        and other.judged_db > agreement.judged_db + MAX_KERNEL_DIFFERENCE_DB
    ]
    if others:
        names = ", ".join(
            f"{other.runtime} ({other.judged_db:.1f} dB)" for other in others
        )
        return (
            f"{agreement.runtime} computes something else than {names}, which "
            "is no fault of the data: please report this"
        )
    for operator in () if facts is None else facts.operators:
        for tensor in operator.outputs:
            cause = WRONG_EVERYWHERE.get((operator.name, tensor.dtype))
            if cause:
                return f"{operator.name} of {tensor.dtype} is wrong, as {cause}"
    if agreement.data == "evaluation":
        return (
            "does the representative data have all that the evaluation data "
            "has?"
        )
    return "is the representative data what the model was trained on?"


def _described(agreement: Agreement) -> str:
    detail = (
        f"max error {agreement.max_error:.3g} "
        f"({agreement.relative_error:.2g} of the range), "
        f"SQNR {agreement.sqnr_db:.1f} dB, median of the examples "
        f"{agreement.median_sqnr_db:.1f} dB"
    )
    if agreement.log_odds_sqnr_db is not None:
        detail += f", of the log-odds {agreement.log_odds_sqnr_db:.1f} dB"
    if agreement.max_error_steps is not None:
        detail += f", at most {agreement.max_error_steps:.1f} LSB"
    if agreement.same_argmax is not None:
        detail += f", same argmax {agreement.same_argmax:.1%}"
    return f"{detail}, on {agreement.examples} examples"


def warn_of_little_variation(
    output: str, expected: np.ndarray, bounds: Bounds, quantize: str
) -> tuple[str, ...]:
    """Warns where the calibration data shows too little of an output.

    Args:
        output: string, its name.
        expected: the trained model's, the first axis counting the examples.
        bounds: between which numbers they lie.
        quantize: string, an integer mode.
    """
    low, high = bounds
    expected = np.asarray(expected, np.float64)
    if low == high or len(expected) < 2 or not np.isfinite(expected).all():
        return ()
    if is_probability(bounds):
        found = probabilities.one_answer(expected)
    else:
        found = _few_steps(expected, 2 ** (16 if quantize == "int16x8" else 8))
    if found is None:
        return ()
    span, remedy = found
    return (
        f"the output {output} spans {span} on the representative data: "
        f"{remedy}.",
    )


def _few_steps(expected: np.ndarray, steps: int) -> tuple[str, str] | None:
    """The span, and the remedy, of what varies by the file's rounding only."""
    low, high = float(expected.min()), float(expected.max())
    step = (max(high, 0.0) - min(low, 0.0)) / (steps - 1)
    rows = expected.reshape(-1, expected.shape[-1] if expected.ndim > 1 else 1)
    spread = float(np.ptp(rows, axis=0).max())
    # What is the same everywhere is a layer's doing, not the data's.
    if not 0.0 < spread <= 2 * probabilities.ROUNDING_STEPS * step:
        return None
    return (
        f"{low:.6g} to {high:.6g}, which are {spread / step:.1f} steps of the "
        "file's, as its range begins or ends with 0",
        "add examples that differ more, or have the model give the difference "
        "from what is usual",
    )
