"""What the operation means: a float64 NumPy statement of it and its adjoints.

Window i meets input step t with its tap k, or it does not: one boolean array,
with which the operation and its two gradients are matrix products. Nothing here
comes from tfconv.

Letters: b batch, t input steps, i output steps, k taps, c channels, m depth
multiplier.
"""

import itertools

import numpy as np

# What one rounding to nearest may add, relative to the rounded number, is half
# of the dtype's eps; the bounds below allow twice that, and so leave room for
# the reference's own rounding where the operation runs in float64 too.
EPS = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
}
# The distance between the smallest numbers of the dtype: underflow.
SUBNORMAL = {
    "float16": 2.0**-24,
    "bfloat16": 2.0**-133,
    "float32": 2.0**-126,
    "float64": 2.0**-1022,
}


def meetings(steps, kernel_size, strides=1, padding="valid", dilation_rate=1):
    """Boolean (i, k, t): whether tap k of window i lies on input step t."""
    span = dilation_rate * (kernel_size - 1) + 1

    def fitting(padded_steps):
        return len(range(0, padded_steps - span + 1, strides))

    if padding == "valid":
        left, outputs = 0, fitting(steps)
    elif padding == "causal":
        left, outputs = span - 1, fitting(steps + span - 1)
    else:
        # As few zeros as let a window begin at or before every stride-th step.
        outputs = len(range(0, steps, strides))
        total = next(
            p for p in itertools.count() if fitting(steps + p) >= outputs
        )
        left = total // 2
    i, k, t = np.ogrid[:outputs, :kernel_size, :steps]
    return i * strides + k * dilation_rate - left == t


def windows(x, kernel_size, **window):
    """(b, t, c) -> (b, i, k, c): the input step under each tap, or zero."""
    x = np.asarray(x, np.float64)
    batch, steps, channels = x.shape
    taps = meetings(steps, kernel_size, **window)
    under_taps = taps.reshape(-1, steps).astype(np.float64) @ x
    return under_taps.reshape(batch, *taps.shape[:2], channels)


def depthwise_conv1d(x, w, **window):
    """(b, t, c), (k, c, m) -> (b, i, c*m)."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    y = np.einsum("bikc,kcm->bicm", windows(x, w.shape[0], **window), w)
    return y.reshape(*y.shape[:2], w.shape[1] * w.shape[2])


def input_gradient(dy, w, steps, **window):
    """(b, i, c*m), (k, c, m) -> (b, t, c): the adjoint in the input."""
    dy, w = np.asarray(dy, np.float64), np.asarray(w, np.float64)
    dy = dy.reshape(*dy.shape[:2], *w.shape[1:])
    in_windows = np.einsum("bicm,kcm->bikc", dy, w)
    batch, outputs, taps, channels = in_windows.shape
    back = meetings(steps, w.shape[0], **window).reshape(-1, steps).T
    return back.astype(np.float64) @ in_windows.reshape(
        batch, outputs * taps, channels
    )


def kernel_gradient(x, dy, kernel_size, **window):
    """(b, t, c), (b, i, c*m) -> (k, c, m): the adjoint in the kernel."""
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    channels = x.shape[2]
    dy = dy.reshape(*dy.shape[:2], channels, dy.shape[2] // channels)
    return np.einsum("bikc,bicm->kcm", windows(x, kernel_size, **window), dy)


def assert_is_rounded_sum(actual, expected, magnitude, terms):
    """`actual` is a sum of products, rounded as its dtype cannot but round.

    A sum of n products, in whatever order, errs by at most n/2 eps times the
    sum of the products' magnitudes (Higham, Accuracy and Stability of
    Numerical Algorithms, section 4.2). The 16-bit dtypes are to be summed in
    float32, and rounded once.

    Args:
        actual: array or tensor of a floating dtype.
        expected: float64 array.
        magnitude: float64 array, the sum of the magnitudes of the products.
        terms: int, the number of products.
    """
    actual = np.asarray(actual)
    dtype = actual.dtype.name
    assert actual.shape == expected.shape
    summed_in = dtype if dtype in ("float32", "float64") else "float32"
    bound = (terms + 1) * EPS[summed_in] * magnitude + SUBNORMAL[dtype]
    if summed_in != dtype:
        bound = bound + EPS[dtype] * np.abs(expected)
    error = np.abs(actual.astype(np.float64) - expected)
    # Not `error.max() <= ...` alone: this is False for NaN.
    within = error <= bound
    assert np.all(within), (
        f"{np.sum(~within)} of {within.size} elements are off, by up to "
        f"{np.max(error)}, where {np.max(bound)} is rounding"
    )
