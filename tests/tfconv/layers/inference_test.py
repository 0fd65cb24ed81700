"""Layers that are not told whether they train: one operation, fast gradients.

What is traced decides, so that these tests need no clock: TensorFlow's own
gradients of its depthwise operation are what is slow.
"""

import keras
import pytest
import tensorflow as tf

import tfconv

LAYERS = {
    "long": lambda: tfconv.DepthwiseConv1D(31, padding="same"),
    "causal": lambda: tfconv.SeparableConv1D(8, 31, padding="causal"),
    "strided": lambda: tfconv.DepthwiseConv1D(31, 2, padding="same"),
    "dilated": lambda: tfconv.DepthwiseConv1D(9, dilation_rate=2),
    "multiplied": lambda: tfconv.DepthwiseConv1D(31, depth_multiplier=2),
}
BATCH, STEPS, CHANNELS = 32, 400, 16


def traced(function, steps=STEPS):
    """The types of the operations in a function of a batch of signals."""
    concrete = tf.function(function, autograph=False).get_concrete_function(
        tf.TensorSpec([BATCH, steps, CHANNELS])
    )
    return [operation.type for operation in concrete.graph.get_operations()]


@pytest.fixture(params=LAYERS)
def layer(request):
    layer = LAYERS[request.param]()
    layer.build((None, STEPS, CHANNELS))
    return layer


@pytest.mark.parametrize("training", [None, False])
def test_a_layer_is_one_depthwise_operation(layer, training):
    types = traced(lambda x: layer(x, training=training))
    assert types.count("DepthwiseConv2dNative") == 1
    assert types.count("BiasAdd") == 1
    assert not {"AddV2", "Tile", "MatMul"} & set(types)


@pytest.mark.parametrize("steps", [STEPS, None])
@pytest.mark.parametrize("training", [None, False])
def test_gradients_are_those_of_training(layer, training, steps):
    def gradients(training):
        def function(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=training)
            return tape.gradient(y, [x, *layer.trainable_weights])

        return function

    slow = "DepthwiseConv2dNativeBackpropInput"
    wanted, found = (
        traced(gradients(flag), steps).count(slow) for flag in (True, training)
    )
    assert found == wanted
    # The check can fail: TensorFlow's own gradient has it for each of them.
    own = keras.layers.DepthwiseConv1D(31, padding="same")
    own.build((None, STEPS, CHANNELS))

    def of_keras(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = own(x)
        return tape.gradient(y, x)

    assert traced(of_keras).count(slow) == 1
