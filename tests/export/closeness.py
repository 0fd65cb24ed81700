"""How close what a file computes comes to what was trained."""

import numpy as np

# float32 carries 24 bits, 1.2e-7 of a number; sums of a hundred products in
# another order lose one or two decimal digits of it.
MAX_FLOAT32_ERROR = 1e-5

# One wrong tap, one step of shift, or a bias left out costs a signal all but
# 0 to 12 dB; each bit of a number is 6 dB. float16 has 11 bits. int8 has 8, a
# few of them lost on a range wider than the typical value; int16x8 and dynamic
# have int8 weights and finer activations.
MIN_DB = {"float16": 55.0, "dynamic": 30.0, "int8": 25.0, "int16x8": 30.0}


def decibels(expected: np.ndarray, found: np.ndarray) -> float:
    """Signal to noise ratio; NaN if anything is not finite."""
    expected = np.asarray(expected, np.float64)
    noise = np.square(found - expected).sum()
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.square(expected).sum() / noise))


def relative_error(expected: np.ndarray, found: np.ndarray) -> float:
    """Largest error, in widths of the range of `expected`."""
    expected = np.asarray(expected, np.float64)
    return float(np.abs(found - expected).max() / np.ptp(expected))


def assert_close(
    expected: np.ndarray, found: np.ndarray, quantize: str = "none"
) -> None:
    """Holds if `found` is `expected` as closely as the mode allows."""
    assert found.shape == expected.shape
    assert np.ptp(expected) > 0.1, "there is nothing to compare with"
    if quantize == "none":
        assert relative_error(expected, found) <= MAX_FLOAT32_ERROR
    else:
        assert decibels(expected, found) >= MIN_DB[quantize]
