"""NaN and infinity spread no further than TensorFlow's op spreads them."""

import numpy as np
import pytest
import tensorflow as tf

import tfconv
from tests.tfconv.ops.differentiation import forward_and_gradients
from tests.tfconv.ops.grid import Case
from tfconv.ops import selection
from tfconv.ops.selection import Form

CASES = {
    "plain": Case(9, channels=12, steps=120),
    "one_channel": Case(31, channels=1, steps=900),
    "few_channels": Case(15, channels=3, steps=400, padding="causal"),
    "multiplier": Case(9, channels=12, multiplier=2, steps=60),
    "stride": Case(17, channels=12, steps=91, strides=2),
    "stride_of_one_channel": Case(17, channels=1, steps=900, strides=3),
    "dilation": Case(5, channels=12, steps=61, dilation_rate=4),
}


def of_tensorflow(case):
    """TensorFlow's op, as Keras's layer calls it."""
    left = case.dilation_rate * (case.kernel_size - 1)

    def convolve(x, w):
        padding = case.padding
        if padding == "causal":
            x, padding = tf.pad(x, [[0, 0], [left, 0], [0, 0]]), "valid"
        return tf.nn.depthwise_conv2d(
            x[:, tf.newaxis],
            w[tf.newaxis],
            [1, case.strides, case.strides, 1],
            padding.upper(),
            dilations=[1, case.dilation_rate],
        )[:, 0]

    return convolve


@pytest.mark.parametrize("where", ["inputs", "upstream"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_not_finite_stays_where_it_is(name, where):
    case = CASES[name]
    x, w, dy = case.operands()
    for place in (0, 7, 33, -1):
        (x if where == "inputs" else dy)[0, place, 0] = np.nan
    operands = [tf.constant(each) for each in (x, w, dy)]

    def convolve(x, w):
        return tfconv.depthwise_conv1d(x, w, **case.window)

    with selection.forcing({"graph": [Form.PARTS]}):
        found = tf.function(forward_and_gradients(convolve))(*operands)
    expected = tf.function(forward_and_gradients(of_tensorflow(case)))(
        *operands
    )
    for ours, theirs in zip(found, expected, strict=True):
        spread = ~np.isfinite(ours) & np.isfinite(theirs)
        assert not spread.any(), np.argwhere(spread)[:10]
