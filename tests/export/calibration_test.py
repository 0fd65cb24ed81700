"""The examples that are chosen: which, as what, and what is said of them."""

import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.export.readers import AUDIO
from tests.export.readers import COUNT
from tests.export.readers import EXTRA
from tests.export.readers import TWO
from tests.export.readers import X
from tests.export.readers import Y
from tests.export.readers import choose
from tests.export.readers import stacked
from tfconv_export import calibration
from tfconv_export.data import ranges
from tfconv_export.errors import UsageError
from tfconv_export.source import Input

MANY = np.arange(500, dtype=np.float32)[:, None]
ONE = (Input("x", (1,), tf.float32),)


def test_examples_are_batches_of_one_in_the_dtype_of_the_model():
    examples = choose((100 * X).astype(np.int16))
    assert len(examples) == COUNT
    for example, expected in zip(examples, X, strict=True):
        assert example["audio"].dtype == np.float32
        assert example["audio"].shape == (1, 6, 3)
        np.testing.assert_array_equal(
            example["audio"][0], (100 * expected).astype(np.int16)
        )


def test_all_examples_are_taken_in_order_where_there_are_few():
    np.testing.assert_array_equal(stacked(choose(X)), X)
    np.testing.assert_array_equal(stacked(choose(X, count=None)), X)
    np.testing.assert_array_equal(stacked(choose(X, count=COUNT)), X)


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 600), seed=st.integers(0, 2**40))
def test_choice_is_a_subset_in_order_and_the_same_for_the_same_seed(
    count, seed
):
    examples = choose(MANY, ONE, count=count, seed=seed)
    values = stacked(examples, "x")[:, 0]
    assert len(examples) == len(values) == min(count, len(MANY))
    assert (np.diff(values) > 0).all()
    assert set(values) <= set(MANY[:, 0])
    again = choose(MANY, ONE, count=count, seed=seed)
    np.testing.assert_array_equal(values, stacked(again, "x")[:, 0])
    # They are the same on every pass.
    np.testing.assert_array_equal(values, stacked(examples, "x")[:, 0])


def test_choice_is_another_with_another_seed_and_reaches_everywhere():
    chosen = [
        set(stacked(choose(MANY, ONE, count=50, seed=seed), "x")[:, 0])
        for seed in range(60)
    ]
    assert len(set(map(frozenset, chosen))) == 60
    # A value is missed by all with a chance of 0.9**60 = 0.002.
    assert len(set().union(*chosen)) > 480


@pytest.mark.parametrize("count", [1, 3, 7, 1000])
def test_sampled_examples_are_evenly_spread(count):
    examples = choose(MANY, ONE)
    places = stacked(examples.sample(count), "x")[:, 0]
    assert len(places) == min(count, len(MANY))
    # One is anywhere in each of so many equal parts.
    part = -(-len(MANY) // len(places))
    ends = np.concatenate([[-1], places, [len(MANY)]])
    assert (np.diff(ends) > 0).all()
    assert (np.diff(ends) <= 2 * part).all()


def test_samples_are_of_both_classes_that_take_turns():
    places = stacked(choose(MANY, ONE).sample(100), "x")[:, 0]
    assert 25 < (places % 2).sum() < 75


@pytest.mark.parametrize("is_kept", [True, False])
def test_examples_that_are_too_large_to_keep_are_read_again(
    monkeypatch, is_kept
):
    monkeypatch.setattr(calibration, "_KEPT_BYTES", 10**6 if is_kept else 0)
    starts = []

    def function():
        starts.append(None)
        return ((x, y) for x, y in zip(X, Y, strict=True))

    examples = choose(function, count=5, seed=3, labelled=True)
    assert len(starts) == 2
    for _ in range(3):
        np.testing.assert_array_equal(stacked(examples), X[examples.indices])
        labels = [label for _, label in examples.labelled()]
        np.testing.assert_array_equal(labels, Y[examples.indices])
    assert len(starts) == (2 if is_kept else 8)


def test_summary_holds_the_figures_of_the_chosen_examples():
    source = {"audio": X, "extra": EXTRA}
    examples = choose(source, TWO, count=7, seed=5)
    for summary in examples.summaries:
        found = stacked(examples, summary.input).astype(np.float64)
        assert (summary.available, summary.used) == (COUNT, 7)
        assert summary.origin == examples.origin == "the given array"
        assert summary.minimum == found.min()
        assert summary.maximum == found.max()
        assert summary.mean == pytest.approx(found.mean(), rel=1e-12)
        assert summary.stddev == pytest.approx(found.std(), rel=1e-12)
    assert [s.input for s in examples.summaries] == ["audio", "extra"]


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6), max_size=5).map(np.array), max_size=5
    )
)
def test_statistics_are_those_of_all_numbers_at_once(parts):
    statistics = ranges.Statistics()
    for part in parts:
        statistics.add(part)
    values = np.concatenate([np.zeros(0), *parts])
    assert statistics.count == len(values)
    if len(values):
        scale = np.abs(values).max()
        assert statistics.minimum == values.min()
        assert statistics.maximum == values.max()
        assert abs(statistics.mean - values.mean()) <= 1e-12 * scale
        assert abs(statistics.stddev - values.std()) <= 1e-7 * scale


@pytest.mark.parametrize(
    ("mean", "stddev"),
    [(2, None), (None, 0.5), ((1, 2, 3), 4), (1.5, (0.1, 10, 1)), ([7], [2])],
)
def test_data_is_normalized_for_each_channel(mean, stddev):
    data = np.random.default_rng(0).integers(-99, 99, (COUNT, 6, 3))
    expected = (data - np.float64(0 if mean is None else mean)) / np.float64(
        1 if stddev is None else stddev
    )
    examples = choose(data.astype(np.int16), mean=mean, stddev=stddev)
    np.testing.assert_array_equal(stacked(examples), expected.astype("f4"))
    (summary,) = examples.summaries
    assert summary.maximum == pytest.approx(expected.max(), rel=1e-6)


def test_only_the_float_input_is_normalized():
    source = {"audio": X, "extra": EXTRA}
    examples = choose(source, TWO, mean=1.0)
    np.testing.assert_array_equal(stacked(examples, "extra"), EXTRA)
    np.testing.assert_allclose(stacked(examples), X - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"count": 0}, "--num_calibration_examples=0"),
        ({"count": -3}, "--num_calibration_examples=-3"),
        ({"count": 2.5}, "--num_calibration_examples=2.5"),
        ({"seed": -1}, "--seed=-1"),
        ({"seed": "a"}, "--seed=a"),
        ({"stddev": 0}, "--stddev=0 must be greater than 0"),
        ({"stddev": (1, -1, 1)}, "--stddev=1,-1,1"),
        ({"stddev": float("inf")}, "--stddev=inf"),
        ({"mean": float("nan")}, "--mean=nan"),
        ({"mean": (1, 2)}, "each of the 3 channels"),
        ({"mean": ()}, "has 0 values"),
        ({"mean": "loud"}, "--mean=loud must be numbers"),
    ],
)
def test_arguments_that_make_no_sense(options, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        choose(X, **options)


def test_normalizing_needs_one_float_input():
    with pytest.raises(UsageError, match="2: a, b"):
        two = tuple(Input(name, (1,), tf.float32) for name in "ab")
        choose({"a": MANY, "b": MANY}, two, mean=1)
    with pytest.raises(UsageError, match="0: none"):
        choose(MANY, (Input("x", (1,), tf.int32),), mean=1)


@pytest.mark.parametrize(
    ("value", "dtype", "told"),
    [
        (300, tf.int8, "300 in example 2"),
        (-1, tf.uint8, "-1 in example 2"),
        (0.5, tf.int32, "0.5 in example 2"),
        (2.0**40, tf.int32, "e+12 in example 2"),
        (2, tf.bool, "2 in example 2"),
        (1e39, tf.float32, "1e+39 in example 2"),
        (70000.0, tf.float16, "70000 in example 2"),
        (np.nan, tf.float32, "first in example 2"),
        (-np.inf, tf.int32, "first in example 2"),
    ],
)
@pytest.mark.parametrize("kind", ["array", "stream"])
def test_values_that_the_input_cannot_hold(value, dtype, told, kind):
    data = np.zeros((4, 2), np.asarray(value).dtype)
    data[2, 1] = value
    source = data if kind == "array" else lambda: iter(data)
    with pytest.raises(UsageError, match=re.escape(told)):
        choose(source, (Input("x", (2,), dtype),))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (tf.int8, [-128, 127]),
        (tf.uint8, [0, 255]),
        (tf.int32, [-3.0, 2.0**30]),
        (tf.bool, [0, 1]),
        (tf.bfloat16, [0.5, -3.0]),
        (tf.float16, [65504.0, 0.1]),
    ],
)
def test_values_that_the_input_can_hold(dtype, values):
    examples = choose(np.array([values] * 3), (Input("x", (2,), dtype),))
    expected = tf.cast(tf.constant(values, tf.float64), dtype).numpy()
    found = stacked(examples, "x")
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, [expected] * 3)


def test_strings_cannot_be_given():
    with pytest.raises(UsageError, match="takes string"):
        choose(MANY, (Input("x", (1,), tf.string),))


def test_progress_reaches_what_it_announced():
    for source, unknown in ((X, 0), (lambda: iter(X), COUNT)):
        calls = []
        choose(
            source, count=5, progress=lambda *call, to=calls: to.append(call)
        )
        expected = [(done + 1, None) for done in range(unknown)]
        expected += [(done + 1, 5) for done in range(5)]
        assert calls == expected


def test_few_examples_are_warned_about_with_their_number():
    (warning,) = choose(X).warnings
    assert "only 12 examples give" in warning
    (warning,) = choose(MANY, ONE, count=20).warnings
    assert "only 20 of 500 examples give" in warning
    assert choose(MANY, ONE, count=32).warnings == ()
    assert choose(X, argument="evaluation_data").warnings == ()


def test_constant_data_is_warned_about_with_its_value():
    (warning,) = choose(0 * MANY + 2.5, ONE).warnings
    assert "x is 2.5" in warning
    assert "500" in warning


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-1.0, 1.0, None),
        (-1.19, 1.19, None),
        (-0.26, 0.26, None),
        (-1.0, 1.21, "-1 to 1 .* -1 to 1.21 .* clipped"),
        (-1.21, 0.5, "-1 to 1 .* -1.21 to 0.5 .* clipped"),
        (0.0, 255.0, "0 to 255"),
        (-0.24, 0.24, "4.2 times"),
        (0.3, 0.3, "constant"),
    ],
)
def test_ranges_that_differ_are_warned_about_with_figures(low, high, told):
    base = choose(np.linspace(-1, 1, 40)[:, None], ONE)
    other = choose(np.linspace(low, high, 40)[:, None], ONE)
    warnings = ranges.compare_ranges(base.summaries, other.summaries)
    if told is None:
        assert warnings == ()
    else:
        (warning,) = warnings
        assert re.search(told, warning)


@pytest.mark.parametrize("dtype", [tf.float32, tf.int32])
def test_generated_examples_are_the_same_every_time_and_differ(dtype):
    inputs = (Input("audio", (40, 4), dtype),)
    once = stacked(calibration.generate(inputs))
    examples = calibration.generate(inputs)
    np.testing.assert_array_equal(once, stacked(examples))
    np.testing.assert_array_equal(once, stacked(examples))
    assert once.dtype == dtype.as_numpy_dtype
    assert once.shape == (16, 40, 4)
    assert once.std() > 0.4
    assert len(np.unique(once, axis=0)) == len(once)
    assert len(list(examples.sample(4))) == 4
    assert AUDIO[0].name in next(iter(examples))
