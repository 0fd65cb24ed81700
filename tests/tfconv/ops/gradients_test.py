"""First and second derivatives of tfconv.depthwise_conv1d.

The operation is linear in the input and linear in the kernel, so the NumPy
statement and its two adjoints are all of its derivatives, of any order.
"""

import contextlib
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings

import tfconv
from tests.tfconv.ops import grid
from tests.tfconv.ops import reference
from tests.tfconv.ops.grid import Case
from tfconv import ops
from tfconv.ops import selection
from tfconv.ops.forms import shifted_taps
from tfconv.ops.selection import Form

MODES = ["eager", "graph", "jit"]


@contextlib.contextmanager
def parts():
    """Forms that graphs have else where there is more to do."""
    with selection.forcing({"graph": [Form.PARTS]}):
        yield


@contextlib.contextmanager
def untold():
    """As a layer is traced that is not told that it is training."""
    with parts(), ops.inference():
        yield


@contextlib.contextmanager
def taps_in_parts():
    """Sums of taps as long kernels have them."""
    with (
        mock.patch.object(shifted_taps, "_MOST_TAPS", 6),
        mock.patch.object(shifted_taps, "_TAPS_OF_PART", 4),
    ):
        yield


CONTEXTS = {
    "graph_parts": parts,
    "inference": untold,
    "jit_parts": taps_in_parts,
}
# What a graph computes without them, "eager" does.
ALL_MODES = ["eager", "jit", *CONTEXTS]


def in_mode(function, mode):
    if mode == "eager":
        return function
    compiled = tf.function(function, jit_compile=mode.startswith("jit"))

    def run(*arguments):
        with CONTEXTS.get(mode, contextlib.nullcontext)():
            return compiled(*arguments)

    return run


def differentiate(cases):
    """A function of the lists x, w and dy: the lists dx and dw."""

    def gradients(xs, ws, dys):
        with tf.GradientTape() as tape:
            tape.watch([xs, ws])
            ys = [
                tfconv.depthwise_conv1d(x, w, **case.window)
                for case, x, w in zip(cases, xs, ws, strict=True)
            ]
        return tape.gradient(ys, (xs, ws), output_gradients=dys)

    return gradients


def with_unknown_batch_and_steps(gradients, cases):
    return tf.function(gradients).get_concrete_function(
        [tf.TensorSpec([None, None, case.channels]) for case in cases],
        [tf.TensorSpec(case.kernel_shape) for case in cases],
        [
            tf.TensorSpec([None, None, case.channels * case.multiplier])
            for case in cases
        ],
    )


def check(gradients, cases):
    operands = [case.operands() for case in cases]
    xs, ws, dys = (
        [tf.constant(operand) for operand in column]
        for column in zip(*operands, strict=True)
    )
    dxs, dws = gradients(xs, ws, dys)
    for case, (x, w, dy), dx, dw in zip(cases, operands, dxs, dws, strict=True):
        case.check_input_gradient(dx, dy, w)
        case.check_kernel_gradient(dw, x, dy)


@grid.every_window
def test_eager_gradients(padding, strides, dilation_rate):
    for cases in grid.rounds(padding, strides, dilation_rate, every=6):
        check(differentiate(cases), cases)


@grid.some_windows
def test_graph_gradients_of_unknown_batch_and_steps(
    padding, strides, dilation_rate
):
    rounds = grid.rounds(padding, strides, dilation_rate, every=18)
    gradients = with_unknown_batch_and_steps(
        differentiate(rounds[0]), rounds[0]
    )
    for cases in rounds:
        check(gradients, cases)


@grid.some_windows
def test_gradients_without_training_of_unknown_batch_and_steps(
    padding, strides, dilation_rate
):
    cases = grid.sample(padding, strides, dilation_rate, every=36)
    with ops.inference():
        gradients = with_unknown_batch_and_steps(differentiate(cases), cases)
    check(gradients, cases)


@grid.some_windows
def test_xla_gradients(padding, strides, dilation_rate):
    cases = grid.sample(padding, strides, dilation_rate, every=36)
    check(in_mode(differentiate(cases), "jit"), cases)


@pytest.mark.parametrize("mode", ["eager", "jit"])
def test_gradients_of_long_kernels_and_many_channels(mode):
    check(in_mode(differentiate(grid.LARGE_CASES), mode), grid.LARGE_CASES)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(grid.any_case())
def test_eager_gradients_beyond_the_grid(case):
    check(differentiate([case]), [case])


@settings(max_examples=10, deadline=None, derandomize=True)
@given(grid.any_case())
def test_graph_gradients_beyond_the_grid(case):
    check(with_unknown_batch_and_steps(differentiate([case]), [case]), [case])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_gradients_of_every_dtype_err_no_more_than_they_must(dtype, mode):
    """16-bit sums are made in float32, the long ones of dw above all."""
    cases = [
        Case(3, channels=2, steps=500, padding="same"),
        Case(5, multiplier=2, padding="valid", strides=2),
        Case(4, multiplier=3, padding="causal", dilation_rate=3),
    ]
    if dtype == "float64":  # Else the forms are those of float32.
        cases += GRAPH_FORMS
    operands = [
        case.operands(tf.as_dtype(dtype).as_numpy_dtype) for case in cases
    ]
    gradients = in_mode(differentiate(cases), mode)
    dxs, dws = gradients(
        *([*map(tf.constant, column)] for column in zip(*operands, strict=True))
    )
    for case, (x, w, dy), dx, dw in zip(cases, operands, dxs, dws, strict=True):
        assert dx.dtype == dtype
        assert dw.dtype == dtype
        x, w, dy = (operand.astype(np.float64) for operand in (x, w, dy))
        case.check_input_gradient(dx.numpy(), dy, w)
        case.check_kernel_gradient(dw.numpy(), x, dy)


SECOND_ORDER_CASES = [
    Case(3, 2, 1, 7, padding="valid"),
    Case(4, 2, 2, 9, 2, padding="same"),
    Case(3, 1, 2, 8, padding="causal", dilation_rate=2),
]

# Those take the plain forms, these the others of graphs, ...
GRAPH_FORMS = [
    Case(21, 2, 2, 30, padding="same"),
    Case(12, 1, 1, 40, padding="causal"),
    Case(5, 8, 1, 12, 2, padding="same"),
    Case(16, 3, 1, 40, 4, padding="causal"),
    Case(2, 32, 1, 9, padding="causal", dilation_rate=2),
]
# ... and of XLA.
XLA_FORMS = [Case(33, 1, 2, 70, 16), Case(2, 2, 1, 70, padding="same")]


def cases_of(mode):
    """Cases that take every form of a mode once or twice."""
    if mode == "jit_parts":
        return [Case(9, 2, 1, 11, padding="same")]
    if mode == "eager":
        return SECOND_ORDER_CASES
    return SECOND_ORDER_CASES + (XLA_FORMS if mode == "jit" else GRAPH_FORMS)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_gradients_of_gradients(mode):
    """Those of <u, dx> + <v, dw>, which is what backpropagation makes of them.

    <u, dx> is <dy, conv(u, w)>, and <v, dw> is <dy, conv(x, v)>.
    """
    cases = cases_of(mode)
    first_order = differentiate(cases)

    def second_order(xs, ws, dys, us, vs):
        with tf.GradientTape() as tape:
            tape.watch([xs, ws, dys])
            dxs, dws = first_order(xs, ws, dys)
        return tape.gradient(
            (dxs, dws), (xs, ws, dys), output_gradients=(us, vs)
        )

    operands = [case.operands(np.float64) for case in cases]
    us = [x[:, ::-1] ** 2 for x, _, _ in operands]
    vs = [np.sin(7 * w) for _, w, _ in operands]
    derivatives = in_mode(second_order, mode)(
        *(
            [*map(tf.constant, column)]
            for column in zip(*operands, strict=True)
        ),
        [*map(tf.constant, us)],
        [*map(tf.constant, vs)],
    )
    for case, (x, w, dy), u, v, in_x, in_w, in_dy in zip(
        cases, operands, us, vs, *derivatives, strict=True
    ):
        case.check_input_gradient(in_x, dy, v)
        case.check_kernel_gradient(in_w, u, dy)
        window = case.window
        # A sum of two sums: as many products more, and one more rounding.
        reference.assert_is_rounded_sum(
            in_dy,
            reference.depthwise_conv1d(u, w, **window)
            + reference.depthwise_conv1d(x, v, **window),
            reference.depthwise_conv1d(np.abs(u), np.abs(w), **window)
            + reference.depthwise_conv1d(np.abs(x), np.abs(v), **window),
            terms=2 * case.kernel_size,
        )


# A central difference of step h errs by h**2/6 times the third derivative and
# by the rounding eps/h: with float64 and derivatives near 1, 1e-10 for both.
DIFFERENCE_STEP = 1e-5
# That, for sums of tens of such terms, with a margin.
DIFFERENCE_TOLERANCE = 1e-7


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", SECOND_ORDER_CASES, ids=lambda c: c.padding)
def test_a_gradient_penalty_has_the_gradient_of_its_finite_differences(
    case, mode
):
    """|d loss / d x|**2 of a loss that is not linear in anything."""

    def penalty(x, w):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tfconv.depthwise_conv1d(x, w, **case.window)
            loss = tf.reduce_mean(tf.tanh(y) ** 2)
        return tf.reduce_sum(tape.gradient(loss, x) ** 2)

    def penalty_gradient(x, w):
        with tf.GradientTape() as tape:
            tape.watch(w)
            value = penalty(x, w)
        return tape.gradient(value, w)

    x, w, _ = (tf.constant(o) for o in case.operands(np.float64))
    steps = DIFFERENCE_STEP * np.eye(w.numpy().size).reshape([-1, *w.shape])
    differences = [
        (penalty(x, w + step) - penalty(x, w - step)) / (2 * DIFFERENCE_STEP)
        for step in steps
    ]
    np.testing.assert_allclose(
        np.ravel(in_mode(penalty_gradient, mode)(x, w)),
        differences,
        rtol=0,
        atol=DIFFERENCE_TOLERANCE,
    )
    # Or the tolerance would prove nothing.
    assert np.max(np.abs(differences)) > 1e4 * DIFFERENCE_TOLERANCE


@pytest.mark.parametrize("mode", ALL_MODES)
def test_jacobians_and_forward_mode_derivatives(mode):
    cases = cases_of(mode)

    def jacobians(xs):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(xs)
            ys = [
                tfconv.depthwise_conv1d(x, w, **case.window)
                for case, x, w in zip(cases, xs, ws, strict=True)
            ]
        return [tape.batch_jacobian(y, x) for y, x in zip(ys, xs, strict=True)]

    def along_directions(xs):
        with tf.autodiff.ForwardAccumulator(xs, directions) as accumulator:
            ys = [
                tfconv.depthwise_conv1d(x, w, **case.window)
                for case, x, w in zip(cases, xs, ws, strict=True)
            ]
        return accumulator.jvp(ys)

    operands = [case.operands() for case in cases]
    xs, ws, dys = ([*map(tf.constant, o)] for o in zip(*operands, strict=True))
    directions = [tf.cos(x) for x in xs]
    for case, jacobian, jvp, u, w, dy in zip(
        cases,
        in_mode(jacobians, mode)(xs),
        in_mode(along_directions, mode)(xs),
        directions,
        ws,
        dys,
        strict=True,
    ):
        case.check_outputs(jvp, u.numpy(), w.numpy())
        # The adjoint is the transposed Jacobian. Of its rows few are not zero.
        case.check_input_gradient(
            np.einsum("bio,biotc->btc", dy, jacobian), dy, w
        )


@pytest.mark.parametrize("mode", ALL_MODES)
def test_forward_mode_derivatives_of_gradients(mode):
    """Of dx along a direction of w, and of dw along one of x."""
    cases = cases_of(mode)
    first_order = differentiate(cases)

    def along_directions(xs, ws, dys, us, vs):
        with tf.autodiff.ForwardAccumulator((xs, ws), (us, vs)) as accumulator:
            gradients = first_order(xs, ws, dys)
        return accumulator.jvp(gradients)

    operands = [case.operands() for case in cases]
    us = [np.cos(x) for x, _, _ in operands]
    vs = [np.sin(7 * w) for _, w, _ in operands]
    of_dxs, of_dws = in_mode(along_directions, mode)(
        *([*map(tf.constant, o)] for o in zip(*operands, strict=True)),
        [*map(tf.constant, us)],
        [*map(tf.constant, vs)],
    )
    for case, (_, _, dy), u, v, of_dx, of_dw in zip(
        cases, operands, us, vs, of_dxs, of_dws, strict=True
    ):
        case.check_input_gradient(of_dx, dy, v)
        case.check_kernel_gradient(of_dw, u, dy)


def test_gradients_of_outputs_with_an_unknown_shape():
    cases = [Case(33, 7, 1, 50, 2), Case(9, 2, 2, 50, dilation_rate=3)]
    gradients = tf.function(
        differentiate(cases), jit_compile=True
    ).get_concrete_function(
        [tf.TensorSpec([None, case.steps, case.channels]) for case in cases],
        [tf.TensorSpec(case.kernel_shape) for case in cases],
        [
            tf.TensorSpec([None, None, case.channels * case.multiplier])
            for case in cases
        ],
    )
    check(gradients, cases)


@pytest.mark.parametrize("mode", MODES)
def test_a_kernel_that_is_not_watched_costs_the_input_no_gradient(mode):
    case = Case(3, 2, 2)
    x, w, dy = (tf.constant(operand) for operand in case.operands())

    def input_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tfconv.depthwise_conv1d(x, w, **case.window)
        return tape.gradient(y, x, output_gradients=dy)

    def kernel_gradient(w):
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = tfconv.depthwise_conv1d(x, w, **case.window)
        return tape.gradient(y, w, output_gradients=dy)

    case.check_input_gradient(in_mode(input_gradient, mode)(x), dy, w)
    case.check_kernel_gradient(in_mode(kernel_gradient, mode)(w), x, dy)


def test_a_gradient_taken_under_xla_of_a_forward_pass_outside():
    """One function may be compiled, and the tape around it not."""
    case = Case(3, 2, 2)
    x, w, dy = (tf.constant(operand) for operand in case.operands())

    @tf.function(jit_compile=True)
    def forward(x, w):
        return tfconv.depthwise_conv1d(x, w, **case.window)

    with tf.GradientTape() as tape:
        tape.watch([x, w])
        y = forward(x, w)
    dx, dw = tape.gradient(y, [x, w], output_gradients=dy)
    case.check_input_gradient(dx, dy, w)
    case.check_kernel_gradient(dw, x, dy)


@grid.every_window
def test_the_adjoints_of_the_numpy_statement_are_adjoint(
    padding, strides, dilation_rate
):
    """<dy, conv(x, w)> = <dx, x> = <dw, w>, or this file proves nothing."""
    case = Case(4, 3, 2, 19, strides, padding, dilation_rate)
    x, w, dy = case.operands(np.float64)
    value = np.vdot(dy, reference.depthwise_conv1d(x, w, **case.window))
    dx = reference.input_gradient(dy, w, case.steps, **case.window)
    dw = reference.kernel_gradient(x, dy, case.kernel_size, **case.window)
    np.testing.assert_allclose(np.vdot(dx, x), value, rtol=1e-10)
    np.testing.assert_allclose(np.vdot(dw, w), value, rtol=1e-10)
