"""Conversions as people write them, that go wrong without an error.

Each gives the bytes of a TFLite file that is not what was asked for. They come
from the converter itself, by other ways than the exporter's.
"""

import pathlib
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_INT8 = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
_INT16X8 = (
    tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
)


def from_concrete_functions(model: keras.Model) -> bytes:
    """The variables are not frozen into the file."""
    function = tf.function(
        lambda audio: {"scores": model(audio, training=False)},
        input_signature=[_spec(model, 1)],
    ).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function], model
    )
    return _convert(converter)


def with_a_dynamic_batch(model: keras.Model) -> bytes:
    """The batch stays open; what is dilated becomes several operators."""
    return _from_saved_model(model, _spec(model, None))


def with_select_ops(function, spec: tf.TensorSpec) -> bytes:
    """Operators that TFLite does not have are left to TensorFlow's."""

    def configure(converter):
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.SELECT_TF_OPS,
        ]

    return _from_saved_model(function, spec, configure)


def with_custom_ops(function, spec: tf.TensorSpec) -> bytes:
    """Operators that TFLite does not have are left to whoever has them."""

    def configure(converter):
        converter.allow_custom_ops = True

    return _from_saved_model(function, spec, configure)


def int8(model: keras.Model, examples: np.ndarray, **attributes) -> bytes:
    """int8, with these attributes of the converter set."""
    return _from_saved_model(
        model,
        _spec(model, 1),
        lambda converter: _quantize(
            converter, examples, [_INT8], tf.int8, attributes
        ),
    )


def int8_or_float(model: keras.Model, examples: np.ndarray) -> bytes:
    """int8, but what has no int8 kernel is computed in float."""
    return _from_saved_model(
        model,
        _spec(model, 1),
        lambda converter: _quantize(
            converter, examples, [_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
        ),
    )


def int16x8(model: keras.Model, examples: np.ndarray, **attributes) -> bytes:
    """int16x8, with these attributes of the converter set."""
    return _from_saved_model(
        model,
        _spec(model, 1),
        lambda converter: _quantize(
            converter, examples, [_INT16X8], tf.int16, attributes
        ),
    )


def causal_by_explicit_padding(kernel: np.ndarray, dilation: int) -> bytes:
    """A causal dilated convolution, which the converter turns into SAME."""
    taps, channels, _ = kernel.shape
    left = dilation * (taps - 1)

    def causal(audio):
        outputs = tf.nn.depthwise_conv2d(
            audio[:, tf.newaxis],
            kernel[tf.newaxis],
            strides=[1, 1, 1, 1],
            padding=[[0, 0], [0, 0], [left, 0], [0, 0]],
            dilations=[1, dilation],
        )
        return {"scores": outputs[:, 0]}

    return _from_saved_model(causal, tf.TensorSpec((1, 40, channels)))


def with_weights_only_in_int8(content: bytes) -> bytes:
    """int8 weights that are dequantized, from a file with float16 ones."""

    def in_int8(main, buffers):
        for operator in main.operators:
            tensor = main.tensors[operator.inputs[0]]
            if tensor.type != schema.TensorType.FLOAT16:
                continue
            buffer = buffers[tensor.buffer]
            values = np.frombuffer(bytes(buffer.data), np.float16)
            scale = np.abs(values).max() / 127 or 1.0
            steps = np.rint(values / scale).astype(np.int8)
            buffer.data = list(steps.tobytes())
            tensor.type = schema.TensorType.INT8
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [float(scale)]
            tensor.quantization.zeroPoint = [0]

    return edited(content, in_int8)


def edited(content: bytes, edit) -> bytes:
    """A file after `edit(main_subgraph, buffers)` has changed it."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    edit(model.subgraphs[0], model.buffers)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _spec(model: keras.Model, batch: int | None) -> tf.TensorSpec:
    return tf.TensorSpec((batch, *model.input_shape[1:]), name="audio")


def _quantize(converter, examples, ops, io_dtype=None, attributes=None):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        {"audio": example[None]} for example in examples
    )
    converter.target_spec.supported_ops = ops
    if io_dtype is not None:
        converter.inference_input_type = io_dtype
        converter.inference_output_type = io_dtype
    for name, value in (attributes or {}).items():
        assert hasattr(converter, name), name
        setattr(converter, name, value)


def _from_saved_model(model_or_function, spec, configure=None) -> bytes:
    spec = tf.TensorSpec(spec.shape, spec.dtype, name="audio")
    function = model_or_function
    archive = keras.export.ExportArchive()
    if isinstance(model_or_function, keras.Model):
        archive.track(model_or_function)

        def function(audio):
            return {"scores": model_or_function(audio, training=False)}

    archive.add_endpoint("serve", function, [spec])
    with tempfile.TemporaryDirectory() as directory:
        archive.write_out(str(pathlib.Path(directory)), verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        if configure is not None:
            configure(converter)
        return _convert(converter)


def _convert(converter) -> bytes:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Interpreter is deprec")
        return converter.convert()
