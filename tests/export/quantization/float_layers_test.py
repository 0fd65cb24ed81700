"""Layers that stay in float, by name and by measure."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import decibels
from tests.export.closeness import relative_error
from tests.export.tflite import TFLiteFile
from tfconv_export import conversion
from tfconv_export import flatbuffer
from tfconv_export import loading
from tfconv_export import verification
from tfconv_export.quantization import layer_errors
from tfconv_export.quantization import sensitivity

CHECKS = {
    "arithmetic",
    "integers only",
    "no stray QUANTIZE or DEQUANTIZE",
}


def network() -> keras.Model:
    """One of its layers, "wide", is hard to quantize: see its ranges."""
    inputs = keras.Input((40, 4), name="audio")
    x = tfconv.SeparableConv1D(8, 3, activation="relu", name="stem")(inputs)
    y = tfconv.SeparableConv1D(8, 3, padding="same", name="wide")(x)
    x = keras.layers.Add(name="sum")([x, y])
    x = tfconv.DepthwiseConv1D(3, activation="relu", name="filters")(x)
    outputs = keras.layers.Dense(3, name="scores")(x)
    model = models.randomize(keras.Model(inputs, outputs))
    wide = model.get_layer("wide")
    # One channel a thousand times the others between its two kernels.
    factors = np.ones((8, 1), np.float32)
    factors[0] = 1000.0
    wide.depthwise_kernel.assign(wide.depthwise_kernel * factors)
    wide.pointwise_kernel.assign(wide.pointwise_kernel / factors)
    return model


@pytest.fixture(scope="module")
def source():
    return loading.load(network())


@pytest.fixture(scope="module")
def expected(source):
    return source.reference({"audio": models.DATA})["scores"].numpy()


@pytest.fixture(scope="module")
def make(source):
    """Converts it, once for each recipe."""
    known = {}

    def convert(quantize, *patterns, io_dtype=None):
        recipe = conversion.Recipe(quantize, io_dtype, patterns)
        if recipe not in known:
            known[recipe] = conversion.convert(
                source, recipe, models.chosen(source)
            )
        return known[recipe]

    return convert


def run(content: bytes) -> np.ndarray:
    return TFLiteFile(content).run_one_output(models.DATA)


def checks_of(source, made, quantize, io_dtype=None) -> set[str]:
    """The names of those that fail."""
    checks = verification.inspect(
        flatbuffer.read(made.content),
        conversion.Recipe(quantize, io_dtype),
        source,
        made,
    )
    assert {check.name for check in checks} >= CHECKS
    return {check.name for check in checks if not check.passed}


every_mode = pytest.mark.parametrize("quantize", ["int8", "int16x8"])


@every_mode
def test_chosen_layer_computes_in_float_and_no_other(make, quantize):
    made = make(quantize, "^wide$")
    dtype = {"int8": "int8", "int16x8": "int16"}[quantize]
    facts = flatbuffer.read(made.content)
    assert made.float_layers == ("wide",)
    found = [(op.name, op.outputs[0].dtype) for op in facts.operators]
    assert found[:9] == [
        ("RESHAPE", dtype),
        ("DEPTHWISE_CONV_2D", dtype),
        ("CONV_2D", dtype),
        ("DEQUANTIZE", "float32"),
        ("DEPTHWISE_CONV_2D", "float32"),
        ("CONV_2D", "float32"),
        ("QUANTIZE", dtype),
        ("ADD", dtype),
        ("DEPTHWISE_CONV_2D", dtype),
    ]
    # What the dense layer becomes.
    assert ("FULLY_CONNECTED", dtype) in found[9:]
    assert {other for _, other in found[9:]} == {dtype}
    assert facts.inputs[0].dtype == facts.outputs[0].dtype == dtype


@every_mode
def test_weights_in_float_are_those_of_the_model(source, make, quantize):
    file = TFLiteFile(make(quantize, "wide").content)
    layer = source.trackable.get_layer("wide")
    stored = [
        file.model.buffers[tensor.buffer].data.tobytes()
        for tensor in file.model.subgraphs[0].tensors
        if file.model.buffers[tensor.buffer].data is not None
    ]
    depthwise = np.asarray(layer.depthwise_kernel)[:, :, 0]
    pointwise = np.asarray(layer.pointwise_kernel)[0].T
    assert depthwise.tobytes() in stored
    assert np.ascontiguousarray(pointwise).tobytes() in stored


@every_mode
@pytest.mark.parametrize("pattern", ["stem", "wide", "sum", "scores"])
def test_all_other_layers_are_quantized_as_without_it(make, quantize, pattern):
    def constants_and_scales(content):
        file = TFLiteFile(content)
        tensors = {}
        for tensor in file.model.subgraphs[0].tensors:
            data = file.model.buffers[tensor.buffer].data
            quantization = tensor.quantization
            if quantization is None or quantization.scale is None:
                continue
            name = tensor.name.decode().removesuffix("_quantized")
            tensors[name] = (
                tensor.type,
                tuple(quantization.scale),
                tuple(quantization.zeroPoint),
                None if data is None else bytes(data),
            )
        return tensors

    whole = constants_and_scales(make(quantize).content)
    some = constants_and_scales(make(quantize, f"^{pattern}$").content)
    # A sum has no weights, and lies between tensors of others.
    assert 0 < len(some) <= len(whole) - (pattern != "sum")
    assert some.items() <= whole.items()


@every_mode
def test_the_layer_that_is_hard_to_quantize_is_worth_it(
    make, expected, quantize
):
    before = decibels(expected, run(make(quantize).content))
    after = decibels(expected, run(make(quantize, "^wide$").content))
    assert after > before + 6


@every_mode
def test_all_layers_and_io_in_float_is_the_float_model(
    make, expected, quantize
):
    made = make(quantize, ".", io_dtype="float32")
    assert set(TFLiteFile(made.content).operators).isdisjoint(
        {"QUANTIZE", "DEQUANTIZE"}
    )
    assert relative_error(expected, run(made.content)) < 1e-5


def test_nothing_that_is_not_read_stays_in_the_file(make):
    model = TFLiteFile(make("int8", "wide").content).model
    main = model.subgraphs[0]
    used = set(main.inputs)
    for operator in main.operators:
        used.update(operator.inputs)
        used.update(operator.outputs)
    assert used - {-1} == set(range(len(main.tensors)))
    holders = [*main.tensors, *model.metadata]
    buffers = {0} | {holder.buffer for holder in holders}
    assert buffers == set(range(len(model.buffers)))


@pytest.mark.parametrize("io_dtype", ["float32", "uint8"])
def test_other_io_dtypes(source, make, expected, io_dtype):
    for pattern in ("stem", "scores"):
        made = make("int8", pattern, io_dtype=io_dtype)
        facts = flatbuffer.read(made.content)
        assert facts.inputs[0].dtype == facts.outputs[0].dtype == io_dtype
        assert not checks_of(source, made, "int8", io_dtype)
        assert decibels(expected, run(made.content)) > 5


@every_mode
def test_checks_accept_the_declared_layers_only(source, make, quantize):
    made = make(quantize, "^wide$")
    assert not checks_of(source, made, quantize)
    undeclared = dataclasses.replace(made, float_tensors=frozenset())
    assert checks_of(source, undeclared, quantize) == CHECKS
    both = make(quantize, "^wide$", "^filters$")
    assert not checks_of(source, both, quantize)
    one_too_many = dataclasses.replace(both, float_tensors=made.float_tensors)
    assert checks_of(source, one_too_many, quantize) == CHECKS


@every_mode
def test_checks_refuse_a_declared_layer_that_is_not_in_float(
    source, make, quantize
):
    names = make(quantize, "^wide$").float_tensors
    integer = dataclasses.replace(make(quantize), float_tensors=names)
    assert checks_of(source, integer, quantize) == {
        "arithmetic",
        "integers only",
    }


def test_pattern_that_matches_nothing_lists_the_layers(make):
    with pytest.raises(tfconv_export.UsageError) as error:
        make("int8", "wide", "widest")
    for word in ("widest", "stem, wide, sum, filters, scores"):
        assert word in str(error.value)


def test_pattern_that_is_no_regular_expression(make):
    with pytest.raises(tfconv_export.UsageError, match=r"\[: is not|\[ is not"):
        make("int8", "[")


@pytest.mark.parametrize("quantize", ["none", "float16", "dynamic"])
def test_float_modes_have_no_layers_to_leave_in_float(quantize):
    with pytest.raises(tfconv_export.UsageError, match="float_layers"):
        conversion.Recipe(quantize, float_layers=("wide",))


def test_floor_is_reached_with_the_fewest_layers(source, expected):
    recipe = conversion.Recipe("int8", "float32")
    examples = models.chosen(source)
    plain = conversion.convert(source, recipe, examples)
    floor = decibels(expected, run(plain.content)) + 10
    choice = sensitivity.choose_float_layers(source, recipe, examples, floor)
    assert "wide" in choice.layers
    assert next(iter(choice.sensitivities)) == "wide"
    assert choice.integer_sqnr_db < floor <= choice.sqnr_db
    made = conversion.convert(source, choice.recipe, examples)
    assert made.float_layers == choice.layers
    # These are the reference kernels, those the builtin ones.
    found = decibels(expected, run(made.content))
    assert found == pytest.approx(choice.sqnr_db, abs=1.0)
    for layer in choice.layers:
        rest = tuple(f"^{name}$" for name in choice.layers if name != layer)
        fewer = dataclasses.replace(recipe, float_layers=rest)
        made = conversion.convert(source, fewer, examples)
        assert decibels(expected, run(made.content)) < floor + 1


def test_nothing_is_left_in_float_where_integers_are_enough(source):
    choice = sensitivity.choose_float_layers(
        source, conversion.Recipe("int8"), models.chosen(source), 1.0
    )
    assert choice.layers == choice.recipe.float_layers == ()
    assert choice.sqnr_db == choice.integer_sqnr_db >= 1.0


def test_floor_that_is_out_of_reach(source):
    with pytest.raises(tfconv_export.CheckError, match="out of reach") as error:
        sensitivity.choose_float_layers(
            source, conversion.Recipe("int8"), models.chosen(source), 90.0
        )
    assert "--io_dtype=float32" in str(error.value)


def test_model_is_converted_once_however_many_layers(source, monkeypatch):
    calls = []
    convert = tf.lite.TFLiteConverter.from_saved_model

    def counted(*arguments):
        calls.append(arguments)
        return convert(*arguments)

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", counted)
    sensitivity.choose_float_layers(
        source,
        conversion.Recipe("int8", "float32"),
        models.chosen(source),
        100.0,
    )
    assert len(calls) == 2, "in integers and in float"


def test_choice_needs_an_integer_mode(source):
    with pytest.raises(tfconv_export.UsageError, match="dynamic"):
        sensitivity.choose_float_layers(
            source, conversion.Recipe("dynamic"), models.chosen(source), 30.0
        )


@pytest.fixture(scope="module")
def without_kernels():
    """A model of layers that the converter quantizes in part, or not at all."""
    inputs = keras.Input((20, 4), name="audio")
    x = keras.layers.Conv1D(4, 3, name="stem")(inputs)
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = keras.layers.PReLU(shared_axes=[1], name="slopes")(x)
    x = keras.layers.Conv1D(4, 3, name="middle")(x)
    x = keras.layers.Activation("hard_shrink", name="shrunk")(x)
    outputs = keras.layers.Conv1D(4, 3, name="scores")(x)
    return loading.load(models.randomize(keras.Model(inputs, outputs)))


SHORT = models.examples(20, 4, count=16)
WITHOUT_KERNELS = ("norm", "slopes", "shrunk")


def test_int16x8_leaves_what_has_no_kernel_in_float(without_kernels):
    source = without_kernels
    recipe = conversion.Recipe(
        "int16x8", float_layers=("norm", "slopes", "shrunk")
    )
    made = conversion.convert(source, recipe, models.chosen(source, SHORT))
    assert made.float_layers == WITHOUT_KERNELS
    assert not checks_of(source, made, "int16x8")
    expected = source.reference({"audio": SHORT})["scores"].numpy()
    found = TFLiteFile(made.content).run_one_output(SHORT)
    # What 8-bit weights cost.
    assert decibels(expected, found) > 25


def test_what_has_no_int16_kernel_is_named_with_the_remedy(without_kernels):
    source = without_kernels
    made = conversion.convert(
        source,
        conversion.Recipe("int16x8"),
        models.chosen(source, SHORT),
    )
    (check,) = (
        check
        for check in verification.inspect(
            flatbuffer.read(made.content),
            conversion.Recipe("int16x8"),
            source,
            made,
        )
        if check.name == "integers only"
    )
    assert not check.passed
    assert "NEG of norm computes in float" in check.detail
    assert "--float_layers='norm'" in check.detail
    # LiteRT cannot run it, which is another check's to tell.
    assert not layer_errors.compare(
        made.float_content,
        made.content,
        models.chosen(source, SHORT),
        made.scopes,
    )


def test_what_has_no_kernel_is_chosen_to_be_in_float(without_kernels):
    source = without_kernels
    choice = sensitivity.choose_float_layers(
        source,
        conversion.Recipe("int16x8"),
        models.chosen(source, SHORT),
        20.0,
    )
    assert choice.layers == WITHOUT_KERNELS
    assert choice.sqnr_db >= 20.0
