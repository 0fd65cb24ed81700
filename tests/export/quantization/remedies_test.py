"""Warnings name only what helps."""

import re

import keras
import numpy as np
import pytest

import tfconv_export
from tests.export import models

DATA = models.examples(40, 4, count=64)


def uneven(spread: float) -> keras.Model:
    """A network whose first layer has channels of very different ranges."""
    model = models.sequential(
        (40, 4),
        keras.layers.Conv1D(8, 3, activation="relu", name="first"),
        keras.layers.Conv1D(8, 3, activation="relu", name="second"),
        keras.layers.Conv1D(3, 3, name="scores"),
    )
    factors = np.logspace(-spread, spread, 8, dtype=np.float32)
    first, second = (model.get_layer(name) for name in ("first", "second"))
    kernel, bias = first.get_weights()
    first.set_weights([kernel * factors, bias * factors])
    kernel, bias = second.get_weights()
    second.set_weights([kernel / factors[:, None], bias])
    return model


def lowest(result) -> float:
    return min(item.judged_db for item in result.agreements)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A model that int8 is hard on, a folder, and what its export tells."""
    folder = tmp_path_factory.mktemp("noisy")
    model = uneven(1.2)
    # It is written all the same, as it was asked for.
    result = tfconv_export.export(
        model,
        folder / "noisy.tflite",
        quantize="int8",
        representative_data=DATA,
        min_sqnr_db=-20.0,
    )
    assert lowest(result) < 20
    return model, folder, result


def test_a_noisy_file_has_a_warning_with_figures(noisy):
    _, _, result = noisy
    (warning,) = result.warnings
    assert f"scores has {lowest(result):.1f} dB" in warning
    assert "the worst layers are" in warning
    for words in ("--equalize", "--float_layers='^"):
        assert words in warning


def test_what_is_said_to_help_gives_what_is_said(noisy):
    model, folder, result = noisy
    (warning,) = result.warnings
    told = dict(re.findall(r"(--[a-z]+) gives ([0-9.]+) dB", warning))
    better = tfconv_export.export(
        model,
        folder / "better.tflite",
        quantize="int8",
        representative_data=DATA,
        equalize=True,
    )
    assert lowest(better) == pytest.approx(float(told["--equalize"]), abs=1.5)
    assert lowest(better) > lowest(result) + 3
    assert better.warnings == ()
