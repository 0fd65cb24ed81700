"""TFLite Micro and the reference kernels, layer by layer and as a whole."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.export import direct
from tests.export import models
from tfconv_export import micro
from tfconv_export import twins
from tfconv_export.conversion import Conversion
from tfconv_export.runtimes import LiteRT

pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")


@dataclasses.dataclass(frozen=True)
class Run:
    """A file, what runs it, and what they computed of some examples."""

    converted: Conversion
    runtimes: list
    examples: list
    computed: dict

    def check(self, computed=None):
        (check,) = twins.judge(
            computed or self.computed,
            self.runtimes,
            self.examples,
            self.converted,
            "int8",
        )
        return check


def run(model: keras.Model) -> Run:
    content = direct.convert(model, "int8")
    runtimes = [LiteRT(content, "reference"), micro.TFLiteMicro(content)]
    examples = [
        {"audio": example[np.newaxis]}
        for example in models.examples(*model.inputs[0].shape[1:], count=32)
    ]
    computed = {
        runtime.name: [runtime.run(example) for example in examples]
        for runtime in runtimes
    }
    return Run(Conversion(content, None), runtimes, examples, computed)


@pytest.fixture(scope="module")
def deep():
    layers = [
        keras.layers.Dense(16, activation="relu", name=f"layer_{number}")
        for number in range(6)
    ]
    return run(
        models.sequential((8,), *layers, keras.layers.Dense(4, name="last"))
    )


def test_step_of_difference_in_each_layer_is_no_fault(deep):
    # TFLite Micro rounds a product once where LiteRT rounds it twice.
    outputs = [
        np.stack([found["scores"] for found in deep.computed[name]])
        for name in twins.NAMES
    ]
    step = deep.runtimes[0].step("scores")
    assert np.abs(outputs[0] - outputs[1]).max() > 1.5 * step
    check = deep.check()
    assert check.passed
    assert check.detail.endswith("each of its 7 operators by at most 1 LSB")


def test_layer_that_differs_by_two_steps_fails_by_its_name(deep, monkeypatch):
    class Wrong(twins._Micro):
        made = 0

        def __init__(self, content, outputs):
            super().__init__(content, outputs)
            self.is_wrong = Wrong.made == 3
            Wrong.made += 1

        def run(self, values):
            (output,) = super().run(values)
            return [np.minimum(output, 125) + 2] if self.is_wrong else [output]

    monkeypatch.setattr(twins, "_Micro", Wrong)
    check = deep.check()
    assert not check.passed
    assert "FULLY_CONNECTED of layer_3_1 differs by" in check.detail


def test_fault_that_only_the_whole_file_has_fails(deep):
    # As if memory were given to a tensor while another is still in it.
    _, whole = twins.NAMES
    wrong = [
        {name: np.roll(value, 1) for name, value in found.items()}
        for found in deep.computed[whole]
    ]
    check = deep.check(deep.computed | {whole: wrong})
    assert not check.passed
    assert "computes something else of the whole file" in check.detail


def test_kernel_that_tflite_micro_has_wrong_is_named():
    # It leaves the scale of the input to a RELU6 that nothing is fused with.
    six = keras.layers.ReLU(6.0, name="six")
    check = run(models.sequential((20, 4), six)).check()
    assert not check.passed
    assert "RELU6 of" in check.detail
