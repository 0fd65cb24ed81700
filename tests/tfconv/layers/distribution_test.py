"""Training on several devices, in a process that can make them."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

# Devices are made before TensorFlow's first operation, so in a new process.
PROGRAM = textwrap.dedent(
    """
    import contextlib
    import sys

    import keras
    import numpy as np
    import tensorflow as tf

    import tfconv

    target, jit_compile = sys.argv[1], sys.argv[2] == "True"
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    random = np.random.default_rng(0)
    x = random.normal(size=(16, 40, 12)).astype("float32")
    y = random.normal(size=(16, 20, 5)).astype("float32")


    def train(scope):
        keras.utils.set_random_seed(0)
        with scope:
            model = keras.Sequential(
                [
                    keras.Input((40, 12)),
                    tfconv.DepthwiseConv1D(9, padding="causal"),
                    tfconv.DepthwiseConv1D(3, padding="same", dilation_rate=4),
                    tfconv.SeparableConv1D(5, 9, strides=2, padding="same"),
                ]
            )
            model.compile(
                keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile
            )
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()


    # XLA compiles for one device, and not what has variables on others; of
    # Keras's own layers neither.
    devices = ["CPU:0"] if jit_compile else ["CPU:0", "CPU:1"]
    strategy = tf.distribute.MirroredStrategy(devices)
    assert strategy.num_replicas_in_sync == len(devices)
    alone = train(contextlib.nullcontext())
    mirrored = train(strategy.scope())
    np.savez(target, *alone, *mirrored)
    """
)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_mirrored_training_leaves_the_weights_of_plain_training(
    jit_compile, tmp_path
):
    path = tmp_path / "weights.npz"
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(jit_compile)],
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    with np.load(path) as file:
        weights = [file[name] for name in file.files]
    half = len(weights) // 2
    assert half == 7
    for alone, mirrored in zip(weights[:half], weights[half:], strict=True):
        # float32 sums over the batch in two orders, four steps long.
        np.testing.assert_allclose(mirrored, alone, rtol=1e-4, atol=1e-6)
