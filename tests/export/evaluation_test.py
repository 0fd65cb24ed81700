"""Accuracy on labelled data, of the model and of the file."""

import keras
import numpy as np
import pytest

import tfconv_export
from tests.export import models

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
