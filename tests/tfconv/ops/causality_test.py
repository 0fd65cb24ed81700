"""Which input steps an output may know of."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
from tests.tfconv.ops import grid
from tests.tfconv.ops import reference
from tests.tfconv.ops.grid import Case

STEPS = 17
CAUSAL_CASES = [
    Case(kernel_size, channels, multiplier, STEPS, strides, "causal", dilation)
    for kernel_size, channels, multiplier in [(2, 1, 1), (5, 3, 2), (33, 8, 1)]
    for strides, dilation in grid.STEPPINGS
]
MODES = ["eager", "graph", "jit"]
POISONS = [np.inf, np.nan]


def convolution(cases, mode):
    """Of lists of arrays, all cases in one function."""

    def convolve(xs, ws):
        return [
            tfconv.depthwise_conv1d(x, w, **case.window)
            for case, x, w in zip(cases, xs, ws, strict=True)
        ]

    if mode != "eager":
        convolve = tf.function(convolve, jit_compile=mode == "jit")
    return lambda xs, ws: [
        y.numpy()
        for y in convolve([*map(tf.constant, xs)], [*map(tf.constant, ws)])
    ]


@pytest.mark.parametrize("mode", MODES)
def test_causal_outputs_do_not_know_the_future(mode):
    convolve = convolution(CAUSAL_CASES, mode)
    clean_xs = [case.operands()[0] for case in CAUSAL_CASES]
    ws = [case.operands()[1] for case in CAUSAL_CASES]
    clean = convolve(clean_xs, ws)
    for poison in POISONS:
        for t in range(STEPS):
            xs = [x.copy() for x in clean_xs]
            for x in xs:
                x[:, t + 1 :] = poison
            outputs = convolve(xs, ws)
            for case, y, expected in zip(
                CAUSAL_CASES, outputs, clean, strict=True
            ):
                # Windows end at the steps 0, strides, 2 * strides, ...
                seen = t // case.strides + 1
                np.testing.assert_array_equal(
                    y[:, :seen],
                    expected[:, :seen],
                    err_msg=f"{case}, {poison} after step {t}",
                )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strides", [1, 3])
def test_matrix_products_do_not_know_a_finite_future(strides, mode):
    """Of what is not finite the outputs next to the windows may know, too."""
    case = Case(64, 1, 1, 1100, strides, "causal")
    convolve = convolution([case], mode)
    x, w, _ = case.operands()
    (clean,) = convolve([x], [w])
    for t in (0, 500, 531, 1098):
        seen = t // strides + 1
        spoilt = x.copy()
        spoilt[:, t + 1 :] = 1e30
        (y,) = convolve([spoilt], [w])
        np.testing.assert_array_equal(y[:, :seen], clean[:, :seen])
        spoilt[:, t + 1 :] = np.nan
        (y,) = convolve([spoilt], [w])
        farther = max(0, seen - 64)
        np.testing.assert_array_equal(y[:, :farther], clean[:, :farther])


@pytest.mark.parametrize(
    "kernel_size, channels, multiplier", [(101, 8, 1), (125, 9, 1), (39, 8, 2)]
)
def test_taps_in_parts_spoil_only_the_windows_that_meet_a_bad_step(
    kernel_size, channels, multiplier
):
    """Neither of the outputs nor of the gradients of the inputs."""
    case = Case(kernel_size, channels, multiplier, 150, padding="causal")
    x, w, dy = case.operands()

    @tf.function(jit_compile=True)
    def outputs_and_gradient(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tfconv.depthwise_conv1d(x, w, **case.window)
        return y, tape.gradient(y, x, dy)

    meetings = reference.meetings(150, kernel_size, **case.window)
    for t in (0, 40, 110, 149):
        bad_x, bad_dy = x.copy(), dy.copy()
        bad_x[:, t] = bad_dy[:, t] = np.nan
        y, dx = outputs_and_gradient(bad_x, bad_dy)
        of_window, of_frame = meetings[:, :, t].any(1), meetings[t].any(0)
        np.testing.assert_array_equal(np.isnan(y[0, :, 0]), of_window)
        np.testing.assert_array_equal(np.isnan(dx[0, :, 0]), of_frame)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", grid.PADDINGS)
def test_one_bad_step_spoils_only_the_windows_that_meet_it(padding, mode):
    cases = [
        Case(3, 1, multiplier, STEPS, strides, padding, dilation_rate, batch=1)
        for multiplier in (1, 2)
        for strides, dilation_rate in grid.STEPPINGS
    ]
    convolve = convolution(cases, mode)
    ws = [case.operands()[1] for case in cases]
    for t in range(STEPS):
        xs = [case.operands()[0] for case in cases]
        for x in xs:
            x[:, t] = np.nan
        for case, y in zip(cases, convolve(xs, ws), strict=True):
            meetings = reference.meetings(STEPS, 3, **case.window)
            np.testing.assert_array_equal(
                np.isnan(y[0, :, 0]),
                meetings[:, :, t].any(axis=1),
                err_msg=f"{case}, NaN at step {t}",
            )


@pytest.mark.parametrize("mode", MODES)
def test_a_bad_step_spoils_nothing_before_or_after_the_windows(mode):
    """Where a dilated kernel is a longer one with zeros between its taps."""
    case = Case(3, 16, 1, 50, padding="causal", dilation_rate=4)
    convolve = convolution([case], mode)
    x, w, _ = case.operands()
    (clean,) = convolve([x], [w])
    for t in (0, 20, 49):
        for poison in POISONS:
            bad_x = x.copy()
            bad_x[:, t] = poison
            (y,) = convolve([bad_x], [w])
            assert not np.isfinite(y[:, t : t + 9 : 4]).any()
            y[:, t : t + 9] = clean[:, t : t + 9]
            np.testing.assert_array_equal(y, clean)


@pytest.mark.parametrize("mode", MODES)
def test_a_bad_channel_or_example_stays_where_it_is(mode):
    case = Case(3, 3, 2, STEPS)
    x, w, _ = case.operands()
    x[1, :, 2] = np.nan
    (y,) = convolution([case], mode)([x], [w])
    expected = np.zeros(y.shape, bool)
    expected[1, :, 4:] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize("strides", [1, 2, 3, 4])
def test_causal_is_keras_conv1d_causal_on_one_channel(strides):
    """Keras has no causal depthwise layer; on one channel Conv1D is one."""
    for kernel_size, steps in [(1, 5), (3, 2), (3, 9), (4, 12), (5, 11)]:
        case = Case(kernel_size, 1, 2, steps, strides, "causal")
        x, w, _ = case.operands()
        layer = keras.layers.Conv1D(
            2, kernel_size, strides=strides, padding="causal", use_bias=False
        )
        layer.build(x.shape)
        layer.set_weights([w])
        y = tfconv.depthwise_conv1d(x, w, **case.window)
        assert y.shape == layer(x).shape
        case.check_outputs(layer(x), x, w)
        case.check_outputs(y, x, w)
