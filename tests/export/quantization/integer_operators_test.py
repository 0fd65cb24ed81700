"""Operators in int8, wherever they stand, that are float by the converter."""

import keras
import numpy as np
import pytest

from tests.export import direct
from tests.export import models
from tests.export.closeness import decibels
from tfconv_export import conversion
from tfconv_export import flatbuffer
from tfconv_export import loading
from tfconv_export import micro
from tfconv_export.quantization import float_layers
from tfconv_export.quantization import integer_operators
from tfconv_export.quantization import layer_errors
from tfconv_export.runtimes import LiteRT

RUNTIMES = {
    "xnnpack": lambda content: LiteRT(content, "xnnpack"),
    "builtin": lambda content: LiteRT(content, "builtin"),
    "micro": micro.TFLiteMicro,
}


def network() -> keras.Model:
    """ELU before an output, a sum, a concatenation, a maximum and an ELU."""

    def conv(x):
        return keras.layers.Conv1D(4, 3, padding="same")(x)

    inputs = keras.Input((20, 4), name="audio")
    first = keras.ops.elu(conv(inputs))
    twice = keras.ops.elu(keras.ops.elu(conv(inputs)))
    both = keras.layers.Concatenate()([first, twice, conv(inputs)])
    most = keras.layers.Maximum()([first, conv(inputs)])
    outputs = {
        "last": keras.ops.elu(conv(both)),
        "summed": keras.layers.Add()([conv(most), first]),
    }
    return models.randomize(keras.Model(inputs, outputs))


@pytest.fixture(scope="module")
def source():
    return loading.load(network())


@pytest.mark.parametrize("io_dtype", ["uint8", "float32"])
def test_elu_and_what_follows_it_compute_in_int8(source, io_dtype):
    data = models.examples(20, 4, count=32)
    made = conversion.convert(
        source, conversion.Recipe("int8", io_dtype), models.chosen(source, data)
    )
    facts = flatbuffer.read(made.content)
    assert facts.operator_counts["ELU"] == 4
    computing = [op for op in facts.operators if "QUANTIZE" not in op.name]
    for operator in computing:
        assert operator.outputs[0].dtype == "int8", operator.name
    # Of float and uint8 files, the ends alone.
    assert facts.operator_counts.get("DEQUANTIZE", 0) == (
        2 if io_dtype == "float32" else 0
    )
    expected = source.reference({"audio": data})
    for name, open_file in RUNTIMES.items():
        runtime = open_file(made.content)
        found = [runtime.run({"audio": example[None]}) for example in data]
        for output, values in expected.items():
            computed = np.concatenate([outputs[output] for outputs in found])
            # Those of such a network with ReLU have as many.
            assert decibels(values.numpy(), computed) > 25, (name, output)


def test_elu_of_a_saved_model_may_be_concatenated():
    """Makes a model of which the converter sees what TensorFlow saved."""

    def conv(x):
        return keras.layers.Conv1D(4, 3, padding="same")(x)

    inputs = keras.Input((20, 4), name="audio")
    x = keras.ops.elu(conv(inputs))
    x = keras.layers.Concatenate()([x, keras.ops.elu(conv(inputs))])
    model = models.randomize(keras.Model(inputs, conv(x)))
    content = integer_operators.in_int8(direct.convert(model, "int8"))
    facts = flatbuffer.read(content)
    assert facts.operator_counts["ELU"] == 2
    assert {op.outputs[0].dtype for op in facts.operators} == {"int8"}
    data = models.examples(20, 4, count=32)
    expected = models.outputs_of(model, data)
    for open_file in RUNTIMES.values():
        runtime = open_file(content)
        found = [runtime.run({"audio": example[None]}) for example in data]
        computed = np.concatenate([outputs["scores"] for outputs in found])
        assert decibels(expected, computed) > 25


def test_negatives_and_squares_are_products():
    """With pools and layers behind them, and in a layer normalization."""
    inputs = keras.Input((20, 4), name="audio")
    x = keras.layers.Conv1D(4, 3, padding="same")(inputs)
    x = keras.layers.LayerNormalization()(x)
    powers = keras.ops.square(keras.layers.Conv1D(4, 3, padding="same")(x))
    pools = [
        keras.layers.AveragePooling1D(4)(powers),
        keras.layers.MaxPooling1D(4)(keras.ops.negative(powers)),
    ]
    outputs = {
        "pooled": keras.layers.Concatenate()(pools),
        "turned": keras.ops.negative(x),
    }
    model = models.randomize(keras.Model(inputs, outputs))
    source = loading.load(model)
    data = models.examples(20, 4, count=32)
    made = conversion.convert(
        source,
        conversion.Recipe("int8"),
        models.chosen(source, data),
    )
    facts = flatbuffer.read(made.content)
    assert {op.outputs[0].dtype for op in facts.operators} == {"int8"}
    expected = source.reference({"audio": data})
    for name, open_file in RUNTIMES.items():
        runtime = open_file(made.content)
        found = [runtime.run({"audio": example[None]}) for example in data]
        for output, values in expected.items():
            computed = np.concatenate([outputs[output] for outputs in found])
            assert decibels(values.numpy(), computed) > 25, (name, output)
    matched = layer_errors.compare(
        made.float_content, made.content, models.chosen(source, data)
    )
    kinds = [error.operator for error in matched]
    assert kinds.count("SQUARE") == 1
    assert kinds.count("NEG") == 3
    content, _ = float_layers.keep_in_float(
        made.content,
        made.float_content,
        tuple(float_layers.layers_of(made.float_content, made.scopes)),
        made.scopes,
    )
    runtime = LiteRT(content, "builtin")
    found = [runtime.run({"audio": example[None]}) for example in data]
    for output, values in expected.items():
        computed = np.concatenate([outputs[output] for outputs in found])
        # Only the ends are rounded.
        assert decibels(values.numpy(), computed) > 30, output


def test_elu_is_a_table_of_the_nearest_values():
    inputs = keras.Input((64, 4), name="audio")
    model = keras.Model(inputs, keras.layers.ELU(name="scores")(inputs))
    source = loading.load(model)
    data = 3 * models.examples(64, 4, count=4)
    made = conversion.convert(
        source, conversion.Recipe("int8"), models.chosen(source, data)
    )
    facts = flatbuffer.read(made.content)
    assert facts.operator_counts == {"ELU": 1}
    (given,), (taken,) = facts.inputs, facts.outputs
    stored = np.arange(-128, 128, dtype=np.int8).reshape(1, 64, 4)
    real = (stored.astype(np.float64) - given.zero_points[0]) * given.scales[0]
    expected = np.where(real > 0, real, np.expm1(real))
    for open_file in RUNTIMES.values():
        found = open_file(made.content).invoke({"audio": stored})["scores"]
        steps = expected / taken.scales[0] + taken.zero_points[0]
        off = np.abs(found - np.clip(steps, -128, 127)).max()
        # Half a step, and what float32 makes of the two scales.
        assert off < 0.5 + 1e-3
