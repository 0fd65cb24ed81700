"""Vela compiles the file for an Ethos-U, and what it says of it arrives."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import tfconv
from tests.export import direct
from tests.export import models
from tests.export.tflite import operators_in
from tfconv_export import flatbuffer
from tfconv_export import vela
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError

pytest.importorskip("ethosu", reason="ethos-u-vela is not installed")

STEPS, CHANNELS, TAPS = 64, 16, 5


def blocks(*last: keras.layers.Layer) -> keras.Model:
    return models.sequential(
        (STEPS, CHANNELS),
        tfconv.SeparableConv1D(CHANNELS, TAPS, padding="causal"),
        tfconv.SeparableConv1D(
            CHANNELS, TAPS, padding="causal", dilation_rate=2
        ),
        *last,
    )


@pytest.fixture(scope="module")
def content():
    return direct.convert(blocks(), "int8")


@pytest.fixture(scope="module")
def report(content):
    return vela.compile_for("ethos-u55-128", content)


@pytest.fixture(scope="module")
def strided():
    """A layer that Ethos-U55 cannot compute, behind two that it can."""
    wide = tfconv.DepthwiseConv1D(5, strides=4, name="wide")
    content = direct.convert(blocks(wide), "int8")
    return vela.compile_for("ethos-u55-128", content)


def test_int8_network_is_all_on_the_npu(report):
    assert report.target == "ethos-u55-128"
    assert report.cpu_operators == ()
    # Two depthwise, two pointwise at the least.
    assert report.npu_operators == report.operators >= 4
    assert operators_in(report.compiled) == {"CUSTOM": 1}
    (operator,) = flatbuffer.read(report.compiled).operators
    assert operator.is_custom and operator.name == "ethos-u"
    assert report.resolver.splitlines() == [
        "tflite::MicroMutableOpResolver<1> resolver;",
        "TF_LITE_ENSURE_STATUS(resolver.AddEthosU());",
    ]


def test_compiled_file_is_called_as_the_one_before(content, report):
    before = flatbuffer.read(content).signatures[0]
    after = flatbuffer.read(report.compiled).signatures[0]
    for old, new in (
        (before.inputs, after.inputs),
        (before.outputs, after.outputs),
    ):
        assert list(old) == list(new)
        for name, tensor in old.items():
            assert tensor.shape == new[name].shape
            assert tensor.dtype == new[name].dtype == "int8"
            np.testing.assert_allclose(tensor.scales, new[name].scales)
            assert tensor.zero_points == new[name].zero_points


def test_estimates_are_of_the_right_size(report):
    macs = 2 * STEPS * CHANNELS * (TAPS + CHANNELS)
    # 128 multiplications a cycle at most, and not ten times slower than 1.
    assert macs / 128 < report.cycles < 10 * macs
    # The input and the first output exist at the same time.
    assert 2 * STEPS * CHANNELS <= report.sram_bytes < 100_000
    weights = 2 * CHANNELS * (TAPS + CHANNELS)
    assert weights / 4 < report.flash_bytes < 100_000
    assert report.clock_hz == 500e6


def test_stride_of_4_stays_on_the_cpu_for_the_reason_that_vela_gives(strided):
    (left,) = strided.cpu_operators
    assert left.name == "DEPTHWISE_CONV_2D"
    assert "wide" in left.output
    assert left.reason == (
        "Unsupported kernel stride: 4, 4. "
        "Kernel stride must be in the range (1,3)"
    )
    assert strided.operators == strided.npu_operators + 1
    assert operators_in(strided.compiled)["DEPTHWISE_CONV_2D"] == 1
    assert "AddDepthwiseConv2D()" in strided.resolver
    assert "AddEthosU()" in strided.resolver


def test_float_file_has_nothing_for_the_npu():
    report = vela.compile_for("ethos-u55-128", direct.convert(blocks()))
    assert report.npu_operators == 0
    assert len(report.cpu_operators) == report.operators > 0
    for operator in report.cpu_operators:
        assert "unsupported DataType Float32" in operator.reason


@pytest.mark.parametrize("accelerator", vela.ACCELERATORS)
def test_every_accelerator_compiles_it(content, accelerator):
    report = vela.compile_for(accelerator, content)
    assert report.target == accelerator
    assert report.cycles > 0
    assert report.sram_bytes > 0 and report.flash_bytes > 0
    assert operators_in(report.compiled) == {"CUSTOM": 1}


def test_accelerators_are_those_that_vela_knows():
    text = subprocess.run(
        [sys.executable, "-m", "ethosu.vela", "--help"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    (choices,) = re.findall(r"\[--accelerator-config\s+\{([^}]*)\}", text)
    known = {name for name in choices.split(",") if "ethos" in name}
    assert set(vela.ACCELERATORS) == {name.strip() for name in known}


def test_more_units_take_fewer_cycles(content, report):
    small = vela.compile_for("ethos-u55-32", content)
    assert report.cycles < small.cycles


@pytest.mark.parametrize("length", [5, 2000])
def test_file_that_vela_cannot_read_is_one_sentence(content, length, capfd):
    capfd.readouterr()
    with pytest.raises(CheckError) as caught:
        vela.compile_for("ethos-u55-128", content[:length])
    assert re.fullmatch(
        r"Vela does not compile the file for ethos-u55-128: [^\n]{10,}\.",
        str(caught.value),
    )
    assert not re.search("Traceback|Warning|File", str(caught.value))
    assert capfd.readouterr() == ("", "")


def test_absent_package_is_a_sentence_that_names_the_extra(monkeypatch):
    monkeypatch.setattr(vela.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'tfconv\[ethos-u\]'"):
        vela.compile_for("ethos-u55-128", b"")
