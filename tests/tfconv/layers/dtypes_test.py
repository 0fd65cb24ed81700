"""dtype policies: what is stored, computed and returned in which dtype."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tfconv.layers.twins import CHANNELS
from tests.tfconv.layers.twins import STEPS
from tests.tfconv.layers.twins import both
from tests.tfconv.layers.twins import each_layer
from tests.tfconv.layers.twins import inputs
from tests.tfconv.layers.twins import ours
from tests.tfconv.layers.twins import randomize

POLICIES = [
    "float16",
    "bfloat16",
    "float64",
    "mixed_float16",
    "mixed_bfloat16",
]
each_policy = pytest.mark.parametrize("policy", POLICIES)

# Relative to outputs of the size of 1: input, kernel, depthwise output,
# pointwise kernel, output and biased output are each rounded to the dtype, half
# an eps a time, and the sums of 15 products carry those through.
TOLERANCE = {
    "float16": 10 * 2.0**-10,
    "bfloat16": 10 * 2.0**-7,
    "float64": 1e-12,
}


@each_layer
@each_policy
def test_variables_and_results_have_the_twins_dtypes(layer_name, policy):
    layers = both(layer_name, dtype=policy)
    x = inputs()
    seen = [
        (
            [w.dtype for w in (layer(x), layer)[1].weights],
            layer(x).dtype,
            layer(keras.Input([STEPS, CHANNELS])).dtype,
            layer.compute_dtype,
            layer.variable_dtype,
            layer.dtype_policy,
            layer.get_config()["dtype"],
        )
        for layer in layers
    ]
    assert seen[0] == seen[1]
    expected = keras.DTypePolicy(policy)
    assert seen[0][1] == expected.compute_dtype
    assert set(seen[0][0]) == {expected.variable_dtype}


@each_layer
@each_policy
@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_results_are_near_those_of_float64(layer_name, policy, mode):
    """The float64 twin of Keras, with the same weights, says what is right."""
    arguments = {"padding": "same", "depth_multiplier": 2, "activation": "tanh"}
    layer = ours(layer_name, dtype=policy, **arguments)
    _, twin = both(layer_name, dtype="float64", **arguments)
    x = inputs(dtype=np.float64)
    layer(x)
    twin(x)
    randomize(layer, twin)
    function = {
        "eager": lambda f: f,
        "graph": tf.function,
        "jit": lambda f: tf.function(f, jit_compile=True),
    }[mode](layer)
    y = tf.cast(function(tf.constant(x)), tf.float64)
    np.testing.assert_allclose(
        y, twin(x), rtol=0, atol=TOLERANCE[layer.compute_dtype]
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "layer_name, jit_compile",
    [("DepthwiseConv1D", False), ("SeparableConv1D", True)],
)
def test_mixed_policies_train(layer_name, policy, jit_compile):
    model = keras.Sequential(
        [
            keras.Input([STEPS, CHANNELS]),
            ours(layer_name, dtype=policy, padding="causal"),
            keras.layers.GlobalAveragePooling1D(dtype="float32"),
            keras.layers.Dense(1, dtype="float32"),
        ]
    )
    layer = model.layers[0]
    model.compile("sgd", "mse", jit_compile=jit_compile)
    before = layer.get_weights()
    history = model.fit(inputs(), np.ones([3, 1]), epochs=3, verbose=0)
    losses = history.history["loss"]
    assert np.all(np.isfinite(losses))
    assert losses[-1] < losses[0]
    for old, new in zip(before, layer.get_weights(), strict=True):
        assert new.dtype == np.float32
        assert np.any(old != new)


@each_layer
def test_the_global_policy_is_taken(layer_name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = ours(layer_name)
        assert layer(inputs()).dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
    assert ours(layer_name)(inputs()).dtype == "float32"


@each_layer
def test_float_inputs_of_another_dtype_are_cast_as_by_the_twin(layer_name):
    for dtype in (np.float16, np.float32, np.float64):
        for layer in both(layer_name):
            assert layer(inputs(dtype=dtype)).dtype == "float32"
            assert layer(tf.constant(inputs(dtype=dtype))).dtype == "float32"
