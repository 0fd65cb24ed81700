"""The window arithmetic, against a count of the windows themselves."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.tfconv.ops import reference
from tfconv.ops import PADDINGS
from tfconv.ops import Geometry

# The same examples in every run, however slow the machine.
repeatable = settings(derandomize=True, deadline=None)


@st.composite
def any_geometry(draw, paddings=PADDINGS):
    strides = draw(st.integers(1, 9))
    return Geometry(
        kernel_size=draw(st.integers(1, 12)),
        strides=strides,
        padding=draw(st.sampled_from(paddings)),
        dilation_rate=1 if strides > 1 else draw(st.integers(1, 6)),
    )


@repeatable
@given(any_geometry(), st.integers(1, 200))
def test_pads_and_output_steps_are_where_the_windows_are(geometry, steps):
    meetings = reference.meetings(steps, **dataclasses.asdict(geometry))
    windows = meetings.shape[0]
    assert geometry.output_steps(steps) == windows
    left, right = geometry.pads(steps)
    assert left >= 0
    assert right >= 0
    # Tap k of window i lies at i * strides + k * dilation_rate - left.
    for i, k, t in np.argwhere(meetings):
        position = i * geometry.strides + k * geometry.dilation_rate - left
        assert position == t
    padded = left + steps + right
    last = (windows - 1) * geometry.strides + geometry.effective_kernel_size
    if windows:
        # The padded input has room for the last window, not for one more.
        assert last <= padded < last + geometry.strides


@repeatable
@given(any_geometry(paddings=("same",)), st.integers(1, 200))
def test_same_pads_are_tensorflows(geometry, steps):
    """A convolution of ones by ones counts the steps in each window."""
    y = tf.nn.convolution(
        tf.ones([1, steps, 1]),
        tf.ones([geometry.kernel_size, 1, 1]),
        strides=geometry.strides,
        padding="SAME",
        dilations=geometry.dilation_rate,
    )
    meetings = reference.meetings(steps, **dataclasses.asdict(geometry))
    np.testing.assert_array_equal(np.ravel(y), meetings.sum(axis=(1, 2)))


@repeatable
@given(any_geometry(), st.integers(1, 50))
def test_pads_of_an_unknown_number_of_steps_are_those_of_the_number(
    geometry, steps
):
    left, right = geometry.pads(tf.constant(steps))
    assert (int(left), int(right)) == geometry.pads(steps)


@repeatable
@given(any_geometry(), st.integers(1, 200))
def test_causal_and_same_outputs_are_as_many_as_strides_begun(geometry, steps):
    if geometry.padding != "valid":
        assert geometry.output_steps(steps) == int(
            np.ceil(steps / geometry.strides)
        )


@repeatable
@given(any_geometry(), st.integers(0, 200))
def test_an_output_shape_is_refused_just_where_no_window_fits(geometry, steps):
    shape = (5, steps, 3)
    if geometry.padding == "valid" and steps < geometry.effective_kernel_size:
        with pytest.raises(ValueError, match="would be zero or negative"):
            geometry.output_shape(shape, 7)
    else:
        assert geometry.output_shape(shape, 7) == (
            5,
            geometry.output_steps(steps),
            7,
        )


def test_what_is_unknown_of_a_shape_stays_unknown():
    geometry = Geometry(3, strides=2, padding="same")
    assert geometry.output_shape((None, None, 3), 7) == (None, None, 7)
    assert geometry.output_shape((None, 5, 3), 7) == (None, 3, 7)
    assert geometry.output_shape((4, None, 3), 7) == (4, None, 7)


@pytest.mark.parametrize("padding", ["VALID", "full", "", None, 1])
def test_a_geometry_of_unknown_padding_is_refused(padding):
    with pytest.raises(ValueError, match=r"\('valid', 'same', 'causal'\)"):
        Geometry(3, padding=padding)


def test_a_geometry_of_strides_with_dilation_is_refused():
    with pytest.raises(ValueError, match="strides=2 and dilation_rate=3"):
        Geometry(3, strides=2, dilation_rate=3)
