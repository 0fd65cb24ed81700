"""The signal-to-quantization-noise ratio (SQNR)."""

import numpy as np


def decibels(signal, noise) -> np.ndarray:
    """`10 * log10(signal / noise)`; infinite where there is no noise.

    Args:
        signal: sums of squares, an array or a number; where it is 0 and there
            is noise, the ratio is minus infinity.
        noise: likewise, of the errors. NaN gives NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.divide(signal, noise, dtype=np.float64)
        return np.where(np.equal(noise, 0), np.inf, 10 * np.log10(ratio))
