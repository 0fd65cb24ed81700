"""Files that hold their states stream as those do whose caller keeps them."""

import functools
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
import tfconv_export
from tests.export import models
from tests.export import streamed
from tests.export import tflite
from tfconv_export import flatbuffer
from tfconv_export import micro
from tfconv_export import streaming_proof
from tfconv_export.micro import _smallest_arena
from tfconv_export.output_bounds import UNBOUNDED
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.runtimes import LiteRT
from tfconv_export.streaming_result import StreamingState
from tfconv_export.streaming_variables import with_variables

_HOP = 2
# Before the first window is full, and after.
_SIGNAL = streamed.signal(50, 6)


def network(filters: int = 8) -> keras.Model:
    """Strided, dilated, with a cropped residual."""
    inputs = keras.Input((32, 6), name="audio")
    x = tfconv.SeparableConv1D(filters, 5, strides=2)(inputs)
    x = keras.layers.ReLU()(x)
    y = tfconv.SeparableConv1D(filters, 3, dilation_rate=2)(x)
    x = keras.layers.Add()([y, keras.layers.Cropping1D((2, 2))(x)])
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return models.randomize(
        keras.Model(inputs, keras.layers.Dense(4, name="scores")(x))
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Mode -> the result, and the files: external, internal, whole."""

    @functools.cache
    def run(quantize: str, filters: int = 8):
        directory = tmp_path_factory.mktemp("stream")
        result = tfconv_export.export_streaming(
            network(filters),
            directory / "stream.tflite",
            _HOP,
            quantize=quantize,
            representative_data=streamed.signal(320, 6).reshape(10, 32, 6),
            also_whole=directory / "whole.tflite",
        )
        external, whole = (
            pathlib.Path(path).read_bytes()
            for path in (result.output, result.whole.output)
        )
        return result, external, with_variables(external, result.states), whole

    return run


def outputs(file: streamed.File, states=(), values=_SIGNAL):
    return list(streamed.stream(file, states, _HOP, values))


@pytest.mark.parametrize("runtime", streamed.PARAMETERS)
@pytest.mark.parametrize("quantize", ["none", "int8", "int16x8"])
def test_every_hop_is_that_of_the_file_whose_states_are_outside(
    exported, quantize, runtime
):
    _, external, internal, _ = exported(quantize)
    expected = outputs(
        streamed.File(external, runtime), streamed.held(external)
    )
    file = streamed.File(internal, runtime)
    assert set(file.inputs) == {"audio"}
    assert set(file.outputs) == {"scores"}
    streamed.assert_same(outputs(file), expected)
    assert len({value["scores"].tobytes() for value in expected}) > 10
    # The signal again would go on with the states of its end.
    assert outputs(file)[0]["scores"].tobytes() != (
        expected[0]["scores"].tobytes()
    )
    for _ in range(2):
        file.reset()
        streamed.assert_same(outputs(file), expected)


@pytest.mark.parametrize("runtime", streamed.PARAMETERS)
def test_reset_may_come_before_the_first_hop(exported, runtime):
    _, _, internal, _ = exported("int8")
    file, other = (streamed.File(internal, runtime) for _ in range(2))
    file.reset()
    streamed.assert_same(outputs(file), outputs(other))


@pytest.mark.parametrize("runtime", streamed.PARAMETERS)
def test_interpreters_of_one_file_have_states_of_their_own(exported, runtime):
    _, _, internal, _ = exported("int8")
    alone = outputs(streamed.File(internal, runtime))
    first, second = (streamed.File(internal, runtime) for _ in range(2))
    other = streamed.stream(second, (), _HOP, -_SIGNAL)
    found = []
    for hop in streamed.stream(first, (), _HOP, _SIGNAL):
        found.append(hop)
        next(other)
    streamed.assert_same(found, alone)


def test_nothing_else_is_in_the_file(exported):
    _, external, internal, _ = exported("int8")
    before, after = map(tflite.operators_in, (external, internal))
    assert after - before == {
        "CALL_ONCE": 1,
        "VAR_HANDLE": 8,
        "READ_VARIABLE": 4,
        "ASSIGN_VARIABLE": 8,
    }
    assert not before - after
    facts = flatbuffer.read(internal)
    assert [signature.key for signature in facts.signatures] == [
        "serving_default",
        "reset",
    ]
    assert facts.operators[0].name == "CALL_ONCE"
    assert [item.dtype for item in facts.inputs + facts.outputs] == ["int8"] * 2


@pytest.mark.parametrize("runtime", streamed.PARAMETERS)
def test_large_states_cost_less_than_their_bytes(exported, runtime):
    result, external, internal, _ = exported("none", 160)
    held = sum(state.initial().nbytes for state in result.states)
    assert held > 9000
    assert len(internal) - len(external) < held / 3
    expected = outputs(
        streamed.File(external, runtime), streamed.held(external)
    )
    file = streamed.File(internal, runtime)
    streamed.assert_same(outputs(file), expected)
    file.reset()
    streamed.assert_same(outputs(file), expected)


def direct(x, a, b):
    return a + 2 * b + x, x, x


def swapped(x, a, b):
    return 3 * a + b, b, a + x


def passed_on(x, a, b):
    return a + 2 * b, x, a


def given_out(x, a, b):
    y = a + x
    return y, y, b - x


def only_kept(x, a, b):
    return b, x + b, a


@pytest.mark.parametrize("runtime", streamed.PARAMETERS)
@pytest.mark.parametrize(
    "step", [direct, swapped, passed_on, given_out, only_kept]
)
def test_states_change_all_at_once(step, runtime):
    """However tensors are shared between inputs, outputs, and states."""

    def function(audio, state_0, state_1):
        made = step(audio, state_0, state_1)
        names = ("scores", "state_0_next", "state_1_next")
        return dict(zip(names, made, strict=True))

    spec = tf.TensorSpec((1, _HOP, 6))
    module = tf.Module()
    module.step = tf.function(function, input_signature=[spec] * 3)
    external = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.step.get_concrete_function()], module
    ).convert()
    states = tuple(
        StreamingState(name, f"{name}_next", "", (1, _HOP, 6), "float32")
        for name in ("state_0", "state_1")
    )
    file = streamed.File(with_variables(external, states), runtime)
    # Small whole numbers: sums are exact.
    values = np.random.default_rng(0).integers(-3, 4, (1, 20, 6))
    found = outputs(file, values=values.astype(np.float32))
    a = b = np.zeros((1, _HOP, 6))
    for start, hop in zip(range(0, 20, _HOP), found, strict=True):
        expected, a, b = step(values[:, start : start + _HOP], a, b)
        np.testing.assert_array_equal(hop["scores"], expected)


class Examples(list):
    def sample(self, count):
        return self[:count]


def checks(exported, content: bytes, quantize="int8"):
    result, _, _, whole = exported(quantize)
    examples = Examples(
        {"audio": window[np.newaxis]}
        for window in streamed.signal(320, 6, 1).reshape(10, 32, 6)
    )
    signals = streaming_proof.signals(examples, result.plan)
    if quantize == "int8":
        return streaming_proof.compare_exactly(
            content, whole, result.plan, (), signals
        )
    return streaming_proof.compare_closely(
        content, WholeFile(whole), result.plan, (), signals
    )


class WholeFile:
    """A file for whole windows in the place of the trained model."""

    def __init__(self, content: bytes):
        self._runtime = LiteRT(content)
        self.bounds = dict.fromkeys(self._runtime.outputs, UNBOUNDED)

    def __call__(self, example):
        return self._runtime.run(example)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_proof_holds(exported, quantize):
    _, _, internal, _ = exported(quantize)
    found = checks(exported, internal, quantize)
    assert len(found) == 2 * len(streamed.RUNTIMES)
    assert all(check.passed for check in found), found


def test_proof_finds_a_reset_that_does_nothing(exported, monkeypatch):
    monkeypatch.setattr(
        streaming_proof, "_RUNTIMES", {"LiteRT xnnpack": LiteRT}
    )
    _, _, internal, _ = exported("int8")
    model = flatbuffer_edit.read(internal)
    empty = flatbuffer_edit.read(internal).subgraphs[1]
    empty.operators, empty.tensors = [], []
    model.subgraphs.append(empty)
    model.signatureDefs[1].subgraphIndex = 2
    failed = {
        check.name
        for check in checks(exported, flatbuffer_edit.write(model))
        if not check.passed
    }
    assert failed == {"LiteRT xnnpack, a reset begins a new stream"}


def test_proof_finds_initial_values_that_a_microcontroller_resets_otherwise(
    exported,
):
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    _, _, internal, _ = exported("int8")
    model = flatbuffer_edit.read(internal)
    reset = model.subgraphs[1]
    for operator in reset.operators:
        for index in operator.inputs:
            data = model.buffers[reset.tensors[index].buffer].data
            if data is not None:
                data ^= 0x40
    failed = {
        check.name
        for check in checks(exported, flatbuffer_edit.write(model))
        if not check.passed
    }
    assert failed == {"TFLite Micro, a reset begins a new stream"}


def test_smallest_arena_has_room_for_the_variables(exported):
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    _, _, internal, _ = exported("int8")
    least = _smallest_arena(internal, 1)
    assert least < streamed.ARENA / 10
    streamed.assert_same(
        outputs(streamed.File(internal, "micro", least)),
        outputs(streamed.File(internal, "micro")),
    )
    with pytest.raises(RuntimeError):
        streamed.File(internal, "micro", least - micro.ARENA_ALIGNMENT)


def test_firmware_is_told_of_the_variables(exported):
    _, external, internal, _ = exported("int8")
    lines = micro.resolver(flatbuffer.read(internal))
    for method in ("CallOnce", "VarHandle", "ReadVariable", "AssignVariable"):
        assert f"resolver.Add{method}());" in lines
    assert "MicroResourceVariables::Create(allocator, 4)" in lines
    assert "Variable" not in micro.resolver(flatbuffer.read(external))
