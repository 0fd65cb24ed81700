"""Probabilities are as close as what they tell."""

import numpy as np
import pytest

from tfconv_export import agreement
from tfconv_export import probabilities

FLOOR = agreement.MIN_SQNR_DB["int8"]


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def softmax(logits):
    powers = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def in_int8(values):
    return np.clip(np.round(values * 256), 0, 255) / 256


def sqnr_db(expected, found, quantize="int8"):
    return probabilities.sqnr_db(expected, found, quantize)


@pytest.mark.parametrize("quantize", ["int8", "int16x8", "float16", "dynamic"])
def test_what_a_quiet_room_gives_is_no_noise(quantize):
    # A sigmoid of -9 is 0.0001, a quarter of a thousandth of int8's range.
    expected = sigmoid(np.random.default_rng(0).normal(-12, 1, (200, 1)))
    assert sqnr_db(expected, np.zeros((200, 1)), quantize) > 40


def test_rounding_to_int8_is_no_noise():
    expected = softmax(np.random.default_rng(0).normal(0, 3, (50, 12)))
    assert sqnr_db(expected, in_int8(expected)) == np.inf


@pytest.mark.parametrize("form", [lambda p: p, lambda p: np.hstack([1 - p, p])])
@pytest.mark.parametrize("stuck_at", [0.5, 0.7, 0.88])
@pytest.mark.parametrize("yes", [1, 5, 199])
def test_a_yes_that_cannot_be_said_is_noise_however_rare(form, stuck_at, yes):
    expected = np.full((200, 1), 1e-4)
    expected[:yes] = 0.9999
    found = np.minimum(expected, stuck_at)
    assert sqnr_db(form(expected), form(found)) < FLOOR


def test_a_class_that_is_never_said_is_noise():
    logits = np.random.default_rng(0).normal(0, 1, (240, 12))
    logits[np.arange(240), np.arange(240) % 12] += 8
    muted = logits.copy()
    muted[:, 7] = np.minimum(muted[:, 7], 0.0)
    expected = softmax(logits)
    assert sqnr_db(expected, in_int8(softmax(muted))) < FLOOR


def test_a_distribution_over_a_thousand_classes_that_is_flat_is_noise():
    expected = np.full((20, 1000), 0.7 / 999)
    expected[np.arange(20), np.arange(20)] = 0.3
    assert sqnr_db(expected, np.full((20, 1000), 1e-3)) < FLOOR


@pytest.mark.parametrize("noise_db", [15, 25, 35])
@pytest.mark.parametrize(
    ("function", "classes"), [(sigmoid, 1), (sigmoid, 5), (softmax, 12)]
)
def test_noise_is_at_most_about_that_of_the_logits(function, classes, noise_db):
    # They are clipped to 9 bits, and rounding is left out: it is less, if
    # anything, but for the worst of 24 groups of examples.
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (400, classes))
    noisy = logits + rng.normal(0, 4 * 10 ** (-noise_db / 20), logits.shape)
    ratio = sqnr_db(function(logits), function(noisy))
    assert ratio > noise_db - 4


def test_what_hardly_tells_anything_may_err_by_hardly_anything():
    expected = 0.5 + np.random.default_rng(0).uniform(-0.02, 0.02, (100, 1))
    assert sqnr_db(expected, np.full((100, 1), 0.5)) > 20
    expected = 0.5 + np.random.default_rng(0).uniform(-0.3, 0.3, (100, 1))
    assert sqnr_db(expected, np.full((100, 1), 0.5)) < FLOOR


def test_float32_may_lose_a_probability_that_is_hardly_one():
    expected = np.full((4, 1, 1), 1e-30, np.float32)
    found = np.zeros_like(expected)
    for bounds, passes in (((0.0, 1.0), True), ((0.0, np.inf), False)):
        measured = agreement.measure("", "p", expected, found, bounds=bounds)
        assert agreement.is_within_float32(measured) is passes


def warnings_of(expected, bounds, quantize="int8"):
    return agreement.warn_of_little_variation(
        "p", np.asarray(expected, np.float32), bounds, quantize
    )


SHARE, ANY = (0.0, 1.0), (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("expected", "bounds", "told"),
    [
        ([[0.001], [0.02]], SHARE, "spans 0.001 to 0.02, all below 0.5"),
        ([[0.97], [0.99]], SHARE, "spans 0.97 to 0.99, all above 0.5"),
        ([[0.1, 0.9], [0.2, 0.8]], SHARE, "0.8 to 0.9 for the class 1"),
        ([[300.0], [303.0]], ANY, "2.5 steps of the file's"),
    ],
)
def test_outputs_that_hardly_vary_are_told_with_figures(expected, bounds, told):
    (warning,) = warnings_of(expected, bounds)
    assert told in warning
    assert "on the representative data: add" in warning


@pytest.mark.parametrize(
    ("expected", "bounds"),
    [
        ([[0.3], [0.7]], SHARE),
        # A label that is never true has the range of the others.
        ([[0.01, 0.9], [0.02, 0.1]], SHARE),
        ([[0.1, 0.9], [0.8, 0.2]], SHARE),
        ([[1.0], [1.0]], (1.0, 1.0)),
        ([[290.0], [310.0]], ANY),
        # The layers tell of this.
        ([[0.0], [0.0]], ANY),
    ],
)
def test_outputs_that_vary_or_never_can_are_not_told(expected, bounds):
    assert warnings_of(expected, bounds) == ()


def test_int16_tells_apart_what_int8_does_not():
    assert warnings_of([[300.0], [303.0]], ANY, "int16x8") == ()
