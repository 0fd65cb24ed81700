"""The forward pass as one XLA computation."""

import keras
import tensorflow as tf


def jit(layer_or_model: keras.Layer):
    """The forward pass as one `tf.function(jit_compile=True)`.

    The function is traced for the shape of its first inputs, and once more
    when it meets another batch size, then for all of them. XLA compiles once
    for each shape.

    Args:
        layer_or_model: a Keras layer or model. One that is not yet built is
            built by the first call.

    Returns:
        A function of `(inputs, training=False)`, where `inputs` is what the
        layer takes: tensors, NumPy arrays (floats are converted to the Keras
        config's `floatx`), or nested lists and dicts of them. It computes what
        `layer_or_model(inputs, training=training)` does, to rounding, with the
        weights as they are at each call.

    Raises:
        TypeError: if `layer_or_model` is not a Keras layer or model.

    Example:

    >>> layer = tfconv.SeparableConv1D(64, 9, padding="causal")
    >>> forward = tfconv.jit(layer)
    >>> forward(np.zeros([32, 98, 40])).shape
    TensorShape([32, 98, 64])
    """
    if not isinstance(layer_or_model, keras.Layer):
        raise TypeError(
            "jit expects a Keras layer or model. "
            f"Received: {layer_or_model} (of type {type(layer_or_model)})"
        )

    def call(inputs, training):
        return layer_or_model(inputs, training=training)

    # One for each rank: tf.function would relax two ranks to none at all.
    compiled = {}

    def forward(inputs, training: bool = False):
        inputs = tf.nest.map_structure(_as_tensor, inputs)
        if not layer_or_model.built:
            # Variables are not created inside of an XLA computation.
            layer_or_model(inputs)
        ranks = tuple(len(leaf.shape) for leaf in tf.nest.flatten(inputs))
        if ranks not in compiled:
            compiled[ranks] = tf.function(
                call, jit_compile=True, reduce_retracing=True
            )
        return compiled[ranks](inputs, bool(training))

    return forward


def _as_tensor(value) -> tf.Tensor:
    if tf.is_tensor(value):
        return value
    tensor = tf.convert_to_tensor(value)
    if tensor.dtype.is_floating:
        tensor = tf.cast(tensor, keras.config.floatx())
    return tensor
