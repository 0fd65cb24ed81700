"""Networks that others published, small, as Keras 2 wrote them, in int8.

Each is written to an .h5 file by tf_keras, as its authors did, and goes from
there to a file that LiteRT and TFLite Micro run.
"""

import numpy as np
import pytest
import tf_keras

import tfconv_export

L = tf_keras.layers


def ecg_cnn():
    """Convolution, ReLU, then batch normalization: most ECG networks."""
    y = inputs = L.Input((64, 1))
    for filters in (16, 8, 8):
        y = L.Conv1D(filters, 3, activation="relu")(y)
        y = L.BatchNormalization()(y)
        y = L.MaxPooling1D(2)(y)
    y = L.Dense(16, activation="relu")(L.Flatten()(y))
    return tf_keras.Model(inputs, L.Dense(5, activation="softmax")(y))


def har_cnn():
    """The same for motion, with dropout and average pooling."""
    return tf_keras.Sequential(
        [
            L.Input((48, 6)),
            L.Conv1D(16, 5, padding="same", activation="relu"),
            L.BatchNormalization(),
            L.Dropout(0.5),
            L.Conv1D(16, 3, activation="relu"),
            L.BatchNormalization(),
            L.GlobalAveragePooling1D(),
            L.Dense(6, activation="softmax"),
        ]
    )


def deep_conv_lstm():
    return tf_keras.Sequential(
        [
            L.Input((24, 6)),
            L.Conv1D(8, 5, activation="relu"),
            L.LSTM(8, return_sequences=True),
            L.LSTM(8),
            L.Dense(4, activation="softmax"),
        ]
    )


def eegnet():
    """Conv, BN, ELU: the authors' block, depthwise over the electrodes."""
    return tf_keras.Sequential(
        [
            L.Input((4, 64, 1)),
            L.Conv2D(4, (1, 16), padding="same", use_bias=False),
            L.BatchNormalization(),
            L.DepthwiseConv2D((4, 1), use_bias=False, depth_multiplier=2),
            L.BatchNormalization(),
            L.Activation("elu"),
            L.AveragePooling2D((1, 4)),
            L.SeparableConv2D(8, (1, 8), use_bias=False, padding="same"),
            L.BatchNormalization(),
            L.Activation("elu"),
            L.AveragePooling2D((1, 8)),
            L.Flatten(),
            L.Dense(4, activation="softmax"),
        ]
    )


def phase_net():
    """A U-Net over time; its head has one filter."""
    y = inputs = L.Input((64, 3))
    skips = []
    for filters in (8, 12):
        y = L.Conv1D(filters, 7, padding="same", use_bias=False)(y)
        y = L.ReLU()(L.BatchNormalization()(y))
        skips.append(y)
        y = L.MaxPooling1D(4)(y)
    for filters, skip in zip((12, 8), reversed(skips), strict=True):
        y = L.UpSampling1D(4)(y)
        y = L.Conv1D(filters, 7, padding="same", activation="relu")(y)
        y = L.Concatenate()([y, skip])
    y = L.Conv1D(1, 11, padding="same", activation="sigmoid")(y)
    return tf_keras.Model(inputs, y)


def os_cnn():
    """One branch for each prime kernel size, more than ten of them."""
    inputs = L.Input((64, 1))
    kernels = (1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31)
    y = L.Concatenate()(
        [L.Conv1D(2, size, padding="same")(inputs) for size in kernels]
    )
    y = L.ReLU()(L.BatchNormalization()(y))
    return tf_keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(y)))


def toy_car():
    """MLPerf Tiny's anomaly detector: ten dense layers, BN and ReLU."""
    y = inputs = L.Input((64,))
    for units in (32, 32, 8, 32, 32):
        y = L.ReLU()(L.BatchNormalization()(L.Dense(units)(y)))
    return tf_keras.Model(inputs, L.Dense(64)(y))


def ds_cnn():
    """The network of "Hello Edge", as MLPerf Tiny has it, on 25 x 5."""
    model = tf_keras.Sequential(
        [L.Input((25, 5, 1)), L.Conv2D(16, (10, 4), 2, padding="same")]
    )
    for _ in range(2):
        for layer in (
            L.DepthwiseConv2D(3, padding="same"),
            L.BatchNormalization(),
            L.ReLU(),
            L.Conv2D(16, 1),
            L.BatchNormalization(),
            L.ReLU(),
        ):
            model.add(layer)
    model.add(L.AveragePooling2D((12, 2)))
    model.add(L.Flatten())
    model.add(L.Dense(12, activation="softmax"))
    return model


NETWORKS = (
    ecg_cnn,
    har_cnn,
    deep_conv_lstm,
    eegnet,
    phase_net,
    os_cnn,
    toy_car,
    ds_cnn,
)


def as_after_training(model, x):
    """Channels of unlike ranges, and the statistics that training leaves."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            before = tf_keras.Model(model.inputs, layer.input)
            values = before.predict(x, verbose=0)
            axes = tuple(range(values.ndim - 1))
            mean, variance = values.mean(axes), values.var(axes) + 1e-3
            gamma = rng.uniform(0.5, 1.5, mean.shape)
            beta = rng.normal(0, 0.3, mean.shape)
            layer.set_weights([gamma, beta, mean, variance])
        elif isinstance(layer, (L.Conv1D, L.Conv2D)) and layer.weights:
            kernel, *rest = layer.get_weights()
            scale = 10 ** rng.uniform(-1, 0, kernel.shape[-1])
            if isinstance(layer, (L.SeparableConv2D, L.DepthwiseConv2D)):
                scale = 1.0
            layer.set_weights([kernel * scale, *rest])


def signals(shape):
    """Random walks, as slow as the signals that such networks see."""
    rng = np.random.default_rng(1)
    walks = np.cumsum(rng.normal(size=(60, *shape)), axis=1)
    return (walks / np.abs(walks).max(axis=1, keepdims=True)).astype("float32")


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.__name__)
def test_a_published_network_is_exported_for_a_microcontroller(
    network, tmp_path
):
    tf_keras.utils.set_random_seed(0)
    model = network()
    x = signals(model.input_shape[1:])
    as_after_training(model, x)
    path = tmp_path / "model.h5"
    model.save(path)
    result = tfconv_export.export(
        path,
        tmp_path / "model.tflite",
        quantize="int8",
        representative_data=x,
        target="micro",
    )
    assert not result.failed
    runtimes = {agreement.runtime for agreement in result.agreements}
    assert {"LiteRT xnnpack", "LiteRT builtin", "TFLite Micro"} <= runtimes
    assert min(a.sqnr_db for a in result.agreements) >= 20
    assert {end.dtype for end in (*result.inputs, *result.outputs)} == {"int8"}
