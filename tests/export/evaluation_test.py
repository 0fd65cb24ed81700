"""Accuracy on labelled data, of the model and of the file."""

import keras
import numpy as np
import pytest

import tfconv_export
from tests.export import models
from tfconv_export import evaluation
from tfconv_export.result import Accuracy

X = models.examples(40, 4, count=60, seed=5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


def classifier(classes: int = 3, activation=None) -> keras.Model:
    return models.sequential(
        (40, 4),
        keras.layers.Flatten(),
        keras.layers.Dense(classes, activation=activation, name="scores"),
    )


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_accuracy_is_the_share_of_right_answers(path, quantize):
    model = classifier()
    scores = models.outputs_of(model, X)
    # Right by a margin that quantization does not move, in all but 15.
    order = np.sort(scores, axis=-1)
    clear = order[:, -1] - order[:, -2] > 0.3
    x, scores = X[clear], scores[clear]
    y = scores.argmax(axis=-1)
    y[:15] = (y[:15] + 1) % 3
    np.savez(path.with_suffix(".npz"), x=x, y=y)
    result = tfconv_export.export(
        model,
        path,
        quantize=quantize,
        representative_data=models.DATA,
        evaluation_data=path.with_suffix(".npz"),
    )
    assert {accuracy.runtime for accuracy in result.accuracies} == {
        "model",
        "LiteRT xnnpack",
        "LiteRT builtin",
        "LiteRT reference",
    }
    for accuracy in result.accuracies:
        assert accuracy.examples == len(x)
        assert accuracy.correct == len(x) - 15


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_output_is_the_second_of_two_classes(path, activation):
    model = classifier(1, activation)
    scores = models.outputs_of(model, X)[:, 0]
    y = scores > (0.5 if activation else 0)
    assert 5 < y.sum() < 55
    result = tfconv_export.export(
        model, path, evaluation_data=lambda: zip(X, y.astype(int), strict=True)
    )
    assert [a.correct for a in result.accuracies] == [len(X)] * 4


def test_label_that_is_no_class_is_a_usage_error(path):
    y = np.zeros(len(X), int)
    y[7] = 3
    np.savez(path.with_suffix(".npz"), x=X, y=y)
    with pytest.raises(tfconv_export.UsageError, match=r"label 3 in .* 7"):
        tfconv_export.export(
            classifier(), path, evaluation_data=path.with_suffix(".npz")
        )
    assert not path.exists()


def test_evaluation_of_what_is_no_classifier_is_a_usage_error(path):
    np.savez(path.with_suffix(".npz"), x=X, y=np.zeros(len(X), int))
    with pytest.raises(tfconv_export.UsageError, match="for a classifier"):
        tfconv_export.export(
            models.linear((40, 4)),
            path,
            evaluation_data=path.with_suffix(".npz"),
        )


@pytest.mark.parametrize(("scale", "fails"), [(1.0, False), (0.1, True)])
def test_calibration_on_data_of_another_scale_is_a_failed_check(
    path, scale, fails
):
    # On the small values that it was calibrated on, the file is fine.
    model = classifier()
    y = models.outputs_of(model, X).argmax(axis=-1)
    try:
        result = tfconv_export.export(
            model,
            path,
            quantize="int8",
            representative_data=scale * models.DATA,
            evaluation_data=(X, y),
        )
    except tfconv_export.CheckError as error:
        result = error.result
    names = {check.name for check in result.failed}
    runtimes = ("xnnpack", "builtin", "reference")
    assert names == {f"accuracy on LiteRT {name}" for name in runtimes if fails}
    assert path.exists() is not fails
    if fails:
        assert any("clipped" in text for text in result.warnings)


def test_one_example_may_always_be_lost_and_no_more_than_allowed():
    def failed(model: int, file: int, count: int, drop: float) -> bool:
        accuracies = [
            Accuracy("model", "scores", model, count),
            Accuracy("LiteRT", "scores", file, count),
        ]
        (check,) = evaluation.judge(accuracies, drop)
        return not check.passed

    assert not failed(10, 9, 10, 5.0)
    assert failed(10, 8, 10, 5.0)
    assert not failed(200, 190, 200, 5.0)
    assert failed(200, 189, 200, 5.0)
    assert not failed(100, 101, 200, 0.0)
