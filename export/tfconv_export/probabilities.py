"""How close probabilities are, in bits of what they tell.

In a quiet room a wake word's probability is 0.0001, and 0 in the file: hardly
any noise, and yet 0 dB. A file stuck at 0.5 where it is 0.9999 has 6 dB. So
they are compared by the logarithm of their odds, which is what a sigmoid is
given. The signal is how far that is from what is said without knowing anything.
The noise is taken by class, and apart where the model says yes and where it
says no: the one yes among many no's is what the net is for.
"""

import numpy as np

from tfconv_export.sqnr import decibels

# Steps of the output that the last operators may round: it has a fixed scale,
# not one taken from the data. Those of int8, of int16, and of the floats' own
# digits below 1; the mode dynamic quantizes what it multiplies to int8.
ROUNDING_STEPS = 2.0
STEPS = {
    "none": 2.0**-23,
    "float16": 2.0**-11,
    "dynamic": 1 / 256,
    "int8": 1 / 256,
    "int4": 1 / 256,
    "int16x8": 1 / 32768,
}

# What int8 cannot tell from 0, and from 1: half a step. That is 9 bits of odds.
_MARGIN = 1 / 512

# A model that is as unsure as this tells nothing that could be lost: the odds
# are doubled, or halved.
_LEAST_SIGNAL = 1.0**2

# Of fewer examples the noise is not a mean, but that of the worst of them.
_LEAST_EXAMPLES = 4


def sqnr_db(expected: np.ndarray, found: np.ndarray, quantize: str) -> float:
    """The signal-to-noise ratio of the log-odds, in decibels.

    Noise is what rounding does not explain; that of the class, and of the
    answer yes or no, for which there is the most of it.

    Args:
        expected: probabilities `(n, ..., classes)`, the trained model's.
        found: the file's.
        quantize: string, the mode of the file.

    Returns:
        Infinite if all differ by rounding only.
    """
    expected, found = (
        np.asarray(x, np.float64).reshape(-1, x.shape[-1] if x.ndim > 1 else 1)
        for x in (expected, found)
    )
    error = found - expected
    rounding = ROUNDING_STEPS * STEPS[quantize]
    unexplained = np.sign(error) * np.maximum(np.abs(error) - rounding, 0.0)
    unknowing = 1 / expected.shape[1] if sums_to_one(expected) else 0.5
    evidence = _bits(expected) - _bits(unknowing)
    noise = np.square(_bits(expected + unexplained) - _bits(expected))
    signals, noises = [_LEAST_SIGNAL], []
    for answer in (evidence > 0, evidence <= 0):
        counts = np.maximum(answer.sum(axis=0), _LEAST_EXAMPLES)
        noises.append((noise * answer).sum(axis=0) / counts)
        if answer.any():
            signals.append(np.square(evidence[answer]).mean())
    return float(decibels(np.max(signals), np.max(noises)))


def sums_to_one(probabilities: np.ndarray) -> bool:
    """Tells whether exactly one class is true, as softmax says it."""
    if probabilities.ndim < 2 or probabilities.shape[-1] < 2:
        return False
    sums = probabilities.sum(axis=-1, dtype=np.float64)
    return bool(np.abs(sums - 1.0).max() < 1e-3)


def one_answer(probabilities: np.ndarray) -> tuple[str, str] | None:
    """The span, and the remedy, where all examples have the same answer.

    An integer file has ranges for the answers that the calibration data has:
    calibrated on what is always below 0.5, it can say no more than 0.5.

    Args:
        probabilities: `(n, ..., classes)`, the trained model's.

    Returns:
        `None` where there are several answers.
    """
    low, high = probabilities.min(), probabilities.max()
    if sums_to_one(probabilities):
        likeliest = np.unique(probabilities.argmax(axis=-1))
        if len(likeliest) > 1:
            return None
        of_it = probabilities[..., likeliest[0]]
        return (
            f"{of_it.min():.2g} to {of_it.max():.2g} for the class "
            f"{likeliest[0]}, the likeliest everywhere,",
            "add examples of the other classes",
        )
    if low <= 0.5 <= high:
        return None
    side, wanted = (
        ("below", "positives") if high < 0.5 else ("above", "negatives")
    )
    return f"{low:.2g} to {high:.2g}, all {side} 0.5,", f"add {wanted}"


def _bits(probability) -> np.ndarray:
    inside = np.clip(probability, _MARGIN, 1 - _MARGIN)
    return np.log2(inside / (1 - inside))
