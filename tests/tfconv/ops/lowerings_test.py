"""All lowerings compute the same, wherever the operation is called.

Each is held to the NumPy statement within the rounding of float32 sums, and so
all of them to each other.
"""

import contextlib

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import tfconv
from tests.tfconv.ops import grid
from tests.tfconv.ops.differentiation import check
from tests.tfconv.ops.differentiation import forward_and_gradients
from tests.tfconv.ops.grid import Case
from tfconv import ops
from tfconv.ops import selection
from tfconv.ops.selection import Form


def check_under_xla(case, around=lambda convolve: convolve):
    """Checks what XLA compiles of a convolution, or of what is around it."""

    def convolve(x, w):
        return tfconv.depthwise_conv1d(x, w, **case.window)

    run = tf.function(
        forward_and_gradients(around(convolve)),
        jit_compile=True,
        autograph=False,
    )
    check(case, run(*(tf.constant(o) for o in case.operands())))


@st.composite
def case_of_many_forms(draw):
    """A case in which, across the draws, each form of each lowering runs.

    That takes long kernels, few channels and many, and inputs many times as
    long as the kernel.
    """
    strides = draw(st.sampled_from([1, 1, 2, 4]))
    dilation_rate = 1 if strides > 1 else draw(st.sampled_from([1, 1, 2, 5]))
    kernel_size = draw(st.sampled_from([2, 3, 7, 9, 10, 13, 31, 49, 110]))
    padding = draw(st.sampled_from(grid.PADDINGS))
    span = dilation_rate * (kernel_size - 1) + 1
    return Case(
        kernel_size,
        draw(st.sampled_from([1, 3, 8, 12, 40])),
        draw(st.sampled_from([1, 1, 2, 4])),
        draw(st.sampled_from([span, span + 7, 97, 98, 320]))
        if padding != "valid"
        else span + draw(st.sampled_from([0, 7, 98])),
        strides,
        padding,
        dilation_rate,
        batch=draw(st.sampled_from([2, 2, 25])),
    )


def reducing():
    """Even where there is little to do, which is what most tests do."""
    return selection.forcing({"graph": [Form.PARTS]})


LOWERINGS = {
    "graph": (contextlib.nullcontext, False),
    "reduced": (reducing, False),
    "native": (ops.inference, False),
    "xla": (contextlib.nullcontext, True),
}


def of_computed(convolve):
    """Of inputs that the program computes, and does not only receive."""
    return lambda x, w: convolve(x + tf.zeros_like(x), w)


@settings(max_examples=2, deadline=None, derandomize=True)
@given(case_of_many_forms(), st.booleans())
def test_all_lowerings_have_the_same_outputs_and_gradients(case, is_computed):
    operands = [tf.constant(operand) for operand in case.operands()]
    for context, jit_compile in LOWERINGS.values():

        def convolve(x, w, context=context):
            with context():
                return tfconv.depthwise_conv1d(x, w, **case.window)

        if is_computed:
            convolve = of_computed(convolve)

        run = tf.function(
            forward_and_gradients(convolve),
            jit_compile=jit_compile,
            autograph=False,
        )
        check(case, run(*operands))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(case_of_many_forms().filter(lambda case: case.dilation_rate == 1))
def test_the_exported_form_has_the_same_outputs(case):
    x, w, _ = case.operands()

    @tf.function(autograph=False)
    def convolve(x):
        return tfconv.depthwise_conv1d(x, w, **case.window)

    with ops.exporting():
        exported = convolve.get_concrete_function(tf.TensorSpec(x.shape))
    case.check_outputs(exported(tf.constant(x)), x, w)


def test_blocks_of_frames_of_wide_layers_and_of_few_examples():
    # XLA's blocks are shorter, and taps in parts, where there are few sums.
    for case in (
        Case(31, channels=128, steps=140, padding="causal", multiplier=2),
        Case(9, channels=256, steps=250, batch=1),
        Case(9, channels=64, steps=129, padding="causal", dilation_rate=8),
        Case(31, channels=40, steps=800, batch=1, padding="same"),
        Case(5, channels=9, steps=70, batch=8, strides=2, padding="valid"),
        Case(3, channels=64, steps=100, batch=16),
        Case(110, channels=12, steps=90, padding="same", multiplier=2),
    ):
        check_under_xla(case)


def test_inputs_that_xla_pads_where_they_are_computed():
    for case in (
        Case(31, channels=8, steps=400, padding="causal"),
        Case(9, channels=8, steps=310, padding="same", strides=2),
        Case(9, channels=8, steps=300, padding="causal", dilation_rate=2),
    ):
        check_under_xla(case, around=of_computed)


@pytest.mark.parametrize("batch", [0, 1, 32])
def test_short_signals_where_a_batch_of_any_size_was_traced(batch):
    case = Case(9, channels=8, steps=98, batch=batch)
    operands = [tf.constant(operand) for operand in case.operands()]
    run = tf.function(
        forward_and_gradients(
            lambda x, w: tfconv.depthwise_conv1d(x, w, **case.window)
        ),
        input_signature=[
            tf.TensorSpec([None, 98, 8]),
            tf.TensorSpec([9, 8, 1]),
            tf.TensorSpec([None, 98, 8]),
        ],
        jit_compile=True,
        autograph=False,
    )
    check(case, run(*operands))


# Few channels and many, a multiplier, a dilation.
CASES = [
    Case(9, channels=12, steps=30, padding="same", multiplier=2),
    Case(3, channels=4, steps=33, padding="causal", dilation_rate=4),
]


def in_nested_functions(convolve):
    inner = tf.function(convolve, autograph=False)
    return tf.function(lambda x, w: inner(x, w), autograph=False)


def in_cond(convolve):
    return lambda x, w: tf.cond(
        tf.reduce_sum(tf.abs(x)) > 0,
        lambda: convolve(x, w),
        lambda: convolve(-x, w),
    )


def in_map_fn(convolve):
    return lambda x, w: tf.map_fn(
        lambda example: convolve(example[tf.newaxis], w)[0], x
    )


def in_while_loop(convolve):
    def loop(x, w):
        _, y = tf.while_loop(
            lambda i, _: i < 2,
            lambda i, y: (i + 1, y + convolve(x, w) / 2),
            [0, tf.zeros_like(convolve(x, w))],
            maximum_iterations=2,
        )
        return y

    return loop


def in_recompute_grad(convolve):
    return lambda x, w: tf.recompute_grad(convolve)(x, w)


PLACES = [
    in_nested_functions,
    in_cond,
    in_map_fn,
    in_while_loop,
    in_recompute_grad,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_control_flow_changes_nothing(place, jit_compile):
    for case in CASES:

        def convolve(x, w, case=case):
            return tfconv.depthwise_conv1d(x, w, **case.window)

        run = tf.function(
            forward_and_gradients(place(convolve)),
            jit_compile=jit_compile,
            autograph=False,
        )
        check(case, run(*(tf.constant(o) for o in case.operands())))
