"""What goes into the file and comes out of it: dtypes, names and shapes."""

import functools

import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import assert_close
from tests.export.tflite import TFLiteFile

DATA = models.DATA
IO_DTYPES = [
    ("none", None, np.float32),
    ("none", "float32", np.float32),
    ("float16", None, np.float32),
    ("dynamic", None, np.float32),
    ("int8", None, np.int8),
    ("int8", "int8", np.int8),
    ("int8", "uint8", np.uint8),
    ("int8", "float32", np.float32),
    ("int16x8", None, np.int16),
    ("int16x8", "int16", np.int16),
    ("int16x8", "float32", np.float32),
]


CONVERSIONS = {
    ("int8", "int8"): {},
    ("int8", "uint8"): {"QUANTIZE": 2},
    ("int8", "float32"): {"QUANTIZE": 1, "DEQUANTIZE": 1},
    ("int16x8", "int16"): {},
    ("int16x8", "float32"): {"QUANTIZE": 1, "DEQUANTIZE": 1},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


@pytest.fixture(scope="module")
def export_once(tmp_path_factory):
    """The result and the file of one network, made once for each mode."""
    model = models.network()

    @functools.cache
    def make(quantize, io_dtype):
        result = tfconv_export.export(
            model,
            tmp_path_factory.mktemp("io") / "model.tflite",
            quantize=quantize,
            io_dtype=io_dtype,
            representative_data=DATA,
        )
        return model, result, TFLiteFile(result.output)

    return make


@pytest.mark.parametrize(("quantize", "io_dtype", "found"), IO_DTYPES)
def test_io_has_the_dtype_asked_for(export_once, quantize, io_dtype, found):
    model, result, file = export_once(quantize, io_dtype)
    assert file.inputs["audio"]["dtype"] is found
    assert file.outputs["scores"]["dtype"] is found
    assert result.io_dtype == np.dtype(found).name
    assert_close(
        models.outputs_of(model, DATA), file.run_one_output(DATA), quantize
    )


@pytest.mark.parametrize(("quantize", "io_dtype"), CONVERSIONS)
def test_other_io_than_the_default_costs_one_operator_at_each_end(
    export_once, quantize, io_dtype
):
    _, _, file = export_once(quantize, io_dtype)
    found = {n: c for n, c in file.operators.items() if n.endswith("QUANTIZE")}
    assert found == CONVERSIONS[quantize, io_dtype]


def test_quantized_input_covers_every_representative_example(path):
    # A moving average of the ranges, as another tool takes it, would not.
    data = DATA.copy()
    data[17, 3, 2] = 40.0
    tfconv_export.export(
        models.network(), path, quantize="int8", representative_data=data
    )
    scale, zero_point = TFLiteFile(path).inputs["audio"]["quantization"]
    assert scale * (127 - zero_point) >= 40.0 - scale
    assert scale * (-128 - zero_point) <= data.min() + scale


def test_input_and_output_are_named_after_their_layers(path):
    result = tfconv_export.export(models.network(), path)
    interpreter = litert.Interpreter(model_path=str(path))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["audio"], "outputs": ["scores"]}
    }
    assert result.inputs[0].name == "audio"


@pytest.mark.parametrize("name", ["mel-40", "mel 40", "mel:0", "_mel", "μ"])
def test_any_input_name_that_keras_takes_can_be_exported(path, name):
    inputs = keras.Input((20, 4), name=name)
    outputs = tfconv.DepthwiseConv1D(3, name="scores")(inputs)
    model = models.randomize(keras.Model(inputs, outputs))
    result = tfconv_export.export(model, path)
    file = TFLiteFile(path)
    assert list(file.inputs) == [result.inputs[0].name]
    data = models.examples(20, 4)
    assert_close(models.outputs_of(model, data), file.run_one_output(data))


@pytest.mark.parametrize("batch", [None, 1, 32])
def test_every_shape_is_fixed_with_a_batch_of_one(path, batch):
    inputs = keras.Input((40, 4), batch_size=batch, name="audio")
    x = tfconv.DepthwiseConv1D(3, padding="same", dilation_rate=4)(inputs)
    model = models.randomize(keras.Model(inputs, x))
    result = tfconv_export.export(
        model, path, quantize="int8", representative_data=DATA
    )
    assert result.inputs[0].shape == (1, 40, 4)
    interpreter = litert.Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
    )
    for details in interpreter.get_tensor_details():
        assert -1 not in details["shape_signature"]
    for details in (
        *interpreter.get_input_details(),
        *interpreter.get_output_details(),
    ):
        assert list(details["shape"]) == [1, 40, 4]


@pytest.mark.parametrize("steps", [33, 40])
@pytest.mark.parametrize("by", ["input_shape", "data"])
def test_open_steps_are_fixed_by_the_shape_or_the_data(path, by, steps):
    model = models.network(steps=None)
    data = models.examples(steps, 4, count=32)
    options = {}
    if by == "input_shape":
        options["input_shape"] = (steps, 4)
    else:
        options["representative_data"] = data
    result = tfconv_export.export(model, path, **options)
    file = TFLiteFile(path)
    assert result.inputs[0].shape == (1, steps, 4)
    assert list(file.inputs["audio"]["shape"]) == [1, steps, 4]
    assert_close(models.outputs_of(model, data), file.run_one_output(data))


@pytest.mark.parametrize("shape", [(2, 4), (0, 4)])
@pytest.mark.parametrize("by", ["input_shape", "data"])
def test_steps_too_few_for_the_kernel_are_a_usage_error(path, by, shape):
    model = models.linear((None, 4))
    options = (
        {"input_shape": shape}
        if by == "input_shape"
        else {"representative_data": np.ones((8, *shape))}
    )
    with pytest.raises(tfconv_export.UsageError):
        tfconv_export.export(model, path, **options)
    assert not path.exists()


@pytest.mark.parametrize("shape", [(-1, 4), (20, 5), (20,), (20, 4, 1), ()])
def test_impossible_input_shape_is_a_usage_error(path, shape):
    with pytest.raises(tfconv_export.UsageError, match="shape"):
        tfconv_export.export(models.linear((None, 4)), path, input_shape=shape)


def test_sequential_built_by_a_call_on_one_example_takes_more(path):
    model = keras.Sequential([tfconv.SeparableConv1D(6, 3, name="scores")])
    model(np.zeros((1, 40, 4), np.float32))
    models.randomize(model)
    tfconv_export.export(model, path, representative_data=DATA)
    assert_close(
        models.outputs_of(model, DATA), TFLiteFile(path).run_one_output(DATA)
    )


@pytest.mark.parametrize("quantize", ["none", "float16", "dynamic", "int8"])
def test_integer_input_stays_an_integer(path, quantize):
    inputs = keras.Input((20,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(10, 8)(inputs)
    model = models.randomize(
        keras.Model(inputs, tfconv.SeparableConv1D(6, 3, name="scores")(x))
    )
    data = np.random.default_rng(0).integers(0, 10, (32, 20))
    tfconv_export.export(
        model, path, quantize=quantize, representative_data=data
    )
    file = TFLiteFile(path)
    assert file.inputs["tokens"]["dtype"] is np.int32
    assert_close(
        models.outputs_of(model, data), file.run_one_output(data), quantize
    )


@pytest.mark.parametrize(
    "dtype", ["float16", "float64", "int16", "bool", ">f4"]
)
def test_representative_data_may_be_of_any_dtype(path, dtype):
    data = np.rint(3 * DATA).astype(dtype)
    model = models.network()
    tfconv_export.export(model, path, quantize="int8", representative_data=data)
    data = data.astype(np.float32)
    assert_close(
        models.outputs_of(model, data),
        TFLiteFile(path).run_one_output(data),
        "int8",
    )
