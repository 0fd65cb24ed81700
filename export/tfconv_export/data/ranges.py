"""The ranges of data, and what is wrong with them."""

import math

import numpy as np

from tfconv_export.result import DataSummary

# Below it, the ranges of the activations hang on a few examples.
_FEW = 32


class Statistics:
    """Of all the numbers that were added, in float64.

    Attributes:
        count: int, how many there were.
        minimum: float, the smallest; infinite before there is any.
        maximum: float, the largest.
        mean: float.
    """

    def __init__(self):
        self.count = 0
        self.minimum = math.inf
        self.maximum = -math.inf
        self.mean = 0.0
        self._squares = 0.0

    def add(self, values: np.ndarray) -> None:
        """Adds them, by Chan et al., "Updating Formulae ...", 1979."""
        if not values.size:
            return
        values = np.asarray(values, np.float64)
        mean = float(values.mean())
        difference = mean - self.mean
        total = self.count + values.size
        self._squares += float(((values - mean) ** 2).sum())
        self._squares += difference**2 * self.count * values.size / total
        self.mean += difference * values.size / total
        self.count = total
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))

    @property
    def stddev(self) -> float:
        """The standard deviation; 0 before there is any number."""
        return math.sqrt(self._squares / max(self.count, 1))


def judge_calibration(
    summaries: tuple[DataSummary, ...],
) -> tuple[str, ...]:
    """Warnings where a calibration on such data may be poor."""
    first = summaries[0]
    warnings = []
    if first.used < _FEW:
        of = "" if first.used == first.available else f" of {first.available}"
        warnings.append(
            f"{first.origin}: only {first.used}{of} examples give the ranges "
            "of the activations; 100 to 200 are usual."
        )
    for summary in summaries:
        if summary.minimum == summary.maximum:
            warnings.append(
                f"{summary.origin}: input {summary.input} is "
                f"{summary.minimum:.6g} everywhere in all {summary.used} "
                "examples; ranges from constant data do not hold for other."
            )
    return tuple(warnings)


def compare_ranges(
    calibration: tuple[DataSummary, ...], evaluation: tuple[DataSummary, ...]
) -> tuple[str, ...]:
    """Warnings where the evaluation data has another range than it should."""
    known = {summary.input: summary for summary in calibration}
    warnings = []
    for found in evaluation:
        base = known.get(found.input)
        if base is None:
            continue
        width = base.maximum - base.minimum
        beyond = max(base.minimum - found.minimum, found.maximum - base.maximum)
        ranges = (
            f"input {found.input} goes from {base.minimum:.4g} to "
            f"{base.maximum:.4g} in the calibration data, but from "
            f"{found.minimum:.4g} to {found.maximum:.4g} in the evaluation "
            "data"
        )
        if beyond > 0.1 * width:
            warnings.append(
                f"{ranges}, which will be clipped; calibrate on examples "
                "that are preprocessed alike and reach as far."
            )
        elif width > 4 * (found.maximum - found.minimum):
            warnings.append(
                f"{ranges}, {width / (found.maximum - found.minimum):.1f} "
                "times less; its steps will be too coarse if the calibration "
                "data is not preprocessed alike."
                if found.maximum > found.minimum
                else f"{ranges}, which is constant."
            )
    return tuple(warnings)
