"""A graph says between which numbers its outputs lie."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.export import models
from tfconv_export import loading
from tfconv_export import output_bounds
from tfconv_export import reference
from tfconv_export.source import fix_shapes

SHAPE = (8, 3)
SHARE, ANY = (0.0, 1.0), (-np.inf, np.inf)
LAYERS = keras.layers


def dense(activation=None, units=1):
    return LAYERS.Dense(units, activation=activation)


@pytest.mark.parametrize(
    ("layers", "bounds"),
    [
        ([LAYERS.Flatten(), dense("sigmoid")], SHARE),
        ([LAYERS.Flatten(), dense("hard_sigmoid")], SHARE),
        ([LAYERS.Flatten(), dense("softmax", 4)], SHARE),
        ([LAYERS.Flatten(), dense("tanh"), LAYERS.Rescaling(0.5, 0.5)], SHARE),
        ([dense("sigmoid"), LAYERS.GlobalMaxPooling1D()], SHARE),
        ([dense("sigmoid"), LAYERS.AveragePooling1D(8)], SHARE),
        ([dense("sigmoid"), LAYERS.Cropping1D(2)], SHARE),
        ([dense("softmax", 2), LAYERS.GlobalAveragePooling1D()], SHARE),
        ([LAYERS.Flatten(), dense()], ANY),
        ([LAYERS.Flatten(), dense("relu")], (0.0, np.inf)),
        ([LAYERS.Flatten(), dense("sigmoid"), dense()], ANY),
        ([dense("sigmoid"), LAYERS.Rescaling(2.0)], (0.0, 2.0)),
    ],
)
def test_bounds_hold_and_are_known(layers, bounds):
    model = models.sequential(SHAPE, *layers)
    traced = reference.Reference(loading.load(model))
    (found,) = traced.bounds.values()
    assert found == pytest.approx(bounds)
    examples = 10 * models.examples(*SHAPE, count=8)
    for example in examples:
        (values,) = traced({"audio": example[np.newaxis]}).values()
        assert values.min() >= found[0] and values.max() <= found[1]


def test_only_some_of_several_outputs_are_probabilities():
    audio = keras.Input(SHAPE)
    flat = LAYERS.Flatten()(audio)
    one, other = dense("sigmoid")(flat), dense("sigmoid")(flat)
    outputs = {
        "both": LAYERS.Concatenate()([one, other]),
        "either": one + other - one * other,
        "mean": LAYERS.Average()([one, other]),
        "not": 1.0 - one,
        "score": dense()(flat),
    }
    model = keras.Model(audio, outputs)
    found = reference.Reference(loading.load(model)).bounds
    assert {name for name in found if found[name] == SHARE} == {
        "both",
        "mean",
        "not",
    }
    assert found["either"] == (-1.0, 2.0)  # one does not know of itself
    assert found["score"] == ANY


def test_a_saved_model_is_looked_into(tmp_path):
    model = models.sequential(
        SHAPE, dense("sigmoid"), LAYERS.GlobalMaxPooling1D()
    )
    model.export(tmp_path / "saved", verbose=False)
    source = fix_shapes(loading.load(tmp_path / "saved"), None)
    assert list(reference.Reference(source).bounds.values()) == [SHARE]


def test_a_long_way_back_ends_somewhere():
    @tf.function
    def halved_often(inputs):
        value = tf.sigmoid(inputs["x"])
        for _ in range(400):  # as an unrolled LSTM has it
            value = 0.5 * value
        return {"y": value}

    traced = halved_often.get_concrete_function({"x": tf.TensorSpec((1, 2))})
    assert output_bounds.bounds_of(traced) == {"y": ANY}
