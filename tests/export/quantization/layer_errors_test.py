"""The error of each layer, held against Keras's own intermediate values."""

import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import decibels
from tfconv_export import conversion
from tfconv_export import flatbuffer
from tfconv_export import loading
from tfconv_export.quantization import layer_errors


def residual() -> keras.Model:
    """A branch that comes back, a nested model, default and own names."""
    inputs = keras.Input((40, 4), name="audio")
    x = tfconv.SeparableConv1D(8, 3, activation="relu", name="stem")(inputs)
    y = keras.layers.DepthwiseConv1D(3, padding="same", name="branch")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    y = keras.layers.ReLU(name="relu")(y)
    x = keras.layers.Add(name="sum")([x, y])
    block = keras.Sequential(
        [
            keras.Input((38, 8)),
            keras.layers.Conv1D(8, 1, activation="relu", name="mix"),
        ],
        name="block",
    )
    x = keras.layers.GlobalAveragePooling1D(name="mean")(block(x))
    return models.randomize(
        keras.Model(inputs, keras.layers.Dense(3, name="scores")(x))
    )


def converted(model, quantize, io_dtype=None, **arrays):
    """`(conversion, its examples)`."""
    source = loading.load(model)
    examples = models.chosen(source, arrays)
    recipe = conversion.Recipe(quantize, io_dtype)
    return (
        conversion.convert(source, recipe, examples),
        examples,
    )


def errors_of(model, quantize, io_dtype=None, **arrays):
    made, examples = converted(model, quantize, io_dtype, **arrays)
    other, _ = converted(model, "none", **arrays)
    return layer_errors.compare(
        other.content, made.content, examples, made.scopes
    )


def in_the_file(content: bytes, tensor: str, inputs: np.ndarray) -> np.ndarray:
    """The real numbers in an intermediate tensor, read with LiteRT alone."""
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    details = {item["name"]: item for item in interpreter.get_tensor_details()}
    start = interpreter.get_input_details()[0]

    def run(example):
        scale, zero = start["quantization"]
        steps = np.clip(np.rint(example / scale) + zero, -128, 127)
        interpreter.set_tensor(start["index"], steps[None].astype(np.int8))
        interpreter.invoke()
        scale, zero = details[tensor]["quantization"]
        value = interpreter.get_tensor(details[tensor]["index"])
        return (value.astype(np.float64) - zero) * scale

    return np.concatenate([run(example) for example in inputs])


@pytest.fixture(scope="module")
def model():
    return residual()


@pytest.fixture(scope="module")
def int8(model):
    made, examples = converted(model, "int8", audio=models.DATA)
    errors = layer_errors.compare(
        made.float_content, made.content, examples, made.scopes
    )
    return made, errors


def keras_values(model, layer: str) -> np.ndarray:
    inner = keras.Model(model.input, model.get_layer(layer).output)
    return models.outputs_of(inner, models.DATA).astype(np.float64)


def test_layers_have_the_names_that_they_have_in_keras(int8):
    _, errors = int8
    assert [(error.layer, error.operator) for error in errors] == [
        ("audio", "INPUT"),
        ("stem", "DEPTHWISE_CONV_2D"),
        ("stem", "CONV_2D"),
        ("branch", "DEPTHWISE_CONV_2D"),
        ("sum", "ADD"),
        ("block/mix", "CONV_2D"),
        ("mean", "MEAN"),
        ("scores", "FULLY_CONNECTED"),
    ]


def test_default_names_that_look_like_numbered_scopes():
    inputs = keras.Input((40, 4), name="audio")
    x = tfconv.SeparableConv1D(4, 3, name="conv")(inputs)
    x = tfconv.SeparableConv1D(4, 3, name="conv_1")(x)
    x = tfconv.SeparableConv1D(4, 3, name="conv_1_2")(x)
    model = models.randomize(keras.Model(inputs, x))
    errors = errors_of(model, "int8", audio=models.DATA)
    assert [error.layer for error in errors[1::2]] == [
        "conv",
        "conv_1",
        "conv_1_2",
    ]


@pytest.mark.parametrize(
    ("position", "layer", "keras_layer"),
    [
        (2, "stem", "stem"),
        (3, "branch", "relu"),
        (4, "sum", "sum"),
        (6, "mean", "mean"),
        (7, "scores", "scores"),
    ],
)
def test_error_is_that_of_the_files_tensor_against_keras(
    model, int8, position, layer, keras_layer
):
    made, errors = int8
    error = errors[position]
    assert error.layer == layer
    expected = keras_values(model, keras_layer)
    found = in_the_file(made.content, error.tensor, models.DATA)
    found = found.reshape(expected.shape)
    # The reference kernels round differently from the builtin ones at times.
    assert error.sqnr_db == pytest.approx(decibels(expected, found), abs=0.3)
    assert error.minimum == pytest.approx(expected.min(), abs=1e-5)
    assert error.maximum == pytest.approx(expected.max(), abs=1e-5)


def test_range_is_what_256_steps_of_the_scale_hold(int8):
    made, errors = int8
    tensors = {
        tensor.name: tensor
        for operator in flatbuffer.read(made.content).operators
        for tensor in (*operator.inputs, *operator.outputs)
    }
    for error in errors:
        tensor = tensors[error.tensor]
        assert error.dtype == tensor.dtype == "int8"
        assert error.highest - error.lowest == pytest.approx(
            255 * tensor.scales[0]
        )
        assert error.shape == tensor.shape


def test_clipped_is_the_share_of_values_that_calibration_left_out(model):
    made, _ = converted(model, "int8", audio=0.3 * models.DATA)
    source = loading.load(model)
    errors = layer_errors.compare(
        made.float_content,
        made.content,
        models.chosen(source),
        made.scopes,
    )
    error = errors[2]
    values = keras_values(model, "stem")
    step = (error.highest - error.lowest) / 255
    outside = (values > error.highest + step / 2).mean()
    assert 0.02 < outside < 0.9
    assert error.clipped == pytest.approx(outside, abs=0.01)


def test_weights_are_those_of_the_layer(model, int8):
    _, errors = int8
    depthwise, pointwise, _ = model.get_layer("stem").get_weights()
    for error, kernel in zip(errors[1:3], (depthwise, pointwise), strict=True):
        assert error.weight_minimum == pytest.approx(kernel.min())
        assert error.weight_maximum == pytest.approx(kernel.max())
    assert errors[4].weight_minimum is None


@pytest.mark.parametrize("io_dtype", ["int8", "float32"])
def test_last_layer_is_found_with_any_io(model, io_dtype):
    errors = errors_of(model, "int8", io_dtype, audio=models.DATA)
    assert errors[-1].layer == "scores"
    assert errors[-1].dtype == "int8"
    assert 20 < errors[-1].sqnr_db < 60


@pytest.mark.parametrize(
    ("quantize", "least"), [("int16x8", 30), ("dynamic", 100), ("float16", 60)]
)
def test_other_modes(model, quantize, least):
    errors = errors_of(model, quantize, audio=models.DATA)
    layers = [error.layer for error in errors if error.operator != "INPUT"]
    assert layers[-1] == "scores" and len(layers) == 7
    # Kernels of less than 1024 weights stay in float in the dynamic mode.
    assert all(error.sqnr_db > least for error in errors)
    is_float = quantize != "int16x8"
    assert all((error.lowest is None) == is_float for error in errors)


def test_several_inputs_and_outputs():
    first = keras.Input((20, 2), name="left")
    second = keras.Input((20, 2), name="right")
    x = keras.layers.Add(name="sum")([first, second])
    a = tfconv.DepthwiseConv1D(3, name="a")(x)
    b = tfconv.DepthwiseConv1D(5, name="b")(x)
    model = models.randomize(keras.Model([first, second], [a, b]))
    errors = errors_of(
        model,
        "int8",
        left=models.examples(20, 2),
        right=models.examples(20, 2, seed=2),
    )
    assert {error.layer for error in errors} == {
        "left",
        "right",
        "sum",
        "a",
        "b",
    }


def test_layers_of_a_saved_model_have_their_scopes(model, tmp_path):
    model.export(tmp_path / "saved", verbose=False)
    source = loading.load(tmp_path / "saved")
    examples = models.chosen(source)
    made = conversion.convert(source, conversion.Recipe("int8"), examples)
    errors = layer_errors.compare(made.float_content, made.content, examples)
    layers = " ".join(error.layer for error in errors)
    assert all(name in layers for name in ("stem", "branch", "sum", "mean"))


def test_files_of_different_models_are_refused(int8):
    made, _ = int8
    other, examples = converted(
        models.linear((40, 4)), "none", audio=models.DATA
    )
    with pytest.raises(tfconv_export.UsageError, match="same model"):
        layer_errors.compare(other.content, made.content, examples)
