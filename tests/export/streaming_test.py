"""Streaming files give, hop by hop, what the model gives for whole windows.

Every interpreter is run here by loops of the tests' own, which know nothing
but the names in the result.
"""

import functools
import importlib.util
import pathlib

import keras
import numpy as np
import pytest

import tfconv
import tfconv_export
from tests.export import closeness
from tests.export import models
from tests.export import streamed
from tests.export import tflite
from tfconv_export import streaming
from tfconv_export.quantization import streaming_twin

_HOPS_COMPARED = 12


def windows(frames: int, channels: int) -> np.ndarray:
    """Examples to calibrate on, `(n, frames, channels)`."""
    return streamed.signal(24 * frames, channels, seed=1).reshape(
        24, frames, channels
    )


def valid(seed: int = 0) -> keras.Model:
    """Strided, dilated, with a cropped residual. 50 frames leave a rest."""
    inputs = keras.Input((50, 6), name="audio")
    x = tfconv.SeparableConv1D(8, 5, strides=2, use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    y = tfconv.SeparableConv1D(8, 3, dilation_rate=2)(x)
    y = keras.layers.BatchNormalization()(y)
    x = keras.layers.Add()([y, keras.layers.Cropping1D((2, 2))(x)])
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(4, name="scores")(x)
    return models.randomize(keras.Model(inputs, x, name="valid"), seed)


def causal() -> keras.Model:
    inputs = x = keras.Input((48, 6), name="audio")
    for dilation in (1, 2):
        x = tfconv.SeparableConv1D(
            8, 3, dilation_rate=dilation, padding="causal"
        )(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(4, name="scores")(x)
    return models.randomize(keras.Model(inputs, x, name="causal"))


def branches() -> keras.Model:
    """Outputs at the end and over time, of branches that are joined."""
    inputs = keras.Input((30, 4), name="audio")
    fine = keras.layers.Conv1D(4, 3, activation="relu")(inputs)
    coarse = keras.layers.Conv1D(4, 5)(inputs)
    fine = keras.layers.Cropping1D((1, 1))(fine)
    x = keras.layers.Concatenate()([fine, coarse])
    x = keras.layers.Dense(5, activation="relu")(x)
    scores = keras.layers.Dense(3, name="scores")(
        keras.layers.GlobalAveragePooling1D()(x)
    )
    frames = keras.layers.Dense(2, name="frames")(x)
    return models.randomize(keras.Model(inputs, [scores, frames]))


def mixed() -> keras.Model:
    """Halves of the channels, one squared and one negated."""
    inputs = keras.Input((30, 4), name="audio")
    fine, coarse = keras.ops.split(inputs, 2, axis=-1)
    fine = keras.layers.Cropping1D((2, 0))(tfconv.DepthwiseConv1D(3)(fine))
    coarse = keras.ops.negative(tfconv.DepthwiseConv1D(5)(coarse))
    x = [keras.ops.square(fine), coarse]
    x = keras.layers.Flatten()(keras.layers.Concatenate()(x))
    x = keras.layers.Dense(3, name="scores")(x)
    return models.randomize(keras.Model(inputs, x))


_MODELS = {
    "valid": valid,
    "causal": causal,
    "branches": branches,
    "mixed": mixed,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Model, hop, mode -> the model, the result, and both files' bytes."""

    @functools.cache
    def run(name: str, hop: int, quantize: str):
        directory = tmp_path_factory.mktemp(name)
        model = _MODELS[name]()
        result = tfconv_export.export_streaming(
            model,
            directory / "stream.tflite",
            hop,
            quantize=quantize,
            representative_data=windows(*model.input_shape[1:]),
            also_whole=directory / "whole.tflite",
        )
        assert result.output == str(directory / "stream.tflite")
        assert result.whole.output == str(directory / "whole.tflite")
        contents = [
            pathlib.Path(path).read_bytes()
            for path in (result.output, result.whole.output)
        ]
        assert result.size == len(contents[0])
        return model, result, *contents

    return run


def pairs(result, channels: int, stream: streamed.File, of_window):
    """What the stream gives, and what it is to give, at every full window."""
    plan = result.plan
    states = [
        streamed.Held(state.name, state.output_name, state.initial())
        for state in result.states
    ]
    signals = [
        streamed.signal(plan.window + plan.hop * _HOPS_COMPARED, channels)
    ]
    if not plan.every_hop:
        # Only the window since the reset is promised.
        signals = [
            streamed.signal(plan.window, channels, seed) for seed in range(6)
        ]
    for values in signals:
        hops = enumerate(streamed.stream(stream, states, plan.hop, values), 1)
        for number, outputs in hops:
            if number < plan.hops_until_full:
                continue
            end = number * plan.hop
            expected = of_window(values[:, end - plan.window : end])
            for name, value in outputs.items():
                wanted = np.asarray(expected[name])
                if wanted.ndim == 3:
                    wanted = wanted[:, -value.shape[1] :]
                yield value, wanted


@pytest.mark.parametrize("kernels", streamed.PARAMETERS)
@pytest.mark.parametrize(
    ("name", "hop", "quantize"),
    [
        ("valid", 2, "int8"),
        ("valid", 4, "int8"),
        ("causal", 4, "int8"),
        ("branches", 3, "int16x8"),
        ("mixed", 2, "int8"),
    ],
)
def test_integer_stream_equals_whole_windows_in_every_bit(
    exported, name, hop, quantize, kernels
):
    model, result, content, whole_content = exported(name, hop, quantize)
    whole = streamed.File(whole_content, kernels)
    stream = streamed.File(content, kernels)
    found = list(
        pairs(
            result,
            model.input_shape[-1],
            stream,
            lambda window: whole.run(audio=whole.stored(window, "audio")),
        )
    )
    assert len(found) >= 6
    for ours, expected in found:
        assert ours.dtype == quantize.removesuffix("x8")
        assert expected.dtype == ours.dtype
        np.testing.assert_array_equal(ours, expected)
    values = {ours.tobytes() for ours, _ in found}
    assert len(values) > len(found) / 2, "there is nothing to compare"


@pytest.mark.parametrize("kernels", streamed.PARAMETERS)
@pytest.mark.parametrize(("name", "hop"), [("valid", 2), ("causal", 4)])
def test_float_stream_is_the_trained_model(exported, name, hop, kernels):
    model, result, content, _ = exported(name, hop, "none")
    found = pairs(
        result,
        model.input_shape[-1],
        streamed.File(content, kernels),
        lambda window: {"scores": model(window)},
    )
    ours, expected = map(np.stack, zip(*found, strict=True))
    closeness.assert_close(expected, ours)


@pytest.mark.parametrize(
    ("name", "hop", "quantize"),
    [("valid", 2, "int8"), ("branches", 3, "int16x8"), ("causal", 4, "none")],
)
def test_states_go_back_in_as_they_are(exported, name, hop, quantize):
    _, result, content, _ = exported(name, hop, quantize)
    file = streamed.File(content, "reference")
    assert [state.layer for state in result.states] == [
        state.name for state in result.plan.states
    ]
    for state, planned in zip(result.states, result.plan.states, strict=True):
        given, taken = file.inputs[state.name], file.outputs[state.output_name]
        for key in ("dtype", "quantization"):
            assert given[key] == taken[key]
        for details in (given, taken):
            assert tuple(details["shape"]) == (1, *planned.shape)
        initial = state.initial()
        assert initial.dtype == given["dtype"]
        scale, zero_point = given["quantization"]
        assert scale == (state.scale or 0)
        assert (initial == zero_point).all()
    names = {state.name for state in result.states} | {"audio"}
    assert set(file.inputs) == names


def test_int8_stream_has_the_weights_of_the_whole_file_and_no_conversions(
    exported,
):
    _, _, content, whole_content = exported("valid", 2, "int8")
    stream, whole = (
        tflite.TFLiteFile(data) for data in (content, whole_content)
    )
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(stream.operators)
    for name, count in (
        ("DEPTHWISE_CONV_2D", 2),
        ("CONV_2D", 2),
        ("FULLY_CONNECTED", 1),
    ):
        constants = [
            sorted(
                bytes(file.model.buffers[tensor.buffer].data)
                for operands in file.operands(name)
                for tensor in (
                    file.model.subgraphs[0].tensors[index]
                    for index in operands[1:]
                )
            )
            for file in (stream, whole)
        ]
        assert len(constants[0]) == 2 * count
        assert constants[0] == constants[1]


def test_nothing_is_written_if_one_weight_is_off_by_one(monkeypatch, tmp_path):
    right = streaming_twin.quantized_alike

    def wrong(*arguments) -> bytes:
        content = bytearray(right(*arguments))
        file = tflite.TFLiteFile(bytes(content))
        index = file.operands("FULLY_CONNECTED")[0][1]
        buffer = file.model.subgraphs[0].tensors[index].buffer
        weights = bytes(file.model.buffers[buffer].data)
        place = content.index(weights)
        content[place] ^= 1
        return bytes(content)

    monkeypatch.setattr(streaming_twin, "quantized_alike", wrong)
    with pytest.raises(
        tfconv_export.CheckError, match=r"the stream and whole .* differ"
    ) as raised:
        streaming.export_streaming(
            valid(),
            tmp_path / "stream.tflite",
            2,
            quantize="int8",
            representative_data=windows(50, 6),
            also_whole=tmp_path / "whole.tflite",
        )
    failed = [check for check in raised.value.result.checks if not check.passed]
    assert any("reference" in check.name for check in failed)
    assert not list(tmp_path.iterdir())


def test_operator_without_a_counterpart_is_named(exported):
    _, result, content, _ = exported("valid", 2, "none")
    other_float = exported("causal", 4, "none")[3]
    other = exported("causal", 4, "int8")[3]
    states = tuple(state.name for state in result.states)
    with pytest.raises(
        tfconv_export.CheckError,
        match=r"DEPTHWISE_CONV_2D that computes .* has no counterpart",
    ):
        streaming_twin.quantized_alike(content, states, other_float, other)


def test_operators_that_differ_only_in_their_frames_are_named(tmp_path):
    inputs = keras.Input((30, 4), name="audio")
    x = keras.layers.Conv1D(4, 3, activation="relu")(inputs)
    rise, fall = x[:, 4:] - x[:, :-4], x[:, :-4] - x[:, 4:]
    rise, fall = keras.layers.ReLU()(rise), keras.layers.ReLU()(fall)
    x = keras.layers.Concatenate()([rise, fall])
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    with pytest.raises(
        tfconv_export.CheckError, match=r"Sub.* cannot be told apart"
    ):
        tfconv_export.export_streaming(
            models.randomize(model),
            tmp_path / "stream.tflite",
            2,
            quantize="int16x8",
            representative_data=windows(30, 4),
        )
    assert not list(tmp_path.iterdir())


def test_whole_file_is_the_one_that_an_export_makes(exported, tmp_path):
    model, _, _, whole_content = exported("valid", 2, "int8")
    path = tmp_path / "model.tflite"
    tfconv_export.export(
        model, path, quantize="int8", representative_data=windows(50, 6)
    )
    assert path.read_bytes() == whole_content


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"quantize": "float16"}, "quantize=float16 is not possible"),
        ({"quantize": "int8"}, "needs --representative_data"),
        ({"hop": 3}, "Choose a hop that is a multiple of 2"),
        ({"hop": 0}, "hop"),
        ({"fallback": "guess"}, "fallback"),
        ({"also_whole": "stream.tflite"}, "give another name"),
        ({"output": "there.tflite"}, "exists already"),
        ({"model": "nowhere.keras"}, "does not exist"),
    ],
)
def test_wrong_request_is_one_sentence_and_writes_nothing(
    monkeypatch, tmp_path, options, sentence
):
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "there.tflite"
    there.write_bytes(b"what was there before")
    arguments = {"model": None, "output": "stream.tflite", "hop": 2} | options
    if arguments["model"] is None:
        arguments["model"] = valid()
    with pytest.raises(tfconv_export.UsageError, match=sentence) as raised:
        tfconv_export.export_streaming(**arguments)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [there]
    assert there.read_bytes() == b"what was there before"


def test_saved_model_is_refused(tmp_path):
    models.sequential((8, 2), keras.layers.Flatten()).export(
        tmp_path / "saved", verbose=False
    )
    with pytest.raises(tfconv_export.UsageError, match=r"give a \.keras file"):
        tfconv_export.export_streaming(
            tmp_path / "saved", tmp_path / "stream.tflite", 2
        )
    assert not (tmp_path / "stream.tflite").exists()


def test_every_installed_runtime_was_asked(exported):
    _, result, _, _ = exported("valid", 2, "int8")
    expected = {"LiteRT xnnpack", "LiteRT builtin", "LiteRT reference"}
    if importlib.util.find_spec("tflite_micro"):
        expected.add("TFLite Micro")
    asked = {
        check.name.partition(",")[0]
        for check in result.checks
        if "equal in every bit" in check.detail
    }
    assert asked == expected
