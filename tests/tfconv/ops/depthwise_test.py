"""The values of tfconv.depthwise_conv1d, against the NumPy statement."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings

import tfconv
from tests.tfconv.ops import grid
from tests.tfconv.ops import reference
from tests.tfconv.ops.grid import Case


def in_graph(cases, jit_compile, static=False):
    """One traced function of lists: the outputs of all cases' kernel shapes."""

    def convolve(xs, ws):
        return [
            tfconv.depthwise_conv1d(x, w, **case.window)
            for case, x, w in zip(cases, xs, ws, strict=True)
        ]

    function = tf.function(convolve, jit_compile=jit_compile)
    return function.get_concrete_function(
        [
            tf.TensorSpec(
                [case.batch, case.steps, case.channels]
                if static
                else [None, None, case.channels]
            )
            for case in cases
        ],
        [tf.TensorSpec(case.kernel_shape) for case in cases],
    )


def check(function, cases):
    operands = [case.operands() for case in cases]
    xs = [tf.constant(x) for x, _, _ in operands]
    ws = [tf.constant(w) for _, w, _ in operands]
    outputs = function(xs, ws)
    for case, (x, w, _), y in zip(cases, operands, outputs, strict=True):
        case.check_outputs(y, x, w)


@grid.every_window
def test_eager_outputs(padding, strides, dilation_rate):
    for cases in grid.rounds(padding, strides, dilation_rate, every=4):
        for case in cases:
            x, w, _ = case.operands()
            y = tfconv.depthwise_conv1d(x, w, **case.window)
            case.check_outputs(y, x, w)


@grid.some_windows
def test_graph_outputs_of_unknown_batch_and_steps(
    padding, strides, dilation_rate
):
    rounds = grid.rounds(padding, strides, dilation_rate, every=18)
    function = in_graph(rounds[0], jit_compile=False)
    for cases in rounds:
        check(function, cases)


@grid.some_windows
def test_xla_outputs_of_unknown_batch_and_steps(
    padding, strides, dilation_rate
):
    cases = grid.sample(padding, strides, dilation_rate, every=36)
    check(in_graph(cases, jit_compile=True), cases)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_outputs_of_static_shapes(jit_compile):
    cases = [
        case
        for padding in grid.PADDINGS
        for stepping in ((1, 1), (3, 1), (1, 3))
        for case in grid.sample(padding, *stepping, every=12)
    ]
    check(in_graph(cases, jit_compile, static=True), cases)


def test_xla_outputs_of_several_lengths_from_one_trace():
    rounds = grid.rounds("same", 2, 1, every=12)
    function = in_graph(rounds[0], jit_compile=True)
    for cases in rounds:
        check(function, cases)


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_outputs_of_long_kernels_and_many_channels(mode):
    if mode == "eager":
        for case in grid.LARGE_CASES:
            x, w, _ = case.operands()
            y = tfconv.depthwise_conv1d(x, w, **case.window)
            case.check_outputs(y, x, w)
    else:
        check(in_graph(grid.LARGE_CASES, mode == "jit"), grid.LARGE_CASES)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(grid.any_case())
def test_outputs_beyond_the_grid(case):
    x, w, _ = case.operands()
    case.check_outputs(tfconv.depthwise_conv1d(x, w, **case.window), x, w)


@pytest.mark.parametrize(
    "padding, strides, dilation_rate, expected",
    [
        ("valid", 1, 1, [321, 432, 543]),
        ("valid", 2, 1, [321, 543]),
        ("valid", 1, 2, [531]),
        ("same", 1, 1, [210, 321, 432, 543, 54]),
        # One zero before and one after.
        ("same", 2, 1, [210, 432, 54]),
        # 4 steps would need none, 5 need the odd one: at the end.
        ("same", 3, 1, [321, 54]),
        ("same", 1, 2, [310, 420, 531, 42, 53]),
        ("causal", 1, 1, [100, 210, 321, 432, 543]),
        ("causal", 2, 1, [100, 321, 543]),
        ("causal", 1, 2, [100, 200, 310, 420, 531]),
    ],
)
def test_a_sum_that_can_be_read(padding, strides, dilation_rate, expected):
    """Digits: the tap of weight 10**k brings its input step's number there.

    In `expected` a digit is the number of an input step, and its place from
    the right is the tap that lies on it.
    """
    x = np.float32([1, 2, 3, 4, 5]).reshape([1, 5, 1])
    w = np.float32([1, 10, 100]).reshape([3, 1, 1])
    window = {
        "strides": strides,
        "padding": padding,
        "dilation_rate": dilation_rate,
    }
    y = tfconv.depthwise_conv1d(x, w, **window)
    np.testing.assert_array_equal(np.ravel(y), expected)
    np.testing.assert_array_equal(
        np.ravel(reference.depthwise_conv1d(x, w, **window)), expected
    )


def test_output_channel_c_times_m_plus_j_is_input_channel_c_by_kernel_j():
    x = np.float32([[[1, 10]]])
    w = np.float32([[[1, 2, 3], [4, 5, 6]]])
    np.testing.assert_array_equal(
        tfconv.depthwise_conv1d(x, w), [[[1, 2, 3, 40, 50, 60]]]
    )


EMPTY_CASES = [
    Case(3, 3, multiplier, steps, strides, padding, dilation_rate, batch)
    for multiplier, strides, dilation_rate in (
        (1, 1, 1),
        (2, 1, 1),
        (2, 2, 1),
        (1, 1, 2),
    )
    for padding, steps, batch in (
        ("valid", 12, 0),
        ("same", 12, 0),
        ("causal", 12, 0),
    )
]


# Not in a graph traced for any batch size: there TensorFlow's oneDNN kernel
# gives a gradient of whatever was in the memory, to Keras's layer as to ours,
# and outputs of a wrong shape if the steps are unknown, too.
@pytest.mark.parametrize("mode", ["eager", "jit"])
@pytest.mark.parametrize(
    "case",
    EMPTY_CASES,
    ids=lambda case: (
        f"b{case.batch}-t{case.steps}-{case.padding}-s{case.strides}"
        f"-d{case.dilation_rate}-m{case.multiplier}"
    ),
)
def test_no_examples_make_none_and_no_kernel_gradient(case, mode):
    x, w, dy = (tf.constant(operand) for operand in case.operands())

    def forward_and_gradients(x, w, dy):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tfconv.depthwise_conv1d(x, w, **case.window)
        return y, *tape.gradient(y, [x, w], output_gradients=dy)

    if mode != "eager":
        forward_and_gradients = tf.function(
            forward_and_gradients,
            input_signature=[
                tf.TensorSpec([None, None, x.shape[2]]),
                tf.TensorSpec(w.shape),
                tf.TensorSpec([None, None, dy.shape[2]]),
            ],
            jit_compile=mode == "jit",
        )
    y, dx, dw = forward_and_gradients(x, w, dy)
    assert y.shape == dy.shape
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dw, np.zeros(case.kernel_shape))


@pytest.mark.parametrize("case", EMPTY_CASES, ids=str)
def test_no_examples_make_none_where_a_batch_of_any_size_was_traced(case):
    x, w, dy = (tf.constant(operand) for operand in case.operands())
    convolve = tf.function(
        lambda x, w: tfconv.depthwise_conv1d(x, w, **case.window),
        input_signature=[
            tf.TensorSpec([None, *x.shape[1:]]),
            tf.TensorSpec(w.shape),
        ],
    )
    assert convolve(x, w).shape == dy.shape


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_every_dtype_errs_no_more_than_it_must(dtype, mode):
    """16-bit sums are made in float32: one rounding, however many taps."""
    cases = [
        Case(3, padding="same"),
        Case(64, channels=2, steps=130, padding="causal"),
        Case(5, multiplier=2, padding="valid", strides=2),
        Case(4, multiplier=3, padding="same", dilation_rate=3),
        Case(21, multiplier=2, steps=30),
        Case(21, multiplier=4, steps=30),
    ]

    def convolve(xs, ws):
        return [
            tfconv.depthwise_conv1d(x, w, **case.window)
            for case, x, w in zip(cases, xs, ws, strict=True)
        ]

    operands = [
        case.operands(tf.as_dtype(dtype).as_numpy_dtype) for case in cases
    ]
    xs = [tf.constant(x) for x, _, _ in operands]
    ws = [tf.constant(w) for _, w, _ in operands]
    if mode != "eager":
        convolve = tf.function(convolve, jit_compile=mode == "jit")
    outputs = convolve(xs, ws)
    for case, (x, w, _), y in zip(cases, operands, outputs, strict=True):
        assert y.dtype == dtype
        case.check_outputs(
            y.numpy(), x.astype(np.float64), w.astype(np.float64)
        )


def test_shapes_known_when_traced_are_those_of_the_outputs():
    @tf.function(input_signature=[tf.TensorSpec([None, 11, 3])])
    def with_unknown_batch(x):
        y = tfconv.depthwise_conv1d(x, tf.ones([3, 3, 2]), 2, "same")
        assert y.shape.as_list() == [None, 6, 6]
        return y

    @tf.function(input_signature=[tf.TensorSpec([4, None, 3])])
    def with_unknown_steps(x):
        y = tfconv.depthwise_conv1d(x, tf.ones([3, 3, 2]), 2, "same")
        assert y.shape.as_list() == [4, None, 6]
        return y

    assert with_unknown_batch(tf.ones([4, 11, 3])).shape == (4, 6, 6)
    assert with_unknown_steps(tf.ones([4, 11, 3])).shape == (4, 6, 6)


def test_inputs_may_have_an_unknown_number_of_channels():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None])])
    def convolve(x):
        return tfconv.depthwise_conv1d(x, w, padding="same")

    case = Case(3, multiplier=2)
    x, w, _ = case.operands()
    case.check_outputs(convolve(x), x, w)


def test_operands_may_be_variables_arrays_and_lists():
    case = Case(3)
    x, w, _ = case.operands()
    expected = tfconv.depthwise_conv1d(x, w, **case.window)
    for actual in (
        tfconv.depthwise_conv1d(tf.Variable(x), tf.Variable(w), **case.window),
        tfconv.depthwise_conv1d(x.tolist(), tf.constant(w), **case.window),
        tfconv.depthwise_conv1d(tf.constant(x), w, **case.window),
    ):
        np.testing.assert_array_equal(actual, expected)
