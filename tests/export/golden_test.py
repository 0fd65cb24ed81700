"""Golden vectors: what TFLite's reference kernels compute, for a device."""

import shutil
import subprocess

import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

import tfconv
import tfconv_export
from tests.export import direct
from tests.export import models
from tfconv_export import golden
from tfconv_export import micro
from tfconv_export.micro import TFLiteMicro

MODES = ["none", "int8", "int16x8"]


@pytest.fixture(params=MODES)
def exported(request, tmp_path):
    tfconv_export.export(
        models.network(),
        tmp_path / "model.tflite",
        quantize=request.param,
        representative_data=models.DATA,
        golden_dir=tmp_path / "golden",
    )
    return tmp_path


def test_vectors_are_what_the_reference_kernels_compute(exported):
    golden = exported / "golden"
    inputs = np.load(golden / "input_audio.npy")
    outputs = np.load(golden / "output_scores.npy")
    interpreter = litert.Interpreter(
        str(exported / "model.tflite"),
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    (result,) = interpreter.get_output_details()
    assert inputs.dtype == details["dtype"]
    assert len(inputs) == len(outputs) == 8
    assert len(np.unique(inputs.reshape(8, -1), axis=0)) == 8
    for example, expected in zip(inputs, outputs, strict=True):
        interpreter.set_tensor(details["index"], example[np.newaxis])
        interpreter.invoke()
        found = interpreter.get_tensor(result["index"])[0]
        np.testing.assert_array_equal(found, expected)


def test_operators_without_a_reference_kernel_in_litert(tmp_path):
    """TFLite Micro has one of ELU."""
    model = models.sequential(
        (40, 4), tfconv.DepthwiseConv1D(3, activation="elu", name="scores")
    )
    tfconv_export.export(
        model,
        tmp_path / "model.tflite",
        quantize="int8",
        representative_data=models.DATA,
        golden_dir=tmp_path / "golden",
    )
    runtime = TFLiteMicro((tmp_path / "model.tflite").read_bytes())
    inputs = np.load(tmp_path / "golden" / "input_audio.npy")
    outputs = np.load(tmp_path / "golden" / "output_scores.npy")
    for example, expected in zip(inputs, outputs, strict=True):
        found = runtime.invoke({"audio": example[np.newaxis]})["scores"][0]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("target", ["litert", "micro"])
def test_vectors_are_right_where_the_reference_kernel_is_wrong(
    tmp_path, target
):
    # LiteRT's adds up int8 as if it were uint8.
    pytest.importorskip("tflite_micro", reason="it is what stands in")
    inputs = keras.Input((40, 4), name="audio")
    total = keras.ops.sum(inputs, axis=1)
    result = tfconv_export.export(
        keras.Model(inputs, {"scores": total}),
        tmp_path / "model.tflite",
        quantize="int8",
        representative_data=models.DATA,
        golden_dir=tmp_path / "golden",
        target=target,
    )
    assert "LiteRT reference" not in {a.runtime for a in result.agreements}
    (given,), (made,) = result.inputs, result.outputs
    real = [
        (np.load(tmp_path / "golden" / f"{name}.npy") - float(end.zero_point))
        * end.scale
        for name, end in (("input_audio", given), ("output_scores", made))
    ]
    error = np.abs(real[1] - real[0].sum(axis=1))
    assert error.max() <= 1.01 * made.scale


def test_vectors_that_nothing_can_compute_are_refused(monkeypatch):
    monkeypatch.setattr(micro, "is_installed", lambda: False)
    inputs = keras.Input((40, 4), name="audio")
    model = keras.Model(inputs, keras.ops.sum(inputs, axis=1))
    content = direct.convert(model, "int8")
    with pytest.raises(tfconv_export.UsageError, match=r"'tfconv\[micro\]'"):
        golden.vectors(content, "litert", None)


MAIN = """
#include <stdio.h>
#include "golden.h"
int main() {
  fwrite(g_golden_input_audio, 1, sizeof(g_golden_input_audio), stdout);
  fwrite(g_golden_output_scores, 1, sizeof(g_golden_output_scores), stdout);
  return GOLDEN_COUNT != 8;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_c_has_the_same_bits(exported):
    golden = exported / "golden"
    (exported / "main.cc").write_text(MAIN)
    subprocess.run(
        [
            "g++",
            "-Wall",
            "-Werror",
            "-I",
            golden,
            "-o",
            exported / "program",
            exported / "main.cc",
            golden / "golden.cc",
        ],
        check=True,
    )
    found = subprocess.run(
        [exported / "program"], capture_output=True, check=True
    ).stdout
    expected = b"".join(
        np.load(golden / name).tobytes()
        for name in ("input_audio.npy", "output_scores.npy")
    )
    assert found == expected


def test_directory_with_something_in_it_is_left_alone(tmp_path):
    golden = tmp_path / "golden"
    golden.mkdir()
    (golden / "input_audio.npy").write_text("mine")
    arguments = {"golden_dir": golden, "representative_data": models.DATA}
    with pytest.raises(tfconv_export.UsageError, match="not empty"):
        tfconv_export.export(
            models.network(), tmp_path / "model.tflite", **arguments
        )
    assert (golden / "input_audio.npy").read_text() == "mine"
    tfconv_export.export(
        models.network(),
        tmp_path / "model.tflite",
        overwrite=True,
        **arguments,
    )
    assert np.load(golden / "input_audio.npy").shape == (8, 40, 4)
