"""A TFLite file straight from TensorFlow's converter, batch 1."""

import tempfile
import warnings

import keras
import tensorflow as tf

from tests.export import models
from tfconv import ops

_INTEGER = {
    "int8": (tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8),
    "int16x8": (
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        tf.int16,
    ),
}


def convert(model: keras.Model, quantize: str = "none", io=None) -> bytes:
    """The file of a model, calibrated on standard normal examples.

    Args:
        model: one whose only unknown dimension is the batch.
        quantize: string, one of the exporter's modes.
        io: dtype of the inputs and outputs of an integer mode, if it is not
            the mode's own.
    """
    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]

    def serve(*inputs):
        with ops.exporting():
            outputs = model(inputs if len(inputs) > 1 else inputs[0])
        return outputs if isinstance(outputs, dict) else {"scores": outputs}

    with tempfile.TemporaryDirectory() as directory:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", serve, specs)
        archive.write_out(directory, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize in _INTEGER:
            operators, dtype = _INTEGER[quantize]
            converter.target_spec.supported_ops = [operators]
            converter.inference_input_type = io or dtype
            converter.inference_output_type = io or dtype
            converter.representative_dataset = lambda: (
                {spec.name: models.examples(*spec.shape[1:], count=1, seed=i)}
                for i in range(16)
                for spec in specs
            )
        with warnings.catch_warnings():
            # It calibrates with an interpreter that it deprecates.
            warnings.filterwarnings("ignore", ".*Interpreter is deprec")
            return converter.convert()
