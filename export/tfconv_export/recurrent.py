"""Keras's recurrent layers, in forms that the converter can read.

A loop cannot be quantized. An LSTM need not be one: TFLite has an operator for
whole sequences, UNIDIRECTIONAL_SEQUENCE_LSTM, which the converter writes for
functions with the attributes that Keras 2 gave to its own. The operator keeps
its state from one invocation to the next; see `Facts.keeps_state`.
"""

import contextlib
import uuid

import keras
import numpy as np
import tensorflow as tf

from tfconv.ops.tracing import Lowering
from tfconv.ops.tracing import current_lowering

# By which the converter knows a function that is an LSTM.
API = "api_implements"
API_PREFIX = "lstm_"


@contextlib.contextmanager
def in_their_forms(*, fuses: bool):
    """Has Keras's recurrent layers take them when exported, for a while.

    What is no LSTM with Keras's default activations, or is called with a mask
    or with an initial state, stays what it is: a loop, or its steps.

    Args:
        fuses: bool, whether an LSTM is to be one operator.
    """
    layer = keras.layers.RNN
    original = layer.call

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if current_lowering() is not Lowering.EDGE:
            return original(self, sequences, initial_state, mask, training)
        is_plain = initial_state is None and mask is None
        if fuses and is_plain and _is_fusible(self):
            return _fused(self, sequences)
        with _slices_for_splits():
            return original(self, sequences, initial_state, mask, training)

    layer.call = call
    try:
        yield
    finally:
        layer.call = original


def kernels(layers: dict[str, keras.Layer]) -> dict[str, np.ndarray]:
    """Kernels of the layers that become one operator, by the same keys."""
    return {
        key: np.asarray(layer.cell.kernel)
        for key, layer in layers.items()
        if isinstance(layer, keras.layers.RNN) and _is_fusible(layer)
    }


def _is_fusible(layer: keras.layers.RNN) -> bool:
    cell = layer.cell
    return (
        type(cell) is keras.layers.LSTMCell
        and type(layer).inner_loop
        in (keras.layers.RNN.inner_loop, keras.layers.LSTM.inner_loop)
        and cell.activation is keras.activations.tanh
        and cell.recurrent_activation is keras.activations.sigmoid
        and not layer.stateful
        # Who asks for single steps, gets them: they keep no state.
        and not layer.unroll
    )


def _fused(layer: keras.layers.RNN, sequences: tf.Tensor):
    """The layer's outputs `(1, t, units)` or `(1, units)`, and its states."""
    cell = layer.cell
    zeros = tf.zeros((sequences.shape[0], cell.units))
    function = tf.function(
        _steps(layer.go_backwards),
        autograph=False,
        experimental_attributes={
            API: f"{API_PREFIX}{uuid.uuid4()}",
            "time_major": False,
            "go_backwards": layer.go_backwards,
        },
    )
    last, outputs, _, carry, _ = function(
        sequences,
        zeros,
        zeros,
        tf.convert_to_tensor(cell.kernel),
        tf.convert_to_tensor(cell.recurrent_kernel),
        tf.convert_to_tensor(cell.bias)
        if cell.use_bias
        else tf.zeros(4 * cell.units),
    )
    output = outputs if layer.return_sequences else last
    return (output, last, carry) if layer.return_state else output


def _steps(go_backwards: bool):
    """Computes what the operator does; the file has it if states are used.

    The converter fuses it if nobody needs more than the first two results.
    """

    def function(inputs, hidden, carry, kernel, recurrent_kernel, bias):
        def step(states, frame):
            gates = (
                tf.matmul(frame, kernel)
                + tf.matmul(states[0], recurrent_kernel)
                + bias
            )
            taken, kept, new, shown = tf.split(gates, 4, axis=1)
            carry = tf.sigmoid(kept) * states[1]
            carry += tf.sigmoid(taken) * tf.tanh(new)
            return tf.sigmoid(shown) * tf.tanh(carry), carry

        hiddens, carries = tf.scan(
            step,
            tf.transpose(inputs, (1, 0, 2)),
            (hidden, carry),
        )
        return (
            hiddens[-1],
            tf.transpose(hiddens, (1, 0, 2)),
            hiddens[-1],
            carries[-1],
            tf.constant(0.0),
        )

    if not go_backwards:
        return function
    return lambda inputs, *others: function(tf.reverse(inputs, [1]), *others)


@contextlib.contextmanager
def _slices_for_splits():
    """Has TensorFlow split a tensor into slices, for a while.

    The first step of a loop does not use all parts of what it splits, as its
    states are zero, and the converter leaves such a SPLIT in float.
    """
    split = tf.split

    def sliced(value, num_or_size_splits, axis=0, **options):
        if not isinstance(num_or_size_splits, int) or value.shape[axis] is None:
            return split(value, num_or_size_splits, axis, **options)
        size = value.shape[axis] // num_or_size_splits
        before = (slice(None),) * (axis % value.shape.rank)
        return [
            value[(*before, slice(start, start + size))]
            for start in range(0, value.shape[axis], size)
        ]

    tf.split = sliced
    try:
        yield
    finally:
        tf.split = split
