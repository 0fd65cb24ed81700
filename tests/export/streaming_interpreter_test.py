"""The streaming interpreter, against the model on whole windows."""

import functools
import pathlib

import keras
import numpy as np
import pytest

import tfconv
import tfconv_export
from tests.export import models
from tfconv_export.streaming_interpreter import StreamingInterpreter

WINDOW, HOP = 24, 2
SIGNAL = models.examples(80, 4, count=1, seed=3)[0]
WINDOWS = np.stack([SIGNAL[i : i + WINDOW] for i in range(80 - WINDOW + 1)])


@pytest.fixture(scope="module")
def model():
    return models.sequential(
        (WINDOW, 4),
        tfconv.SeparableConv1D(8, 5, strides=2, activation="relu"),
        tfconv.SeparableConv1D(8, 3, activation="relu"),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(3, name="scores"),
    )


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    """Mode, and where the states are -> the result."""

    @functools.cache
    def run(quantize, state="external"):
        path = tmp_path_factory.mktemp("stream") / "stream.tflite"
        return tfconv_export.export_streaming(
            model,
            path,
            HOP,
            quantize=quantize,
            state=state,
            representative_data=WINDOWS,
            also_whole=path.with_name("whole.tflite"),
        )

    return run


@pytest.fixture(scope="module", params=["external", "internal"])
def state(request):
    return request.param


@pytest.fixture(scope="module", params=["none", "int8"])
def exported(request, written, state):
    result = written(request.param, state)
    return pathlib.Path(result.output), result


def tolerance(result) -> float:
    return 1e-5 if result.quantize == "none" else 0.3


def test_outputs_are_those_of_the_newest_window(model, exported):
    path, result = exported
    interpreter = tfconv_export.StreamingInterpreter(path)
    assert interpreter.hop == HOP
    found = interpreter.feed(SIGNAL)
    assert found.shape == (40, 3)
    full = result.plan.hops_until_full
    expected = models.outputs_of(model, WINDOWS[::HOP])
    np.testing.assert_allclose(
        found[full - 1 :], expected, atol=tolerance(result)
    )


@pytest.mark.parametrize("pieces", [[1] * 80, [3, 7, 0, 41, 29], [79, 1]])
def test_pieces_of_any_length_give_the_same(exported, pieces):
    path, _ = exported
    interpreter = tfconv_export.StreamingInterpreter(path, "reference")
    whole = interpreter.feed(SIGNAL)
    interpreter.reset()
    found, start = [], 0
    for length in pieces:
        found.append(interpreter.feed(SIGNAL[start : start + length]))
        start += length
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_reset_forgets_frames_that_wait_too(exported):
    path, _ = exported
    interpreter = tfconv_export.StreamingInterpreter(path)
    first = interpreter.feed(SIGNAL[:11])
    interpreter.reset()
    np.testing.assert_array_equal(interpreter.feed(SIGNAL[:11]), first)


def test_two_on_one_file_do_not_disturb_each_other(exported):
    path, _ = exported
    alone = tfconv_export.StreamingInterpreter(path).feed(SIGNAL)
    first, second = (tfconv_export.StreamingInterpreter(path) for _ in range(2))
    found = []
    for start in range(0, 80, 10):
        second.feed(-SIGNAL[start : start + 10])
        found.append(first.feed(SIGNAL[start : start + 10]))
    np.testing.assert_array_equal(np.concatenate(found), alone)


def test_frames_of_another_shape_are_refused(exported):
    path, _ = exported
    interpreter = tfconv_export.StreamingInterpreter(path)
    for wrong in (np.zeros((5, 3)), np.zeros(4), np.zeros((1, 5, 4))):
        with pytest.raises(tfconv_export.UsageError, match=r"\(n, 4\) is"):
            interpreter.feed(wrong)
    with pytest.raises(tfconv_export.UsageError, match="takes audio"):
        interpreter.feed({"sound": np.zeros((5, 4))})


def test_file_that_does_not_stream_is_refused(exported, tmp_path):
    path, _ = exported
    (tmp_path / "text.tflite").write_text("no model")
    for wrong, reason in (
        (path.with_name("whole.tflite"), "not a streaming file"),
        (tmp_path / "missing.tflite", "cannot be read"),
        (tmp_path / "text.tflite", "not a TFLite file"),
    ):
        with pytest.raises(tfconv_export.UsageError, match=reason):
            StreamingInterpreter(wrong)


@pytest.mark.parametrize(
    "frames",
    [
        np.full((4, 4), np.nan),
        np.full((4, 4), np.inf),
        np.full((4, 4), 1j),
        [[1, 2], [3]],
        [["a"] * 4],
    ],
    ids=["nan", "infinite", "complex", "ragged", "text"],
)
def test_what_are_no_frames_is_refused_and_forgotten(exported, frames):
    interpreter = StreamingInterpreter(exported[0])
    with pytest.raises(tfconv_export.UsageError, match="audio must be real, f"):
        interpreter.feed(frames)
    expected = StreamingInterpreter(exported[0]).feed(SIGNAL)
    np.testing.assert_array_equal(interpreter.feed(SIGNAL), expected)


@pytest.mark.parametrize("nothing", [[], SIGNAL[:0]])
def test_no_frames_give_no_outputs(exported, nothing):
    found = StreamingInterpreter(exported[0]).feed(nothing)
    assert found.shape == (0, 3)
    assert found.dtype == np.float32


def test_unknown_kernels_are_refused(exported):
    with pytest.raises(tfconv_export.UsageError, match="xnnpack, builtin, ref"):
        StreamingInterpreter(exported[0], kernels="fast")


@pytest.mark.parametrize("where", ["external", "internal"])
def test_file_without_states_streams_too(tmp_path, where):
    model = models.sequential((20, 4), keras.layers.Dense(3))
    path = tmp_path / "stream.tflite"
    tfconv_export.export_streaming(model, path, HOP, state=where)
    found = StreamingInterpreter(path).feed(SIGNAL[:20])
    np.testing.assert_allclose(
        found.reshape(20, 3), model(SIGNAL[None, :20])[0], atol=1e-5
    )


def test_output_that_is_called_like_a_state_is_none(tmp_path):
    inputs = keras.Input((20, 4), name="audio")
    x = tfconv.DepthwiseConv1D(3)(inputs)
    x = keras.layers.GlobalAveragePooling1D(name="audio_next")(x)
    model = models.randomize(keras.Model(inputs, x))
    path = tmp_path / "stream.tflite"
    tfconv_export.export_streaming(model, path, HOP)
    found = StreamingInterpreter(path).feed(SIGNAL[:20])
    assert found.shape == (10, 4)
    np.testing.assert_allclose(found[-1:], model(SIGNAL[None, :20]), atol=1e-5)
