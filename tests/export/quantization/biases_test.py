"""Biases of layers that are called twice, each in the scale of its call."""

import keras
import numpy as np
import pytest

import tfconv
from tests.export import models
from tests.export.closeness import decibels
from tfconv_export import conversion
from tfconv_export import flatbuffer
from tfconv_export import loading
from tfconv_export import verification
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.runtimes import LiteRT

LOUDER = 8
DATA = {
    "quiet": models.examples(20, 4, count=32),
    "loud": LOUDER * models.examples(20, 4, count=32, seed=2),
}
PLACES = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


@pytest.fixture(scope="module")
def source():
    """Every layer with a bias, of two signals of different loudness."""
    layers = [
        tfconv.SeparableConv1D(4, 3),
        keras.layers.Dense(3),
        keras.layers.Conv1DTranspose(4, 3),
    ]
    inputs = {name: keras.Input((20, 4), name=name) for name in DATA}
    outputs = {}
    for name, x in inputs.items():
        for layer in layers:
            x = layer(x)
        outputs[f"{name}_scores"] = x
    return loading.load(models.randomize(keras.Model(inputs, outputs)))


@pytest.fixture(scope="module")
def make(source):
    known = {}

    def convert(quantize):
        if quantize not in known:
            known[quantize] = conversion.convert(
                source,
                conversion.Recipe(quantize),
                models.chosen(source, DATA),
            )
        return known[quantize]

    return convert


def test_calls_in_int16x8_are_closer_than_in_int8(source, make):
    expected = source.reference(DATA)
    found = {}
    for quantize in ("int8", "int16x8"):
        runtime = LiteRT(make(quantize).content, "reference")
        runs = [
            runtime.run({name: x[i : i + 1] for name, x in DATA.items()})
            for i in range(32)
        ]
        found[quantize] = {
            name: decibels(
                values.numpy(), np.concatenate([run[name] for run in runs])
            )
            for name, values in expected.items()
        }
    for name in expected:
        assert found["int16x8"][name] > found["int8"][name] + 3


@pytest.mark.parametrize("quantize", ["int8", "int16x8", "int4"])
def test_biases_have_the_scale_of_what_they_are_added_to(make, quantize):
    facts = flatbuffer.read(make(quantize).content)
    seen = set()
    for operator in facts.operators:
        if operator.name not in PLACES:
            continue
        signal, weights, bias = (
            operator.inputs[place] for place in PLACES[operator.name]
        )
        if bias is None:
            continue
        seen.add(operator.name)
        assert set(bias.zero_points) == {0}
        np.testing.assert_allclose(
            bias.scales,
            np.float64(signal.scales) * np.float64(weights.scales),
            rtol=1e-6,
        )
    assert seen == set(PLACES)


@pytest.mark.parametrize("quantize", ["int8", "int16x8"])
@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("off", ["scale", "zero point"])
def test_bias_in_another_scale_is_not_written(
    source, make, quantize, kind, off
):
    made = make(quantize)

    def failed(content) -> set[str]:
        checks = verification.inspect(
            flatbuffer.read(content),
            conversion.Recipe(quantize),
            source,
            made,
        )
        return {check.name for check in checks if not check.passed}

    assert not failed(made.content)
    model = flatbuffer_edit.read(made.content)
    main = model.subgraphs[0]
    operator = [
        operator
        for operator in main.operators
        if flatbuffer_edit.kind_of(model, operator) == kind
    ][-1]
    bias = main.tensors[operator.inputs[PLACES[kind][-1]]]
    if off == "scale":
        bias.quantization.scale = bias.quantization.scale * np.float32(1.01)
    else:
        bias.quantization.zeroPoint = bias.quantization.zeroPoint + 1
    assert failed(flatbuffer_edit.write(model)) == {"arithmetic"}
