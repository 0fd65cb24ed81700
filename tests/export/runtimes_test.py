"""Real numbers go into a quantized file, and real numbers come out."""

import numpy as np
import pytest

import tfconv_export
from tests.export import models
from tests.export.tflite import TFLiteFile
from tfconv_export import runtimes

DETAILS = {
    "int8": {"dtype": np.int8, "quantization": (0.05, -3)},
    "uint8": {"dtype": np.uint8, "quantization": (0.05, 125)},
    "int16": {"dtype": np.int16, "quantization": (1e-4, 0)},
}

every_dtype = pytest.mark.parametrize("dtype", DETAILS)


@every_dtype
def test_every_quantized_number_survives_a_round_trip(dtype):
    limits = np.iinfo(dtype)
    steps = np.arange(limits.min, limits.max + 1).astype(dtype)
    real = runtimes.dequantize(steps, DETAILS[dtype])
    assert real.dtype == np.float32
    again = runtimes.quantize(real, DETAILS[dtype])
    assert again.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(again, steps)


@every_dtype
def test_number_beyond_the_range_saturates_and_does_not_wrap(dtype):
    found = runtimes.quantize(np.array([-1e9, 1e9]), DETAILS[dtype])
    limits = np.iinfo(dtype)
    np.testing.assert_array_equal(found, [limits.min, limits.max])


@every_dtype
def test_zero_is_exact(dtype):
    details = DETAILS[dtype]
    found = runtimes.quantize(np.zeros(1), details)
    assert found[0] == details["quantization"][1]
    assert runtimes.dequantize(found, details)[0] == 0.0


@pytest.fixture(scope="module", params=["int8", "uint8", "float32"])
def content(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "model.tflite"
    tfconv_export.export(
        models.network(),
        path,
        quantize="int8",
        io_dtype=request.param,
        representative_data=models.DATA,
    )
    return path.read_bytes()


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
def test_runtimes_agree_with_one_another(content, kernels):
    file = TFLiteFile(content)
    runtime = runtimes.LiteRT(content, kernels)
    assert kernels in runtime.name
    found = np.concatenate(
        [
            runtime.run({"audio": example[None]})["scores"]
            for example in models.DATA
        ]
    )
    expected = file.run_one_output(models.DATA)
    # XNNPACK rounds otherwise than the reference kernels, layer by layer: 3
    # steps were measured on networks of four blocks.
    step = file.outputs["scores"]["quantization"][0] or np.ptp(expected) / 255
    assert np.abs(found - expected).max() <= 3.01 * step


def test_file_that_is_none_is_an_error():
    with pytest.raises(ValueError):
        runtimes.LiteRT(b"It is not what it says it is.")
