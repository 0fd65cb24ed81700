"""Networks of the field, of tfconv's layers or of Keras's.

Every builder takes `layers`: the module `tfconv` or `keras.layers`, from which
the separable convolutions come. Keras's have no `padding="causal"`; there a
`ZeroPadding1D` stands before a `"valid"` one, as Keras's users write it.
"""

from collections.abc import Sequence
from types import ModuleType

import keras
from keras import layers as keras_layers

CLASSES = 12
FILTERS = 64
NO_DILATIONS = (1, 1, 1, 1)
WAVENET_DILATIONS = (1, 2, 4, 8)
TC_RESNET_FILTERS = (32, 48, 64)
STEM_KERNEL_SIZE = 40
STEM_STRIDES = 20
STREAMING_MIN_STEPS = 29


def ds_cnn(
    input_shape: tuple[int, int],
    kernel_size: int,
    layers: ModuleType,
    *,
    strides: int = 1,
    padding: str = "same",
    dilations: Sequence[int] = NO_DILATIONS,
) -> keras.Model:
    """Separable convolutions, each with batch normalization and ReLU.

    Args:
        input_shape: `(t, c)`; with c = 1 a strided stem comes first.
        kernel_size: int, the taps of every separable convolution.
        layers: the module with the layers.
        strides: int, of each of them.
        padding: `"valid"`, `"same"` or `"causal"`.
        dilations: dilation rates, one for each of them.
    """
    inputs = keras.Input(input_shape)
    x = _stem(inputs)
    for dilation in dilations:
        x = _separable(
            layers, x, FILTERS, kernel_size, strides, padding, dilation
        )
        x = keras_layers.ReLU()(keras_layers.BatchNormalization()(x))
    return _classifier(inputs, x)


def tc_resnet(
    input_shape: tuple[int, int], kernel_size: int, layers: ModuleType
) -> keras.Model:
    """Residual blocks over time that halve the steps, as in TC-ResNet8."""
    inputs = keras.Input(input_shape)
    x = _stem(inputs)
    for filters in TC_RESNET_FILTERS:
        y = _separable(layers, x, filters, kernel_size, strides=2)
        y = keras_layers.ReLU()(keras_layers.BatchNormalization()(y))
        y = _separable(layers, y, filters, kernel_size)
        y = keras_layers.BatchNormalization()(y)
        shortcut = keras_layers.Conv1D(filters, 1, strides=2, use_bias=False)(x)
        shortcut = keras_layers.BatchNormalization()(shortcut)
        shortcut = keras_layers.ReLU()(shortcut)
        x = keras_layers.ReLU()(keras_layers.Add()([y, shortcut]))
    return _classifier(inputs, x)


def wavenet(
    input_shape: tuple[int, int], kernel_size: int, layers: ModuleType
) -> keras.Model:
    """Gated causal convolutions with growing dilation, residuals and skips."""
    inputs = keras.Input(input_shape)
    x = keras_layers.Conv1D(FILTERS, 1)(_stem(inputs))
    skips = []
    for dilation in WAVENET_DILATIONS:
        padded, padding = _causal(layers, x, kernel_size, dilation)
        value, gate = (
            layers.SeparableConv1D(
                FILTERS,
                kernel_size,
                padding=padding,
                dilation_rate=dilation,
                activation=activation,
            )(padded)
            for activation in ("tanh", "sigmoid")
        )
        gated = keras_layers.Multiply()([value, gate])
        skips.append(keras_layers.Conv1D(FILTERS, 1)(gated))
        x = keras_layers.Add()([x, skips[-1]])
    return _classifier(inputs, keras_layers.ReLU()(keras_layers.Add()(skips)))


def streaming_ds_cnn(
    input_shape: tuple[int, int],
    filters: int,
    layers: ModuleType,
    head: str = "pool_dense",
) -> keras.Model:
    """Three separable blocks without padding over time, two of them residual.

    The first halves the steps; the others look back with dilations of 2 and 4,
    and what they add is cropped to the steps that are left.

    Args:
        input_shape: `(t, c)`, of which t is at least `STREAMING_MIN_STEPS`.
        filters: int, of every block.
        layers: the module with the layers.
        head: string, one of `STREAMING_HEADS`. Both compute the same; with
            "dense_pool" the mean is over as many channels as there are classes.
    """
    inputs = keras.Input(input_shape)
    x = _block(layers, inputs, filters, kernel_size=5, strides=2)
    for dilation in (2, 4):
        y = _block(layers, x, filters, kernel_size=3, dilation=dilation)
        x = keras_layers.Cropping1D((2 * dilation, 0))(x)
        x = keras_layers.Add()([y, x])
    if head == "pool_dense":
        return _classifier(inputs, x)
    x = keras_layers.Dense(CLASSES)(x)
    return keras.Model(inputs, keras_layers.GlobalAveragePooling1D()(x))


STREAMING_HEADS = ("pool_dense", "dense_pool")
NETWORKS = {"ds_cnn": ds_cnn, "tc_resnet": tc_resnet, "wavenet": wavenet}


def _stem(x):
    if x.shape[-1] > 1:
        return x
    x = keras_layers.Conv1D(
        FILTERS,
        STEM_KERNEL_SIZE,
        strides=STEM_STRIDES,
        padding="same",
        use_bias=False,
    )(x)
    return keras_layers.ReLU()(keras_layers.BatchNormalization()(x))


def _separable(
    layers, x, filters, kernel_size, strides=1, padding="same", dilation=1
):
    if padding == "causal":
        x, padding = _causal(layers, x, kernel_size, dilation)
    return layers.SeparableConv1D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation,
        use_bias=False,
    )(x)


def _block(layers, x, filters, kernel_size, strides=1, dilation=1):
    x = _separable(layers, x, filters, kernel_size, strides, "valid", dilation)
    return keras_layers.ReLU()(keras_layers.BatchNormalization()(x))


def _causal(layers, x, kernel_size, dilation):
    if layers is not keras_layers:
        return x, "causal"
    zeros = dilation * (kernel_size - 1)
    return keras_layers.ZeroPadding1D((zeros, 0))(x), "valid"


def _classifier(inputs, x) -> keras.Model:
    x = keras_layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, keras_layers.Dense(CLASSES)(x))
