"""What tfconv.depthwise_conv1d refuses, and with which words."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import tfconv
from tests.tfconv.ops import grid

TOO_SHORT = "Computed output size would be zero or negative"


def convolve_symbolically(x, w, **window):
    """What tracing says of inputs of this shape, or of any batch of them."""
    tf.function(
        lambda x, w: tfconv.depthwise_conv1d(x, w, **window), autograph=False
    ).get_concrete_function(
        tf.TensorSpec([None, *np.shape(x)[1:]]), tf.TensorSpec(np.shape(w))
    )


@pytest.mark.parametrize(
    "strides, dilation_rate",
    grid.STEPPINGS,
)
def test_valid_refuses_every_input_shorter_than_a_window(
    strides, dilation_rate
):
    window = {"strides": strides, "dilation_rate": dilation_rate}
    for kernel_size in grid.KERNEL_SIZES:
        span = dilation_rate * (kernel_size - 1) + 1
        w = np.ones([kernel_size, 3, 2], np.float32)
        for steps in {span - 1, kernel_size - 1, 1, 0}:
            if steps >= span:
                continue
            x = np.ones([2, steps, 3], np.float32)
            with pytest.raises(ValueError, match=TOO_SHORT):
                tfconv.depthwise_conv1d(x, w, **window)
            with pytest.raises(ValueError, match=TOO_SHORT):
                convolve_symbolically(x, w, **window)


def test_the_error_of_a_short_input_shows_what_it_was_computed_from():
    with pytest.raises(ValueError) as error:
        tfconv.depthwise_conv1d(
            np.ones([2, 4, 3], np.float32),
            np.ones([3, 3, 5], np.float32),
            dilation_rate=2,
        )
    for part in ("(2, 4, 3)", "(3, 3, 5)", "dilation_rate=2", "padding=valid"):
        assert part in str(error.value)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(
    "strides, dilation_rate", [(1, 1), (2, 1), (4, 1), (1, 2), (1, 4)]
)
def test_steps_that_turn_out_too_few_at_run_time_make_no_outputs(
    strides, dilation_rate, multiplier, jit_compile
):
    """An error or none at all, but never garbage."""
    kernel_size = 4
    span = dilation_rate * (kernel_size - 1) + 1
    w = tf.ones([kernel_size, 3, multiplier])

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 3])],
        jit_compile=jit_compile,
    )
    def convolve(x):
        return tfconv.depthwise_conv1d(
            x, w, strides=strides, dilation_rate=dilation_rate
        )

    assert convolve(tf.ones([2, span, 3])).shape[1] == 1
    for steps in sorted({span - 1, kernel_size - 1, 1}):
        try:
            outputs = convolve(tf.ones([2, steps, 3]))
        except (ValueError, tf.errors.InvalidArgumentError):
            continue
        assert outputs.shape[1] == 0


def test_strides_with_dilation_are_refused_naming_both():
    with pytest.raises(
        ValueError, match=r"strides=3 and dilation_rate=2"
    ) as error:
        tfconv.depthwise_conv1d(
            np.ones([1, 20, 1], np.float32),
            np.ones([3, 1, 1], np.float32),
            strides=3,
            dilation_rate=2,
        )
    assert "`strides > 1` not supported in conjunction with" in str(error.value)


@pytest.mark.parametrize("name", ["strides", "dilation_rate"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", None, (1, 1), [1, 2]])
def test_strides_and_dilation_are_positive_ints(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        tfconv.depthwise_conv1d(
            np.ones([1, 9, 1], np.float32),
            np.ones([3, 1, 1], np.float32),
            **{name: value},
        )


@pytest.mark.parametrize(
    ("window", "told"),
    [
        ({"strides": 2**31}, "strides=2147483648"),
        ({"dilation_rate": 2**31}, "dilation_rate=2147483648"),
        ({"dilation_rate": 10**30}, f"dilation_rate={10**30}"),
        ({"dilation_rate": 2**30}, "dilation_rate=1073741824"),
    ],
)
def test_steps_beyond_32_bits_are_refused_showing_them(window, told):
    # TensorFlow's kernels would end the process.
    with pytest.raises(ValueError, match="at most 2147483647") as error:
        tfconv.depthwise_conv1d(
            np.ones([1, 9, 2], np.float32),
            np.ones([3, 2, 1], np.float32),
            padding="causal",
            **window,
        )
    assert told in str(error.value)


@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
@pytest.mark.parametrize("padding", ["same", "causal"])
@pytest.mark.parametrize(
    "strides, dilation_rate", [(1, 1), (3, 1), (1, 2), (1, 3)]
)
def test_no_time_steps_make_none_and_gradients_of_zeros(
    strides, dilation_rate, padding, mode
):
    def convolve(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tfconv.depthwise_conv1d(x, w, strides, padding, dilation_rate)
        return y, *tape.gradient(y, [x, w])

    if mode != "eager":
        convolve = tf.function(convolve, jit_compile=mode == "jit")
    y, dx, dw = convolve(tf.ones([2, 0, 3]), tf.ones([2, 3, 2]))
    assert y.shape == (2, 0, 6)
    assert dx.shape == (2, 0, 3)
    np.testing.assert_array_equal(dw, np.zeros([2, 3, 2]))


@pytest.mark.parametrize("padding", ["same", "causal"])
@pytest.mark.parametrize("dilation_rate", [1, 2, 3])
def test_no_time_steps_at_run_time_make_none_or_an_error(
    padding, dilation_rate
):
    @tf.function(input_signature=[tf.TensorSpec([None, None, 3])])
    def convolve(x):
        return tfconv.depthwise_conv1d(
            x, tf.ones([2, 3, 1]), 1, padding, dilation_rate
        )

    try:
        outputs = convolve(tf.ones([2, 0, 3]))
    except tf.errors.InvalidArgumentError:
        return
    assert outputs.shape == (2, 0, 3)


@pytest.mark.parametrize("padding", ["full", "", None, 1, ("valid",), b"same"])
def test_an_unknown_padding_is_refused_listing_the_known_ones(padding):
    with pytest.raises(ValueError) as error:
        tfconv.depthwise_conv1d(
            np.ones([1, 9, 1], np.float32),
            np.ones([3, 1, 1], np.float32),
            padding=padding,
        )
    assert "('valid', 'same', 'causal')" in str(error.value)
    assert repr(padding) in str(error.value)


@pytest.mark.parametrize("padding", grid.PADDINGS)
def test_padding_is_case_insensitive(padding):
    x, w = np.ones([1, 9, 1], np.float32), np.ones([4, 1, 1], np.float32)
    np.testing.assert_array_equal(
        tfconv.depthwise_conv1d(x, w, padding=padding.upper()),
        tfconv.depthwise_conv1d(x, w, padding=padding),
    )


def test_numpy_integers_are_integers():
    x, w = np.ones([1, 9, 1], np.float32), np.ones([3, 1, 1], np.float32)
    for dtype in (np.int32, np.int64, np.uint8):
        np.testing.assert_array_equal(
            tfconv.depthwise_conv1d(x, w, strides=dtype(2)),
            tfconv.depthwise_conv1d(x, w, strides=2),
        )
        np.testing.assert_array_equal(
            tfconv.depthwise_conv1d(x, w, dilation_rate=dtype(2)),
            tfconv.depthwise_conv1d(x, w, dilation_rate=2),
        )


WRONG_SHAPES = [
    ([9, 3], [3, 3, 1], "`inputs` must be of shape"),
    ([1, 1, 9, 3], [3, 3, 1], "`inputs` must be of shape"),
    ([1, 9, 3], [3, 3], "`kernel` must be of"),
    ([1, 9, 3], [1, 3, 3, 1], "`kernel` must be of"),
    ([1, 9, 3], [3, 2, 1], "number of channels"),
    ([1, 9, 1], [3, 3, 1], "number of channels"),
    ([1, 9, 3], [3, 1, 1], "number of channels"),
    ([1, 9, 3], [0, 3, 1], "must be > 0"),
    ([1, 9, 3], [3, 3, 0], "must be > 0"),
    ([1, 9, 0], [3, 0, 1], "must be > 0"),
]


@pytest.mark.parametrize(
    "input_shape, kernel_shape, message",
    WRONG_SHAPES,
    ids=[f"{x}-{w}" for x, w, _ in WRONG_SHAPES],
)
def test_shapes_that_do_not_match_are_refused_showing_them(
    input_shape, kernel_shape, message
):
    x = np.ones(input_shape, np.float32)
    w = np.ones(kernel_shape, np.float32)
    for attempt in (tfconv.depthwise_conv1d, convolve_symbolically):
        with pytest.raises(ValueError, match=message) as error:
            attempt(x, w, padding="same")
        shown = str(error.value)
        assert (
            str(tuple(kernel_shape)) in shown
            or str(input_shape[1:])[1:-1] in shown
        )


@pytest.mark.parametrize(
    "inputs, kernel",
    list(
        itertools.permutations(["float16", "bfloat16", "float32", "float64"], 2)
    ),
)
def test_tensors_of_two_dtypes_are_refused_naming_both(inputs, kernel):
    with pytest.raises(ValueError) as error:
        tfconv.depthwise_conv1d(
            tf.ones([1, 9, 1], inputs), tf.ones([3, 1, 1], kernel)
        )
    assert inputs in str(error.value)
    assert kernel in str(error.value)


@pytest.mark.parametrize("dtype", ["int32", "int8", "complex64", "bool"])
def test_only_floating_dtypes_are_accepted(dtype):
    with pytest.raises(ValueError, match="floating") as error:
        tfconv.depthwise_conv1d(
            tf.cast(tf.ones([1, 9, 1]), dtype),
            tf.cast(tf.ones([3, 1, 1]), dtype),
        )
    assert dtype in str(error.value)


def test_a_kernel_of_unknown_size_is_refused():
    @tf.function(
        input_signature=[
            tf.TensorSpec([1, 9, 1]),
            tf.TensorSpec([None, 1, 1]),
        ]
    )
    def convolve(x, w):
        return tfconv.depthwise_conv1d(x, w)

    with pytest.raises(ValueError, match="known shape"):
        convolve(tf.ones([1, 9, 1]), tf.ones([3, 1, 1]))
