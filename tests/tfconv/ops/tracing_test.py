"""Whether code knows that it is being traced for XLA, or for export."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

import tfconv
from tests.tfconv.ops.grid import Case
from tfconv.ops import tracing
from tfconv.ops.tracing import Lowering

X = tf.ones([2, 3])


class Witness:
    """Says, of each time it is traced or run, whether that was for XLA."""

    def __init__(self):
        self.seen = []

    def __call__(self, x):
        self.seen.append(tracing.in_xla())
        return x * 2.0


@pytest.fixture
def witness():
    return Witness()


def test_eager_code_is_not_in_xla(witness):
    witness(X)
    assert witness.seen == [False]


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_a_function_is_in_xla_if_it_is_to_be_compiled(witness, jit_compile):
    tf.function(witness, jit_compile=jit_compile)(X)
    assert witness.seen == [bool(jit_compile)]


def test_a_plain_function_inside_a_compiled_one_is_in_xla(witness):
    plain = tf.function(witness)
    tf.function(lambda x: plain(x), jit_compile=True)(X)
    assert set(witness.seen) == {True}


def test_a_compiled_function_inside_a_plain_one_is_in_xla(witness):
    compiled = tf.function(witness, jit_compile=True)
    tf.function(lambda x: compiled(x))(X)
    assert set(witness.seen) == {True}


def test_a_plain_function_is_not_in_xla_after_a_compiled_one(witness):
    tf.function(lambda x: x + 1.0, jit_compile=True)(X)
    tf.function(witness)(X)
    assert witness.seen == [False]


CONTROL_FLOW = {
    "map_fn": lambda f, x: tf.map_fn(f, x),
    "cond": lambda f, x: tf.cond(
        tf.reduce_sum(x) > 0, lambda: f(x), lambda: f(-x)
    ),
    "while_loop": lambda f, x: tf.while_loop(
        lambda i, x: i < 3, lambda i, x: (i + 1, f(x)), [0, x]
    ),
    "vectorized_map": lambda f, x: tf.vectorized_map(f, x),
    "recompute_grad": lambda f, x: tf.recompute_grad(f)(x),
}


@pytest.mark.parametrize("control_flow", CONTROL_FLOW)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_control_flow_is_in_xla_if_its_function_is(
    witness, control_flow, jit_compile
):
    tf.function(
        lambda x: CONTROL_FLOW[control_flow](witness, x),
        jit_compile=jit_compile,
        autograph=False,
    )(X)
    assert set(witness.seen) == {jit_compile}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_forward_and_backward_are_in_xla_if_their_function_is(
    witness, jit_compile
):
    @tf.custom_gradient
    def identity(x):
        witness(x)
        return x, witness

    @tf.function(jit_compile=jit_compile)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = identity(x)
        return tape.gradient(y, x)

    gradient(X)
    assert len(witness.seen) >= 2
    assert set(witness.seen) == {jit_compile}


class WitnessLayer(keras.layers.Layer):
    def __init__(self, witness, **kwargs):
        super().__init__(**kwargs)
        self.witness = witness

    def call(self, inputs):
        return self.witness(inputs)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_keras_fits_evaluates_and_predicts_as_compiled(witness, jit_compile):
    model = keras.Sequential(
        [keras.Input([3]), WitnessLayer(witness), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse", jit_compile=jit_compile)
    x, y = np.ones([4, 3], np.float32), np.ones([4, 1], np.float32)
    for step in (
        lambda: model.fit(x, y, verbose=0),
        lambda: model.evaluate(x, y, verbose=0),
        lambda: model.predict(x, verbose=0),
    ):
        witness.seen.clear()
        step()
        assert set(witness.seen) == {jit_compile}


def test_the_private_function_that_knows_of_xla_has_not_moved():
    """TensorFlow has no public one. See tracing.in_xla."""
    assert callable(control_flow_util.GraphOrParentsInXlaContext)


def test_the_private_function_that_knows_of_xla_is_asked(monkeypatch, witness):
    monkeypatch.setattr(
        control_flow_util, "GraphOrParentsInXlaContext", lambda graph: True
    )
    tf.function(witness)(X)
    assert witness.seen == [True]


def test_where_xla_goes_unnoticed_results_are_the_same(monkeypatch):
    """As after a TensorFlow release that moves the private function."""
    case = Case(3, 2, 2)
    x, w, _ = case.operands()
    monkeypatch.setattr(
        control_flow_util, "GraphOrParentsInXlaContext", lambda graph: False
    )

    @tf.function(jit_compile=True)
    def convolve(x, w):
        assert not tracing.in_xla()
        return tfconv.depthwise_conv1d(x, w, **case.window)

    case.check_outputs(convolve(x, w), x, w)


def test_a_function_traced_before_keeps_its_result_inside_of_xla():
    case = Case(3, 2, 2)
    x, w, _ = case.operands()
    plain = tf.function(
        lambda x, w: tfconv.depthwise_conv1d(x, w, **case.window)
    )
    x, w = tf.constant(x), tf.constant(w)
    case.check_outputs(plain(x, w), x, w)
    compiled = tf.function(lambda x, w: plain(x, w), jit_compile=True)
    case.check_outputs(compiled(x, w), x, w)


def traced_lowering(jit_compile=None):
    seen = []

    @tf.function(jit_compile=jit_compile)
    def function(x):
        seen.append(tracing.current_lowering())
        return x

    function(X)
    return seen[0]


def test_the_lowering_is_that_of_the_place():
    assert tracing.current_lowering() == Lowering.GRAPH
    assert traced_lowering() == Lowering.GRAPH
    assert traced_lowering(jit_compile=True) == Lowering.XLA
    with tfconv.ops.exporting():
        assert traced_lowering() == Lowering.EDGE
        # Nothing is exported from eager code, which could not run that form.
        assert tracing.current_lowering() == Lowering.GRAPH
    assert traced_lowering() == Lowering.GRAPH


def test_exporting_ends_with_its_context_also_by_an_error():
    with pytest.raises(KeyError), tfconv.ops.exporting():
        raise KeyError
    assert traced_lowering() == Lowering.GRAPH


def test_exporting_contexts_may_be_nested():
    with tfconv.ops.exporting():
        with tfconv.ops.exporting():
            pass
        assert traced_lowering() == Lowering.EDGE


def test_exporting_in_one_thread_leaves_the_others_alone():
    seen = []
    with tfconv.ops.exporting():
        thread = threading.Thread(target=lambda: seen.append(traced_lowering()))
        thread.start()
        thread.join()
    assert seen == [Lowering.GRAPH]


EXPORTED = [
    Case(3, 4, 1, 12, padding=padding, **stepping, batch=1)
    for padding in ("valid", "same", "causal")
    for stepping in ({}, {"strides": 3}, {"dilation_rate": 2})
] + [Case(5, 1, 3, 11, padding="causal", batch=1)]


@pytest.mark.parametrize(
    "case",
    EXPORTED,
    ids=lambda c: f"{c.padding}-s{c.strides}-d{c.dilation_rate}",
)
def test_the_exported_form_is_one_depthwise_convolution(case):
    """Of the same values: XLA can run it, TensorFlow's CPU runtime cannot."""
    x, w, _ = case.operands()
    with tfconv.ops.exporting():
        concrete = tf.function(
            lambda x, w: tfconv.depthwise_conv1d(x, w, **case.window)
        ).get_concrete_function(tf.TensorSpec(x.shape), tf.TensorSpec(w.shape))
    types = [operation.type for operation in concrete.graph.get_operations()]
    assert types.count("DepthwiseConv2dNative") == 1
    assert not {t for t in types if "Space" in t}
    run = tf.function(lambda x, w: concrete(x, w), jit_compile=True)
    case.check_outputs(run(tf.constant(x), tf.constant(w)), x, w)


@pytest.mark.parametrize("jit_compile", [None, True])
def test_what_a_program_computes_and_what_it_is_called_with(jit_compile):
    seen = []

    @tf.function(jit_compile=jit_compile)
    def function(x):
        seen.extend(tracing.is_computed(each) for each in (x, x * 2.0))
        return x

    function(X)
    assert seen == [False, True]
    assert not tracing.is_computed(X)


def test_the_inputs_of_a_layer_are_computed_but_for_the_first():
    seen = []

    class Layer(keras.layers.Layer):
        def call(self, inputs):
            seen.append(tracing.is_computed(inputs))
            return inputs

    model = keras.Sequential([Layer(), keras.layers.ReLU(), Layer()])
    model.build((2, 3))
    seen.clear()
    tf.function(model, jit_compile=True)(X)
    assert seen == [False, True]
