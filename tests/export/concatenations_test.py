"""Concatenations as TFLite Micro runs them: the same bits from fewer inputs."""

import keras
import numpy as np
import pytest

from tests.export import direct
from tests.export import models
from tfconv_export import concatenations
from tfconv_export import flatbuffer
from tfconv_export import micro
from tfconv_export.runtimes import LiteRT

FRAME = models.examples(6, 2, count=1)


def made_of(build, quantize="none") -> bytes:
    inputs = keras.Input((6, 2), name="audio")
    return direct.convert(keras.Model(inputs, build(inputs)), quantize)


def largest(content: bytes) -> int:
    """How many tensors a concatenation has at most."""
    facts = flatbuffer.read(content)
    assert "TILE" not in facts.operator_counts
    return max(
        len(operator.inputs)
        for operator in facts.operators
        if operator.name == "CONCATENATION"
    )


def bits(runtime) -> bytes:
    outputs = runtime.invoke(runtime.stored({"audio": FRAME}))
    return outputs["scores"].tobytes()


@pytest.mark.parametrize("count, axis", [(11, -1), (20, 1), (105, -2)])
def test_nested_concatenations_keep_the_order(count, axis):
    def build(inputs):
        # Each can be told from the others.
        return keras.ops.concatenate(
            [inputs * float(factor) for factor in range(1, count + 1)], axis
        )

    before = made_of(build)
    after = concatenations.nested(before)
    assert largest(after) <= 10
    found = np.concatenate(
        [FRAME * np.float32(factor) for factor in range(1, count + 1)], axis
    )
    for runtime in (LiteRT(after, "builtin"), micro.TFLiteMicro(after)):
        assert bits(runtime) == found.tobytes()


@pytest.mark.parametrize(
    "build, expected",
    [
        pytest.param(
            lambda x: keras.ops.tile(x, (1, 3, 25)),
            np.tile(FRAME, (1, 3, 25)),
            id="along two axes",
        ),
        pytest.param(
            lambda x: keras.layers.UpSampling1D(123)(x),
            np.repeat(FRAME, 123, axis=1),
            id="each frame",
        ),
        pytest.param(
            lambda x: keras.layers.RepeatVector(11)(keras.layers.Flatten()(x)),
            np.repeat(FRAME.reshape(1, 1, 12), 11, axis=1),
            id="a vector",
        ),
    ],
)
def test_what_is_repeated_runs_on_tflite_micro(build, expected):
    after = concatenations.nested(made_of(build))
    assert largest(after) <= 10
    # As many as the number has digits, not as it has units.
    assert flatbuffer.read(after).operator_counts["CONCATENATION"] <= 6
    for runtime in (LiteRT(after, "builtin"), micro.TFLiteMicro(after)):
        assert bits(runtime) == expected.tobytes()


@pytest.mark.parametrize("quantize", ["int8", "int16x8"])
def test_bits_are_those_of_the_converter_in_integers(quantize):
    def build(inputs):
        x = keras.layers.Conv1D(4, 3)(inputs)
        x = keras.layers.UpSampling1D(12)(x)
        return keras.layers.Concatenate()([x] * 11)

    before = made_of(build, quantize)
    after = concatenations.nested(before)
    assert largest(after) <= 10
    # LiteRT's reference kernels have no TILE.
    expected = bits(LiteRT(before, "builtin"))
    for runtime in (LiteRT(after, "builtin"), micro.TFLiteMicro(after)):
        assert bits(runtime) == expected


def test_small_concatenations_are_left_as_they_are():
    content = made_of(lambda x: keras.layers.Concatenate()([x] * 10))
    assert concatenations.nested(content) is content
