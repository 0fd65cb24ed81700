"""Accuracy on labelled data, of the model and of the file."""

import keras
import numpy as np
import pytest

import tfconv_export
from tests.export import models
from tfconv_export import evaluation
from tfconv_export.result import Accuracy
from tfconv_export.result import Endpoint

X = models.examples(40, 4, count=60, seed=5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


def dense(activation=None, units=1, **options) -> keras.layers.Dense:
    return keras.layers.Dense(units, activation=activation, **options)


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
    runtimes = [
        f"LiteRT {name}" for name in ("xnnpack", "builtin", "reference")
    ]
    assert names == {
        name
        for runtime in runtimes
        for name in (f"{runtime}, output scores", f"accuracy on {runtime}")
        if fails
    }
    for agreement in result.agreements:
        is_off = fails and agreement.data == "evaluation"
        assert (agreement.sqnr_db < 10) is is_off
    assert path.exists() is not fails
    if fails:
        assert any("clipped" in text for text in result.warnings)
        (tried,) = (text for text in result.warnings if "Tried" in text)
        assert "representative data like the evaluation data gives" in tried


@pytest.mark.parametrize(
    ("layers", "options"),
    [
        (
            [keras.layers.Flatten(), dense("sigmoid")],
            {"quantize": "int8", "io_dtype": "uint8"},
        ),
        (
            [keras.layers.Flatten(), dense("hard_sigmoid")],
            {"quantize": "int8", "io_dtype": "float32"},
        ),
        (
            [dense("sigmoid"), keras.layers.GlobalMaxPooling1D()],
            {"quantize": "int8"},
        ),
        ([dense("sigmoid"), keras.layers.GlobalMaxPooling1D()], {}),
    ],
)
def test_the_task_is_the_models_whatever_the_file_ends_with(
    path, layers, options
):
    model = models.sequential((40, 4), *layers)
    share = models.outputs_of(model, X)[:, 0]
    # So that quantization does not move one to the other side.
    clear = abs(share - 0.5) > 0.05
    x, y = X[clear], share[clear] > 0.5
    y[:9] ^= True
    result = tfconv_export.export(
        model,
        path,
        representative_data=models.DATA,
        evaluation_data={"x": x, "y": y},
        **options,
    )
    assert [a.correct for a in result.accuracies] == [len(x) - 9] * 4


def test_a_wake_word_that_no_example_had_is_not_heard(path):
    # Calibrated on negatives alone, the logits end with 0, and p with 0.5.
    model = models.sequential(
        (40, 4),
        keras.layers.GlobalAveragePooling1D(),
        dense("sigmoid", name="p"),
    )
    model.set_weights([np.full((4, 1), 9.0), np.full(1, -9.0)])
    y = np.arange(100) % 2
    x = np.clip(
        models.examples(40, 4, count=100) + 0.5 * y[:, None, None], -3, 3
    )
    options = {"quantize": "int8", "evaluation_data": {"x": x, "y": y}}
    with pytest.raises(tfconv_export.CheckError) as failure:
        tfconv_export.export(
            model, path, representative_data=x[y == 0], **options
        )
    result = failure.value.result
    names = {check.name for check in result.failed}
    assert {"LiteRT xnnpack, output p", "accuracy on LiteRT xnnpack"} <= names
    told = [text for text in result.warnings if "add positives" in text]
    assert len(told) == 1 and "spans" in told[0]
    result = tfconv_export.export(model, path, representative_data=x, **options)
    assert result.warnings == ()


class Fixed:
    """A model, or a runtime, that gives what is in a table."""

    def __init__(self, values, name="LiteRT"):
        self.name = name
        self._values = np.asarray(values, np.float32)
        self.bounds = {"scores": (-np.inf, np.inf)}

    def __call__(self, example):
        return {"scores": self._values[example["x"]][np.newaxis]}

    run = __call__

    def step(self, output):
        return None


class Labelled(list):
    """Labels of examples that are their numbers."""

    def labelled(self):
        return (({"x": index}, label) for index, label in enumerate(self))


def evaluated(values, labels, *files):
    values = np.asarray(values)
    return evaluation.evaluate(
        [Fixed(file) for file in files],
        Fixed(values),
        Labelled(labels),
        Endpoint("scores", (1, values.shape[1]), "float32"),
        "none",
    )


SEVERAL = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("yes", "no"), [(0.8, 0.2), (0.5001, 0.4999), (3.0, -3.0)]
)
def test_each_of_several_labels_counts(yes, no):
    values = np.where(SEVERAL, yes, no)
    wrong = values.copy()
    wrong[0] = no, yes, yes
    found = evaluated(values, SEVERAL, wrong)
    model, file = found.accuracies
    assert (model.correct, model.examples) == (12, 12)
    assert (file.correct, file.lost, file.gained) == (10, 2, 0)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 2, 2],
        np.eye(3)[[0, 1, 2, 2]],
        0.9 * np.eye(3)[[0, 1, 2, 2]] + 0.1 / 3,
    ],
)
def test_a_row_with_one_largest_number_is_a_class(labels):
    values = np.eye(3)[[0, 1, 2, 0]]
    (model,) = evaluated(values, labels).accuracies
    assert (model.correct, model.examples) == (3, 4)


@pytest.mark.parametrize(
    ("values", "labels", "told"),
    [
        (np.eye(3)[[0, 1, 2, 0]], SEVERAL, "row with 2 ones .* exactly one"),
        (np.eye(3)[[0, 1, 2, 0]], SEVERAL[:, :2], "row of 2 .* 3 classes"),
        (np.eye(3)[:2], [np.eye(3)[0], 1], "1 rows and 1 integers"),
        (np.zeros((2, 1)), [np.ones(2), np.ones(2)], "row with 2 ones"),
    ],
)
def test_labels_that_the_output_does_not_have(values, labels, told):
    with pytest.raises(tfconv_export.UsageError, match=told):
        evaluated(values, labels)


def test_exactly_half_is_no_yes():
    (model,) = evaluated([[0.5], [0.51], [0.5]], [1, 1, 0]).accuracies
    assert model.correct == 2


def guess(labels, classes=4):
    return np.eye(classes)[labels]


TRUE = np.random.default_rng(0).integers(0, 4, 200)
RARE = (np.arange(400) % 50 == 0).astype(int)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (guess(3 - TRUE), TRUE),  # another order
        (guess(np.full(200, 2)), TRUE),  # another scale
        (guess((TRUE + np.arange(200)) % 4), TRUE),  # what has nothing to do
        (guess(np.zeros(400, int), 2), RARE),
        (np.full((4, 3), 0.9), SEVERAL),
    ],
)
def test_a_model_that_guesses_is_a_warning(values, labels):
    (warning,) = evaluated(values, labels).warnings
    assert "most frequent" in warning and "%" in warning


# Rare, and found: always saying no is right more often, and worth nothing.
ALARMS = RARE | (np.arange(400) % 30 == 7)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (guess(TRUE), TRUE),
        (guess(np.where(np.arange(200) % 3, TRUE, 0)), TRUE),
        (guess(ALARMS, 2), RARE),
        (guess(np.zeros(9, int)), np.zeros(9, int)),
        (np.where(SEVERAL, 0.8, 0.2), SEVERAL),
    ],
)
def test_a_model_that_knows_something_is_no_warning(values, labels):
    assert evaluated(values, labels).warnings == ()


def failed(model: int, file: int, count: int, drop=None, gained=0) -> bool:
    lost = model - file + gained
    accuracies = [
        Accuracy("model", "scores", model, count),
        Accuracy("LiteRT", "scores", file, count, lost, gained),
    ]
    (check,) = evaluation.judge(accuracies, drop)
    return not check.passed


def test_one_example_may_always_be_lost_and_no_more_than_allowed():
    assert not failed(10, 9, 10, 5.0)
    assert failed(10, 8, 10, 5.0)
    assert not failed(200, 190, 200, 5.0)
    assert failed(200, 189, 200, 5.0)
    assert not failed(100, 101, 200, 0.0)


def test_more_than_two_points_may_be_lost_by_chance_only():
    # Of 30 lost and 0 gained, 2 * sqrt(30) = 11 would be by chance.
    assert failed(1000, 970, 1000)
    # Of 120 lost and 90 gained, 2 * sqrt(210) = 29 are.
    assert failed(1000, 970, 1000, gained=90)
    assert not failed(1000, 970, 1000, gained=140)
    assert not failed(1000, 981, 1000)
    # Whatever the chance, more than 5 points are too many.
    assert failed(1000, 940, 1000, gained=900)
    assert not failed(10, 9, 10)
    # Who says what may be lost has the word.
    assert not failed(1000, 940, 1000, 6.0)
